"""Every kind of pooling over reference.Windows, in plain PyTorch from the formulas of include/gausspool/gausspool.h.

Gradients are autograd's. `weight` broadcasts over the output [n][c][h'][w'].
"""
import numpy as np
import torch

import philox
import reference


class AdaptiveWindows(reference.Windows):
    """The windows of torch.nn.AdaptiveAvgPool2d, each filled up to the largest with elements that do not count."""

    def __init__(self, x, output):
        (rows, rows_inside), (columns, columns_inside) = (self._cells(size, cells)
                                                          for size, cells in zip(x.shape[2:], output))
        self.values = x[:, :, rows[:, None, :, None], columns[None, :, None, :]].flatten(4)
        self.inside = (rows_inside[:, None, :, None] & columns_inside[None, :, None, :]).flatten(2)
        self.divisor = self.inside.sum(-1).to(x.dtype)

    @staticmethod
    def _cells(size, cells):
        index = torch.arange(cells)
        start = torch.div(index * size, cells, rounding_mode="floor")
        end = torch.div((index + 1) * size + cells - 1, cells, rounding_mode="floor")
        position = start[:, None] + torch.arange(int((end - start).max()))
        return position.clamp(0, size - 1), position < end[:, None]


def _masked(windows, values, outside):
    return torch.where(windows.inside, values, torch.full_like(values, outside))


def softmax_pool(windows, weight):
    """Σ p_i·x_i, p = softmax(weight·x) over the real elements."""
    p = _masked(windows, weight[..., None] * windows.values, -float("inf")).softmax(-1)
    return (p * windows.values).sum(-1)


def probabilities(windows):
    """p_i ∝ max(x_i, 0) over the real elements; all equal where none is positive."""
    positive = _masked(windows, torch.relu(windows.values), 0.0)
    total = positive.sum(-1, keepdim=True)
    count = windows.inside.sum(-1)[..., None]
    equal = _masked(windows, torch.ones_like(positive), 0.0) / count
    return torch.where(total > 0, positive / torch.where(total > 0, total, torch.ones_like(total)), equal)


def stochastic_expectation(windows):
    return (probabilities(windows) * windows.values).sum(-1)


def stochastic_pick(windows, uniform):
    """x_l, l the first with p_0 + … + p_l > u; and how far u is from changing l."""
    sums = probabilities(windows).detach().cumsum(-1)
    index = (sums <= uniform[..., None]).sum(-1, keepdim=True).clamp(max=sums.shape[-1] - 1)
    margin = (sums - uniform[..., None]).abs().min(-1).values
    return windows.values.gather(-1, index.expand(*windows.values.shape[:-1], 1)).squeeze(-1), margin


def mixed_pool(windows, weight):
    return weight * windows.max() + (1 - weight) * windows.mean()


def gate(windows, mask):
    """sigmoid(Σ ω_i·x_i); mask [1 or c][kernel height][kernel width]."""
    product = mask.flatten(1)[None, :, None, None, :] * windows.values
    return torch.sigmoid(_masked(windows, product, 0.0).sum(-1))


def lp_pool(windows, norm, kernel_elements):
    """(K/R·Σ |x_i|^norm)^(1/norm), gradient 0 where it is 0."""
    powers = _masked(windows, windows.values.abs() ** norm, 0.0).sum(-1) * kernel_elements / windows.divisor
    zero = powers == 0
    return torch.where(zero, torch.zeros_like(powers), torch.where(zero, torch.ones_like(powers), powers) ** (1 / norm))


def half_gaussian_weight(sigma, draws=None):
    return sigma * (2 / np.pi) ** 0.5 if draws is None else (sigma * draws).abs()


def gaussian_weight(mu, sigma=None, draws=None):
    return mu if draws is None else mu + sigma * draws


# ---- Draws ----------------------------------------------------------------------------------

def _uniforms(words):
    return np.stack([(word >> np.uint64(8)).astype(np.float64) * 2.0**-24 for word in words], axis=-1)


def uniform_cn(seed, call_offset, first_sample, batch, channels):
    """[n][c]"""
    low, high = philox._planes(first_sample, batch, channels)
    return _uniforms(philox.philox(seed, low, high, 0, call_offset))[..., 0].reshape(batch, channels)


def uniform_hwcn(seed, call_offset, first_sample, batch, channels, height, width):
    """[n][c][h][w]"""
    low, high = (half[:, None, None] for half in philox._planes(first_sample, batch, channels))
    row = np.arange(height, dtype=np.uint64)[None, :, None]
    block = np.arange((width + 3) // 4, dtype=np.uint64)[None, None, :]
    four = _uniforms(philox.philox(seed, low, high ^ row, block, call_offset))
    return four.reshape(batch, channels, height, -1)[..., :width]
