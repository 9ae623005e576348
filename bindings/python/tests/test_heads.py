"""The heads' pointwise layers: nn.Conv2d in all but speed."""
import pytest
import torch
from torch import nn

from gausspool.torch import GaussianPooling2d
from gausspool.torch import _heads
from gausspool.torch._heads import PointwiseConv2d


def pair(dtype=torch.float32, channels=(37, 18)):
    torch.manual_seed(1)
    ours, conv = PointwiseConv2d(*channels).to(dtype), nn.Conv2d(*channels, 1).to(dtype)
    conv.load_state_dict(ours.state_dict())
    return ours, conv


def gradients(layer, x):
    x = x.detach().clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y))
    return y.detach(), x.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_as_conv2d(dtype, side):
    ours, conv = pair(dtype)
    x = torch.randn(5, 37, side, side, dtype=dtype)
    exact = [value.double() for value in gradients(conv.double(), x.double())]
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    for found, expected in zip(gradients(ours, x), exact):
        assert found.shape == expected.shape and found.dtype == dtype
        assert (found.double() - expected).norm() <= tolerance * expected.norm()


def test_large_enough_for_the_librarys_blocks():
    ours, conv = pair(channels=(512, 256))
    x = torch.randn(16, 512, 1, 1)
    for found, expected in zip(gradients(ours, x), gradients(conv, x)):
        assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_empty_batch_and_frozen_parameters():
    ours, _ = pair()
    y = ours(torch.zeros(0, 37, 1, 1, requires_grad=True))
    y.sum().backward()
    assert y.shape == (0, 18, 1, 1) and ours.weight.grad.abs().sum() == 0
    ours.requires_grad_(False)
    x = torch.randn(2, 37, 1, 1, requires_grad=True)
    ours(x).sum().backward()
    torch.testing.assert_close(x.grad, ours.weight.sum(0).expand(2, -1, -1, -1))


def test_without_onednn(monkeypatch):
    monkeypatch.setattr(_heads, "_mkldnn_linear", None)
    ours, conv = pair()
    x = torch.randn(5, 37, 1, 1)
    torch.testing.assert_close(ours(x), conv(x))


def test_hooks_and_parametrisations_see_the_layer():
    layer = GaussianPooling2d(8, 2)
    seen = []
    layer.ToMean[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    nn.utils.weight_norm(layer.ToHidden[1])
    layer(torch.randn(4, 8, 6, 6))
    assert seen == [(4, 8, 1, 1)] and isinstance(layer.ToMean[0], nn.Conv2d)


def test_autocast():
    layer = GaussianPooling2d(8, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.ToHidden[1](torch.randn(4, 8, 1, 1)).dtype == torch.bfloat16
