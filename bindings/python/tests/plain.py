"""The poolings in plain PyTorch, differentiated by autograd: what the package is compared with.

Windows and formulas are those of tests/parity, written from the papers and independent of the library. Only the draws are the
library's own (tests/parity compares those with Philox and Box-Muller in NumPy).
"""
import math

import torch
from torch import nn

import operator_reference as formulas
import reference
from gausspool import _library
from gausspool.torch import _arguments, _describe

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def windows_of(x, pooling):
    return reference.Windows(x, pooling.kernel_size, pooling.stride, pooling.padding, pooling.ceil_mode,
                             pooling.count_include_pad)


def spread(param):
    """[n][c] to what broadcasts over [n][c][h'][w']."""
    return param[:, :, None, None] if isinstance(param, torch.Tensor) and param.dim() == 2 else param


def softplus(a):
    """Without the switch to the identity that PyTorch's makes at 20."""
    return torch.logaddexp(a, torch.zeros_like(a))


def draws_of(x, pooling, seed):
    """What the library draws for x in double precision; None without a draw. HWCN: [n][c][h'][w'], CN: [n][c][1][1]."""
    if pooling.stochasticity == "none":
        return None
    n, c, height, width = _describe.output_shape(x, pooling)
    shape = (n, c, height, width) if pooling.stochasticity == "HWCN" else (n, c, 1, 1)
    draws = torch.empty(shape, dtype=torch.float64)
    like = torch.empty(x.shape, dtype=torch.float64)
    if n:
        desc = _describe.describe(like, pooling, None, int(seed), torch.contiguous_format)
        _library.draws(desc, draws.data_ptr())
    return draws


def next_seed():
    """The key that the next call will draw with; PyTorch's generator is left as it was."""
    state = torch.get_rng_state()
    seed = _arguments.draw_seed(torch.empty(0))
    torch.set_rng_state(state)
    return seed


def pool(x, pooling, mu=None, sigma=None, weight=None, draws=None):
    """y of x; mu, sigma and weight as the public functions take them."""
    windows, mu, sigma = windows_of(x, pooling), spread(mu), spread(sigma)
    if pooling.kind == "gated":
        mask = weight if weight.dim() == 3 else weight[None]
        share = formulas.gate(windows, mask)
        return share * windows.max() + (1 - share) * windows.mean()
    weight = spread(weight)
    if pooling.kind in ("isp_gaussian", "gaussian"):
        a = formulas.gaussian_weight(mu, sigma, draws)
        weight = softplus(a) if pooling.kind == "isp_gaussian" else a
    elif pooling.kind == "half_gaussian":
        weight = (sigma * draws).abs() if draws is not None else sigma * math.sqrt(2 / math.pi)
    if pooling.kind in ("isp_gaussian", "gaussian", "half_gaussian", "weighted"):
        return reference.gaussian_pool(windows, weight, pooling.eps)
    if pooling.kind in ("max_entropy", "softpool"):
        weight = torch.ones((), dtype=x.dtype) if weight is None else weight
        return formulas.softmax_pool(windows, weight.expand(_describe.output_shape(x, pooling)))
    if pooling.kind == "stochastic":
        return formulas.stochastic_pick(windows, draws)[0] if draws is not None else formulas.stochastic_expectation(windows)
    if pooling.kind == "mixed":
        return formulas.mixed_pool(windows, weight)
    if pooling.kind == "lp":
        return formulas.lp_pool(windows, pooling.norm, math.prod(pooling.kernel_size))
    return windows.mean() if pooling.kind == "average" else windows.max()


class GaussianPooling2d(nn.Module):
    """The layer as it is published: its parameters under their names, its operations PyTorch's own. `draws` are fed."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.draws = None
        self.ToHidden = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden),
                                      nn.ReLU())
        self.ToMean = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels))
        self.ToSigma = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels), nn.Sigmoid())

    def forward(self, x, pooling):
        hidden = self.ToHidden(x)
        mu = self.ToMean(hidden)
        sigma = self.ToSigma(hidden) if self.draws is not None else None
        return pool(x, pooling._replace(kind="isp_gaussian"), mu, sigma, draws=self.draws)


class MaxEntPooling2d(nn.Module):
    """As published."""

    def __init__(self, channels, hidden, activation):
        super().__init__()
        self.ToParam = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(),
                                     nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels), activation)

    def forward(self, x, pooling):
        return pool(x, pooling._replace(kind="max_entropy"), weight=self.ToParam(x))


# ---- Inputs as users have them in memory ----------------------------------------------------

ARRANGEMENTS = ["contiguous", "channels_last", "sliced", "channels_last_sliced", "transposed", "strided", "expanded"]


def arrange(values, arrangement):
    """The same values, in a tensor that lies in memory as named."""
    n, c, h, w = values.shape
    if arrangement == "contiguous":
        return values.contiguous()
    if arrangement == "channels_last":
        return values.contiguous(memory_format=torch.channels_last)
    if arrangement == "transposed":
        return values.transpose(2, 3).contiguous().transpose(2, 3)
    if arrangement == "expanded":
        return values[:1].expand(n, c, h, w)
    frame = torch.full((n + 1, c + 2, h + 3, 2 * w + 1), float("nan"), dtype=values.dtype)
    if arrangement == "strided":
        view = frame[1:, 1:c + 1, 2:h + 2, 1::2]
    else:
        if arrangement == "channels_last_sliced":
            frame = frame.contiguous(memory_format=torch.channels_last)
        view = frame[1:, 1:c + 1, 2:h + 2, 1:w + 1]
    view.copy_(values)
    return view
