"""The functions over random configurations: outputs and gradients against plain PyTorch in double precision."""
import random

import pytest
import torch

import plain
from gausspool.torch import _arguments, _describe, functional

CONFIGURATIONS = 624  # 48 of each function, or 52 of each kind
DRAWN = ("isp_gaussian", "gaussian", "half_gaussian")
KINDS = ["weighted", *DRAWN, "max_entropy", "softpool", "stochastic", "mixed", "gated", "lp", "average", "max"]
PAD_COUNTING = (*DRAWN, "weighted", "mixed", "gated", "lp", "average")
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-10}  # of storage, with room for that of a gradient's 16-bit neighbour


class Configuration:
    """A random pooling with its tensors, all from one number."""

    def __init__(self, number):
        self.number = number
        self.random = choose = random.Random(number)
        self.generator = torch.Generator().manual_seed(number)
        self.kind = KINDS[number % len(KINDS)]
        self.dtype = ("float64", "float64", "float32", "bfloat16", "float16")[number // len(KINDS) % 5]
        kernel = (choose.randint(1, 5), choose.randint(1, 5))
        self.window = {"kernel_size": kernel if choose.random() < 0.8 else kernel[0]}
        kernel = kernel if isinstance(self.window["kernel_size"], tuple) else (kernel[0], kernel[0])
        self.window["stride"] = choose.choice([None, kernel[1], (choose.randint(1, 4), choose.randint(1, 4))])
        self.window["padding"] = choose.choice([0, (choose.randint(0, kernel[0] // 2), choose.randint(0, kernel[1] // 2))])
        self.window["ceil_mode"] = choose.random() < 0.5
        if self.kind in PAD_COUNTING:
            self.window["count_include_pad"] = choose.random() < 0.5
        self.stochasticity = choose.choice(["HWCN", "CN", None]) if self.kind in DRAWN else None
        self.training = self.kind == "stochastic" and choose.random() < 0.5
        self.norm = choose.choice([1, 2, 2.5, 3])
        batch, channels = choose.choice([0, 1, 2, 3]), choose.choice([1, 2, 3, 8, 9])
        height, width = (choose.randint(size, size + 9) for size in kernel)
        arrangement = choose.choice(plain.ARRANGEMENTS) if batch else "contiguous"
        values = self.draw(batch, channels, height, width)
        if self.kind == "lp":
            values = values.abs() + 0.1  # away from the kink at 0 of odd norms
        self.x = plain.arrange(values.to(plain.DTYPES[self.dtype]), arrangement)
        self.params = self.make_params(batch, channels, kernel)
        self.arrangement = arrangement

    def draw(self, *shape):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def make_params(self, batch, channels, kernel):
        """In the type that goes with x; (name: tensor)."""
        choose = self.random
        shape = choose.choice([(batch, channels), (channels,), (1, channels), (batch, 1), (), (batch, channels, 1, 1)])
        names = {"isp_gaussian": ("mu", "sigma"), "gaussian": ("mu", "sigma"), "half_gaussian": ("sigma",),
                 "weighted": ("weight",), "max_entropy": ("weight",), "mixed": ("weight",), "gated": ("mask",)}
        if self.kind == "gated":
            shape = choose.choice([kernel, (channels, *kernel)])
        elif names.get(self.kind) == ("weight",) and choose.random() < 0.3:
            out = _describe.output_shape(self.x, self.describe())[2:]
            shapes = [(batch, channels, *out), (1, 1, *out), (batch, 1, out[0], 1)]
            shape = choose.choice(shapes[:1] if self.dtype in ROUNDING else shapes)  # sums of rounded gradients are less exact
        # Rounded as x is: a weight that varies over positions is stored so.
        return {name: self.draw(*shape).to(self.x.dtype).to(_describe.param_dtype(self.x.dtype))
                for name in names.get(self.kind, ())}

    def describe(self):
        draws = "HWCN" if self.training else _arguments.stochasticity(self.stochasticity)
        return _arguments.describe_pooling(self.kind, norm=self.norm, draws=draws, **self.window)

    def call(self, x, params):
        window = dict(self.window)
        if self.kind in DRAWN:
            return functional.sampled_gaussian_pool2d(x, params.get("mu"), params.get("sigma"), kind=self.kind,
                                                      stochasticity=self.stochasticity, **window)
        functions = {"weighted": functional.gaussian_pool2d, "softpool": functional.soft_pool2d,
                     "average": functional.avg_pool2d}
        function = functions.get(self.kind) or getattr(functional, f"{self.kind}_pool2d")
        if self.kind == "lp":
            window["norm_type"] = self.norm
        if self.kind == "stochastic":
            window["training"] = self.training
        return function(x, **params, **window)

    def expect(self, x, params, draws):
        params = {"weight" if name == "mask" else name: value for name, value in params.items()}
        shapes = {0: (1, 1), 1: (1, -1)}
        if self.kind != "gated":
            params = {name: value.reshape(shapes.get(value.dim(), value.shape)) for name, value in params.items()}
        return plain.pool(x, self.describe(), draws=draws, **params)

    def __str__(self):
        return (f"configuration {self.number}: {self.kind} {self.dtype} {self.window} {tuple(self.x.shape)} {self.arrangement} "
                f"{self.stochasticity} " + " ".join(f"{name} {tuple(value.shape)}" for name, value in self.params.items()))


def differentiate(function, x, params, grad_y):
    """y and its gradients by x and each of params."""
    x, *values = (tensor.detach().requires_grad_() for tensor in (x, *params.values()))
    y = function(x, dict(zip(params, values)))
    grads = torch.autograd.grad(y, [x, *values], grad_y, allow_unused=True)
    return [y.detach(), *(torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip([x, *values], grads))]


def assert_close(found, expected, relative, what):
    """Within `relative` of each element, or of the tensor's typical size."""
    scale = expected.abs().mean().clamp(min=1.0) if expected.numel() else 1.0
    excess = (found.double() - expected).abs() - relative * (expected.abs() + scale)
    assert found.shape == expected.shape, what
    assert not excess.numel() or float(excess.max()) <= 0, f"{what}: off by {float(excess.max()):.3g} more than allowed"


@pytest.mark.parametrize("first", range(0, CONFIGURATIONS, 48))
def test_outputs_and_gradients(first):
    for number in range(first, first + 48):
        check_configuration(Configuration(number))


def check_configuration(configuration):
    pooling, x = configuration.describe(), configuration.x
    torch.manual_seed(configuration.number)
    draws = plain.draws_of(x, pooling, plain.next_seed())
    probe = configuration.call(x, configuration.params)
    assert probe.shape == _describe.output_shape(x, pooling), str(configuration)
    arrangement = configuration.random.choice(plain.ARRANGEMENTS) if len(x) else "contiguous"
    grad_y = plain.arrange(configuration.draw(*probe.shape).to(x.dtype), arrangement)
    torch.manual_seed(configuration.number)
    found = differentiate(configuration.call, x, configuration.params, grad_y)
    wide = {name: value.double() for name, value in configuration.params.items()}
    expected = differentiate(lambda x, params: configuration.expect(x, params, draws), x.double(), wide, grad_y.double())
    for name, value, wanted in zip(["y", "x", *configuration.params], found, expected):
        stored = value.dtype == x.dtype or value.dim() == 4 and value.shape[2:].numel() > 1  # so is a weight of y's shape
        relative = TOLERANCE.get(configuration.dtype) or (ROUNDING[configuration.dtype] if stored else 1e-5)
        assert_close(value, wanted, relative, f"{configuration}: {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_float32_rounded(kind):
    """Exactly: stored numbers are widened, computed in float32, and rounded once."""
    generator = torch.Generator().manual_seed(1)
    configuration = Configuration(KINDS.index(kind))
    configuration.window = {"kernel_size": 3, "stride": 2, "padding": 1}
    configuration.stochasticity, configuration.training = "HWCN", True
    x = torch.randn(2, 8, 9, 7, generator=generator).bfloat16()
    shape = (3, 3) if kind == "gated" else (2, 8)
    params = {name: torch.randn(shape, generator=generator) for name in configuration.params}
    grad_y = torch.randn(2, 8, 5, 4, generator=generator).bfloat16()
    torch.manual_seed(2)
    narrow = differentiate(configuration.call, x, params, grad_y)
    torch.manual_seed(2)
    wide = differentiate(configuration.call, x.float(), params, grad_y.float())
    for found, expected in zip(narrow, wide):
        assert torch.equal(found, expected.to(found.dtype))


# ---- Gradients by finite differences --------------------------------------------------------

@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stochastic"])
@pytest.mark.parametrize("arrangement", ["contiguous", "channels_last"])
def test_gradcheck(kind, arrangement):
    generator = torch.Generator().manual_seed(5)
    values = torch.randperm(2 * 3 * 5 * 6, generator=generator).reshape(2, 3, 5, 6).double() / 40 + 0.1
    x = plain.arrange(values, arrangement).requires_grad_()
    configuration = Configuration(KINDS.index(kind))
    configuration.window = {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
    configuration.stochasticity, configuration.norm = "HWCN", 3
    shape = (3, 3, 2) if kind == "gated" else (2, 3)
    params = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in configuration.params]

    def function(x, *values):
        torch.manual_seed(7)
        return configuration.call(x, dict(zip(configuration.params, values)))

    assert torch.autograd.gradcheck(function, (x, *params))


# ---- PyTorch's own functions ----------------------------------------------------------------

@pytest.mark.parametrize("options", [{"padding": 1, "ceil_mode": True}, {"padding": (0, 1), "stride": 1},
                                     {"stride": (3, 1), "ceil_mode": True}])
def test_same_as_torch(options):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    for count_include_pad in (True, False):
        expected = torch.nn.functional.avg_pool2d(x, (3, 2), count_include_pad=count_include_pad, **options)
        torch.testing.assert_close(functional.avg_pool2d(x, (3, 2), count_include_pad=count_include_pad, **options), expected)
    expected = torch.nn.functional.max_pool2d(x, (3, 2), **options)
    assert torch.equal(functional.max_pool2d(x, (3, 2), **options), expected)
    if "padding" not in options:
        expected = torch.nn.functional.lp_pool2d(x.abs(), 2, 3, 2)
        torch.testing.assert_close(functional.lp_pool2d(x.abs(), 2, 3, 2), expected)


def test_unbatched():
    x = torch.randn(3, 6, 6)
    assert torch.equal(functional.soft_pool2d(x, 2), functional.soft_pool2d(x[None], 2)[0])
