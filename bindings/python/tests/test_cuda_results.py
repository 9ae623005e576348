"""The operators for CUDA give the CPU's results: all that Python does for them, run with the kernels on the host, and on a GPU."""
import copy

import pytest
import torch

import plain
from gausspool.torch import GaussianPooling2d, MaxEntPooling2d, _arguments, functional
from test_functional import KINDS, ROUNDING, TOLERANCE, Configuration, assert_close, differentiate

CONFIGURATIONS = 208  # of those of test_functional: each of the kinds in each of the types


@pytest.fixture
def same_seed(monkeypatch):
    """Each call draws with the same key, wherever its input lies."""
    monkeypatch.setattr(_arguments, "draw_seed", lambda x, generator=None: torch.full((1,), 2**62 + 12345, device=x.device))


def moved(tensor, device):
    """With the same strides: to() keeps them only where the tensor is dense."""
    if not any(tensor.stride()):
        return tensor[(slice(0, 1),) * tensor.dim()].to(device).expand(tensor.shape)
    size = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride()))
    flat = tensor.as_strided((size,), (1,)).to(device) if tensor.numel() else tensor.flatten().to(device)
    return flat.as_strided(tensor.shape, tensor.stride())


@pytest.mark.parametrize("first", range(0, CONFIGURATIONS, 26))
def test_same_as_on_the_cpu(cuda, same_seed, first):
    for number in range(first, first + 26):
        check_configuration(cuda, Configuration(number))


def check_configuration(cuda, configuration):
    x, params = configuration.x, configuration.params
    y = configuration.call(x, params)
    arrangement = configuration.random.choice(plain.ARRANGEMENTS) if len(x) else "contiguous"
    grad_y = plain.arrange(configuration.draw(*y.shape).to(x.dtype), arrangement)
    expected = differentiate(configuration.call, x, params, grad_y)
    with cuda():
        there = {name: value.to(cuda.device) for name, value in params.items()}
        found = differentiate(configuration.call, moved(x, cuda.device), there, moved(grad_y, cuda.device))
    for name, value, wanted in zip(["y", "x", *params], found, expected):
        assert value.device.type == cuda.device and value.stride() == wanted.stride(), f"{configuration}: {name}"
        stored = value.dtype == x.dtype or value.dim() == 4 and value.shape[2:].numel() > 1
        relative = TOLERANCE.get(configuration.dtype) or (2 * ROUNDING[configuration.dtype] if stored else 1e-5)
        assert_close(value.cpu(), wanted.double(), relative, f"{configuration}: {name}")


@pytest.mark.parametrize("stochasticity", ["HWCN", "CN"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [2, (2, 4)])
def test_draws_are_the_cpus(cuda, same_seed, stochasticity, memory_format, kernel):
    """Bit for bit: over windows of -1 and 1 the deviation is 1 and the mean 0, so that y is the draw."""
    x = torch.ones(3, 16, 8, 24).contiguous(memory_format=memory_format)
    x[..., ::2] = -1
    pooling = _arguments.describe_pooling("gaussian", kernel, draws=stochasticity)
    with cuda():
        y = functional.sampled_gaussian_pool2d(x.to(cuda.device), 0.0, 1.0, kernel, kind="gaussian", stochasticity=stochasticity)
    draws = plain.draws_of(x, pooling, _arguments.draw_seed(x))
    assert torch.equal(y.cpu().double(), draws.expand(y.shape))
    assert draws.unique().numel() > 40


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("stochastic", "max", "average")])
def test_gradcheck(cuda, same_seed, kind):
    generator = torch.Generator().manual_seed(5)
    values = torch.randperm(2 * 3 * 5 * 6, generator=generator).reshape(2, 3, 5, 6).double() / 40 + 0.1
    configuration = Configuration(KINDS.index(kind))
    configuration.window = {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
    configuration.stochasticity, configuration.norm = "HWCN", 3
    shape = (3, 3, 2) if kind == "gated" else (2, 3)
    params = [torch.randn(shape, generator=generator, dtype=torch.float64).to(cuda.device).requires_grad_() for _ in configuration.params]
    call = lambda x, *values: configuration.call(x, dict(zip(configuration.params, values)))
    with cuda():
        assert torch.autograd.gradcheck(call, (values.to(cuda.device).requires_grad_(), *params))


# ---- Layers ---------------------------------------------------------------------------------

LAYERS = [lambda: GaussianPooling2d(8, 3, 2, 1, stochasticity="HWCN"), lambda: GaussianPooling2d(8, 2, stochasticity="CN"),
          lambda: GaussianPooling2d(8, 2, count_include_pad=False, ceil_mode=True, stochasticity=None), lambda: MaxEntPooling2d(8, 2)]


def gradients(layer, x, grad_y):
    layer.zero_grad(set_to_none=True)
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(grad_y)
    return {"y": y.detach(), "x": x.grad, **{name: parameter.grad for name, parameter in layer.named_parameters()}}


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_layers(cuda, same_seed, make, dtype):
    torch.manual_seed(1)
    layer = make().to(dtype)
    x = torch.randn(8, 8, 11, 9).to(dtype).contiguous(memory_format=torch.channels_last)
    grad_y = torch.randn_like(layer(x)).detach()
    state = copy.deepcopy(layer)
    expected = gradients(layer, x, grad_y)
    with cuda():
        other = state.to(cuda.device)
        found = gradients(other, x.to(cuda.device), grad_y.to(cuda.device))
        again = gradients(other, x.to(cuda.device), grad_y.to(cuda.device))
    # Batch norm over few samples magnifies the rounding of the small layers in front of it.
    scale = 10 * max(float(value.abs().max()) for value in expected.values() if value is not None)
    for name, wanted in expected.items():
        if wanted is None:
            assert found[name] is None
            continue
        assert found[name].stride() == wanted.stride(), name
        torch.testing.assert_close(found[name].cpu(), wanted, rtol=0, atol=scale * (1e-5 if dtype == torch.float32 else 1e-12),
                                   msg=lambda text: f"{name}: {text}")
        assert torch.equal(found[name], again[name]), f"{name}: not the same bits again"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_input_of_float32_layer(cuda, same_seed, dtype):
    layer, x = GaussianPooling2d(8, 3, 2, 1), torch.randn(4, 8, 9, 9).to(dtype)
    layer.train()
    expected = layer(x)
    with cuda():
        y = copy.deepcopy(layer).to(cuda.device)(x.to(cuda.device))
    assert y.dtype == dtype
    torch.testing.assert_close(y.cpu().float(), expected.float(), rtol=2.0**-7, atol=1e-3)


def test_no_batch(cuda):
    with cuda():
        x = torch.zeros(0, 4, 6, 6, device=cuda.device, requires_grad=True)
        mu = torch.ones(4, device=cuda.device, requires_grad=True)
        y = functional.sampled_gaussian_pool2d(x, mu, 1.0, 2)
        y.sum().backward()
    assert y.shape == (0, 4, 3, 3) and x.grad.shape == x.shape and not mu.grad.any()


def test_library_errors_arrive(cuda):
    with cuda(), pytest.raises(ValueError, match="gausspool: "):
        pooling = _arguments.describe_pooling("gated", 2)
        from gausspool.torch import _ops
        _ops.pool(torch.zeros(1, 1, 4, 4, device=cuda.device), pooling)  # without its mask
