"""operator_reference's formulas against PyTorch's own layers and unfold, before the operator is compared with them."""
import pytest
import torch
from torch.nn import functional as F

import operator_reference as formulas
import reference

GEOMETRIES = [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)), ((3, 2), (2, 3), (1, 0)), ((1, 1), (1, 1), (0, 0)),
              ((5, 3), (1, 2), (2, 1))]


def near(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def image(seed=0, positive=False):
    x = torch.randn(2, 3, 9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.abs() if positive else x


def unfolded(x, kernel, stride):
    """[n][c][h'][w'][kernel] by F.unfold, without padding."""
    n, c, h, w = x.shape
    height, width = ((size - k) // s + 1 for size, k, s in zip((h, w), kernel, stride))
    columns = F.unfold(x, kernel, stride=stride)
    return columns.reshape(n, c, kernel[0] * kernel[1], height, width).permute(0, 1, 3, 4, 2)


def gradients(function, *leaves):
    """The value and its gradients in a fixed direction."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    y = function(*leaves)
    direction = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, leaves, direction)]


def same(ours, theirs, *leaves, tolerance=1e-12):
    for actual, expected in zip(gradients(ours, *leaves), gradients(theirs, *leaves)):
        near(actual, expected, tolerance)


@pytest.mark.parametrize("output", [(1, 1), (2, 3), (4, 7), (9, 10), (11, 12)])
def test_adaptive_average(output):
    same(lambda x: formulas.AdaptiveWindows(x, output).mean(), lambda x: F.adaptive_avg_pool2d(x, output), image())


@pytest.mark.parametrize("output", [(1, 1), (2, 3), (4, 7)])
def test_adaptive_max(output):
    same(lambda x: formulas.AdaptiveWindows(x, output).max(), lambda x: F.adaptive_max_pool2d(x, output), image())


@pytest.mark.parametrize("kernel, stride, padding", GEOMETRIES)
@pytest.mark.parametrize("norm", [2.0, 4.0])
def test_lp(kernel, stride, padding, norm):
    """An even norm: PyTorch's has no absolute value. And no padding in either."""
    same(lambda x: formulas.lp_pool(reference.Windows(x, kernel, stride), norm, kernel[0] * kernel[1]),
         lambda x: F.lp_pool2d(x, norm, kernel, stride), image())


def test_lp_odd_norm():
    same(lambda x: formulas.lp_pool(reference.Windows(x, (3, 2), (2, 2)), 3.0, 6),
         lambda x: F.lp_pool2d(x, 3.0, (3, 2), (2, 2)), image(positive=True))


@pytest.mark.parametrize("kernel, stride, padding", GEOMETRIES)
def test_naive_gaussian(kernel, stride, padding):
    """E[x²] - m² through avg_pool2d, as the published layer has it."""
    mu, sigma, draws = (torch.randn(2, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
                        for i in (2, 3, 4))

    def naive(weight):
        def layer(x, mu, sigma):
            mean, square = (F.avg_pool2d(v, kernel, stride, padding) for v in (x, x * x))
            return mean + weight(mu, sigma) * (square - mean * mean).clamp(min=1e-6).sqrt()
        return layer

    def ours(weight):
        return lambda x, mu, sigma: reference.gaussian_pool(reference.Windows(x, kernel, stride, padding),
                                                            weight(mu, sigma))

    pairs = [(lambda m, s: F.softplus(m + s * draws), lambda m, s: reference.isp_weight(m, s, draws)),
             (lambda m, s: m + s * draws, lambda m, s: formulas.gaussian_weight(m, s, draws)),
             (lambda m, s: 0 * m + (s * draws).abs(), lambda m, s: 0 * m + formulas.half_gaussian_weight(s, draws))]
    for theirs, mine in pairs:
        same(ours(mine), naive(theirs), image(), mu, sigma, tolerance=1e-7)


@pytest.mark.parametrize("kernel, stride", [((2, 2), (2, 2)), ((3, 2), (2, 3)), ((5, 3), (1, 2))])
def test_unfolded(kernel, stride):
    x, weight = image(), torch.randn(2, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.randn(3, *kernel, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def windows(x):
        return reference.Windows(x, kernel, stride)

    def softmax(x, weight):
        values = unfolded(x, kernel, stride)
        return (F.softmax(weight[..., None] * values, -1) * values).sum(-1)

    def mix(x, weight):
        values = unfolded(x, kernel, stride)
        return weight * values.max(-1).values + (1 - weight) * values.mean(-1)

    def gated(x, mask):
        values = unfolded(x, kernel, stride)
        return mix(x, torch.sigmoid((values * mask.flatten(1)[None, :, None, None, :]).sum(-1)))

    def expectation(x):
        values = unfolded(x, kernel, stride)
        return (values.clamp(min=0) * values).sum(-1) / values.clamp(min=0).sum(-1)

    same(lambda x, weight: formulas.softmax_pool(windows(x), weight), softmax, x, weight)
    same(lambda x, weight: formulas.mixed_pool(windows(x), weight), mix, x, weight)
    same(lambda x, mask: formulas.mixed_pool(windows(x), formulas.gate(windows(x), mask)), gated, x, mask)
    same(lambda x: formulas.stochastic_expectation(windows(x)), expectation, image(positive=True))


def test_stochastic_pick():
    """The shares of what is picked are the probabilities; nothing but the window's elements is picked."""
    x = torch.tensor([[1.0, 3.0], [-2.0, 0.0]], dtype=torch.float64).reshape(1, 1, 2, 2)
    windows = reference.Windows(x, (2, 2), (2, 2))
    picked = [formulas.stochastic_pick(windows, torch.full((1, 1, 1, 1), u, dtype=torch.float64))[0].item()
              for u in (0.0, 0.24, 0.26, 0.99)]
    assert picked == [1.0, 1.0, 3.0, 3.0]
    none = reference.Windows(-x.abs(), (2, 2), (2, 2))
    picked = [formulas.stochastic_pick(none, torch.full((1, 1, 1, 1), u, dtype=torch.float64))[0].item()
              for u in (0.0, 0.3, 0.6, 0.9)]
    assert picked == [-1.0, -3.0, -2.0, 0.0]


def test_uniforms():
    values = formulas.uniform_hwcn(5, 1, 0, 8, 8, 33, 31)
    assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 4 * (1 / 12 / values.size) ** 0.5
    assert formulas.uniform_cn(5, 1, 0, 8, 8).reshape(-1).tolist() == values[:, :, 0, 0].reshape(-1).tolist()
