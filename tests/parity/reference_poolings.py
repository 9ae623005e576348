"""The poolings that a net can have, as PyTorch modules over the formulas of reference.py and operator_reference.py."""
import torch
from torch import nn

import operator_reference as formulas
from reference import GaussianPooling2d, Windows, gaussian_pool


class Pooling(nn.Module):
    """A pooling over reference.Windows. What draws takes its numbers from `draw(shape)`: normals, or uniform ones where
    `uniform` says so; `stochasticity` is "none" where nothing is drawn."""

    uniform = False

    def __init__(self, kernel, stride, padding, stochasticity="none"):
        super().__init__()
        self.kernel, self.stride, self.padding, self.stochasticity = kernel, stride, padding, stochasticity
        self.draw = torch.rand if self.uniform else torch.randn

    def windows(self, x):
        return Windows(x, (self.kernel,) * 2, (self.stride,) * 2, (self.padding,) * 2)

    def draws(self, x):
        """[n][c][1][1] or [n][c][h'][w']; None in eval mode."""
        if not self.training or self.stochasticity == "none":
            return None
        shape = self.windows(x).mean().shape
        shape = shape if self.stochasticity == "HWCN" else shape[:2] + (1, 1)
        return self.draw(shape).to(device=x.device, dtype=x.dtype)


def _linear_norm(inner, outer):
    return nn.Conv2d(inner, outer, 1), nn.BatchNorm2d(outer)


class Guided(Pooling):
    """Gaussian without the softplus, and half-Gaussian, which has no mean."""

    def __init__(self, channels, kind, *window):
        super().__init__(*window)
        self.kind = kind
        hidden = channels // 2
        self.ToHidden = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_linear_norm(channels, hidden), nn.ReLU())
        if kind == "gaussian":
            self.ToMean = nn.Sequential(*_linear_norm(hidden, channels))
        self.ToSigma = nn.Sequential(*_linear_norm(hidden, channels), nn.Sigmoid())

    def forward(self, x):
        hidden, draws = self.ToHidden(x), self.draws(x)
        if self.kind == "gaussian":
            weight = formulas.gaussian_weight(self.ToMean(hidden), self.ToSigma(hidden), draws)
        else:
            weight = formulas.half_gaussian_weight(self.ToSigma(hidden), draws)
        return gaussian_pool(self.windows(x), weight)


class MaxEntropy(Pooling):
    def __init__(self, channels, *window):
        super().__init__(*window)
        hidden = channels // 2
        self.ToParam = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_linear_norm(channels, hidden), nn.ReLU(),
                                     *_linear_norm(hidden, channels))

    def forward(self, x):
        return formulas.softmax_pool(self.windows(x), torch.sigmoid(self.ToParam(x)))


class Softpool(Pooling):
    def forward(self, x):
        return formulas.softmax_pool(self.windows(x), torch.ones(1, 1, 1, 1, dtype=x.dtype))


class Stochastic(Pooling):
    uniform = True

    def forward(self, x):
        uniform = self.draws(x)
        if uniform is None:
            return formulas.stochastic_expectation(self.windows(x))
        return formulas.stochastic_pick(self.windows(x), uniform)[0]


class Mixed(Pooling):
    def __init__(self, *window):
        super().__init__(*window)
        self.weight = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x):
        return formulas.mixed_pool(self.windows(x), self.weight)


class Gated(Pooling):
    def __init__(self, *window):
        super().__init__(*window)
        self.mask = nn.Parameter(torch.zeros(self.kernel, self.kernel))

    def forward(self, x):
        windows = self.windows(x)
        return formulas.mixed_pool(windows, formulas.gate(windows, self.mask[None]))


class Lp(Pooling):
    def forward(self, x):
        return formulas.lp_pool(self.windows(x), 2.0, self.kernel**2)


_PLAIN = {"softpool": Softpool, "mixed": Mixed, "gated": Gated, "lp": Lp}


def make_pool(pool, channels, kernel=2, stride=2, padding=0):
    """The pooling of spec.md, section 3, by its name; not for `skip`."""
    window = (kernel, stride, padding)
    if pool == "max":
        return nn.MaxPool2d(*window)
    if pool == "avg":
        return nn.AvgPool2d(*window)
    if pool == "max_ent":
        return MaxEntropy(channels, *window)
    if pool == "stochastic":
        return Stochastic(*window, "HWCN")
    if pool in _PLAIN:
        return _PLAIN[pool](*window)
    kind, _, stochasticity = pool.rpartition("_")
    if stochasticity in ("CN", "HWCN"):
        if kind in ("gauss", "gauss_cuda"):
            return GaussianPooling2d(channels, stochasticity, *window)
        if kind in ("gaussian", "half_gauss"):
            return Guided(channels, kind, *window, stochasticity)
    raise ValueError(f"unknown pooling {pool!r}")


def drawing_poolings(net):
    """Those poolings of a net that draw, in the order of its layers."""
    return [module for module in net.modules()
            if isinstance(module, (GaussianPooling2d, Pooling)) and module.stochasticity != "none"]
