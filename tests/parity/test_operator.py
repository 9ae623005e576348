"""libgausspool's operator against PyTorch in double precision, over random configurations."""
import numpy as np
import pytest
import torch

import philox
import reference
from operator_binding import BUILD, GausspoolError, Operator, from_layout, to_layout

CONFIGURATIONS = 400
DRAW_TOLERANCE = 4e-6  # draws are made in float32

pytestmark = pytest.mark.skipif(not (BUILD / "src" / "libgausspool.so").is_file(),
                                reason=f"no libgausspool.so in {BUILD}: cmake --build --preset release")


@pytest.fixture(scope="module")
def operator():
    return Operator()


class Configuration:
    """One random pooling with its data, all from one seed."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        choose = lambda *options: options[random.integers(len(options))]
        self.seed = seed
        self.kind = choose("isp_gaussian", "isp_gaussian", "weighted", "average", "max")
        self.layout = choose("NCHW", "NHWC", "NCHW8C", "NCHW16C")
        self.dtype = choose(np.float32, np.float64)
        self.ceil_mode, self.count_include_pad = bool(random.integers(2)), bool(random.integers(2))
        if random.integers(2):
            self.kernel, self.stride, self.padding = choose(((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)))
        else:
            self.kernel = tuple(int(k) for k in random.integers(1, 6, 2))
            self.stride = tuple(int(s) for s in random.integers(1, 5, 2))
            self.padding = tuple(int(random.integers(k // 2 + 1)) for k in self.kernel)
        channels = int(choose(1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 32, 33))
        sides = [int(max(k - 2 * p, 1) + random.integers(0, 13)) for k, p in zip(self.kernel, self.padding)]
        self.shape = (int(random.integers(1, 4)), channels, *sides)
        self.stochasticity = choose("none", "CN", "HWCN") if self.kind == "isp_gaussian" else "none"
        self.param_shape = choose("NC", "C", "N", "ONE", *(["NCHW"] if self.kind == "weighted" else []))
        self.eps = choose(0.0, 0.0, 0.3)  # 0.3: some windows lie below it
        self.draw_seed = int(random.integers(2**63))
        self.call_offset, self.first_sample = int(random.integers(2**32)), int(choose(0, 5, 1000))
        self.threads = int(choose(0, 1, 2, 3))
        self.x = random.standard_normal(self.shape)
        scale, shift = choose((1.0, 0.0), (1.0, 0.0), (1e-2, 30.0), (100.0, 0.0))
        self.x = (self.x * scale + shift).astype(self.dtype)
        if self.kind == "max" and random.integers(2):
            self.x = np.round(self.x)  # ties: the first of them wins, in row order
        self.random = random

    def __str__(self):
        names = ("seed", "kind", "layout", "shape", "kernel", "stride", "padding", "ceil_mode", "count_include_pad",
                 "param_shape", "stochasticity", "eps", "threads")
        return f"{self.dtype.__name__} " + " ".join(f"{name}={getattr(self, name)}" for name in names)

    def descriptor(self, operator):
        return operator.descriptor(self.kind, self.dtype, self.layout, self.shape, self.kernel, self.stride, self.padding,
                                   self.ceil_mode, self.count_include_pad, self.eps, self.param_shape, self.stochasticity,
                                   self.draw_seed, self.call_offset, self.first_sample, self.threads)

    def parameter(self, out_shape):
        """Random values of the parameter's shape, as they broadcast over the output in PyTorch."""
        n, c, h, w = out_shape
        shape = {"NC": (n, c, 1, 1), "C": (1, c, 1, 1), "N": (n, 1, 1, 1), "ONE": (1, 1, 1, 1), "NCHW": (n, c, h, w)}
        return self.random.standard_normal(shape[self.param_shape]).astype(self.dtype)

    def draws(self, out_shape):
        if self.stochasticity == "CN":
            values = philox.draws_cn(self.draw_seed, self.call_offset, self.first_sample, *out_shape[:2])
            return values[:, :, None, None]
        if self.stochasticity == "HWCN":
            return philox.draws_hwcn(self.draw_seed, self.call_offset, self.first_sample, *out_shape)
        return None


def double(array):
    return torch.from_numpy(np.array(array, dtype=np.float64)).requires_grad_()


def assert_near(actual, expected, tolerance, what):
    scale = max(np.abs(expected).max(initial=0.0), 1.0)
    error = np.abs(actual - expected).max(initial=0.0) / scale
    assert error <= tolerance, f"{what}: error {error:.3g} of scale {scale:.3g}, tolerance {tolerance:.3g}"


def compare(operator, case):
    descriptor = case.descriptor(operator)
    out_shape = operator.output_shape(descriptor)
    windows_x = double(case.x)
    windows = reference.Windows(windows_x, case.kernel, case.stride, case.padding, case.ceil_mode, case.count_include_pad)
    assert out_shape == windows.mean().shape, f"output shape {out_shape}, PyTorch's {tuple(windows.mean().shape)}"

    given, leaves = {}, {"x": windows_x}
    if case.kind == "isp_gaussian":
        names = ("mu", "sigma")
    else:
        names = ("weight",) if case.kind == "weighted" else ()
    for name in names:
        value = case.parameter(out_shape)
        leaves[name] = double(value)
        given[name] = value
    eps = case.eps or 1e-6
    if case.kind == "isp_gaussian":
        draws = case.draws(out_shape)
        if draws is not None:
            library_draws = operator.draws(descriptor, out_shape if case.stochasticity == "HWCN" else out_shape[:2])
            library_draws = library_draws.astype(np.float64).reshape(draws.shape)
            assert_near(library_draws, draws, DRAW_TOLERANCE, "draws")
            # They are float32 numbers by definition; to compare the rest more closely than that, take the library's.
            draws = torch.from_numpy(library_draws if case.dtype == np.float64 else draws)
        expected = reference.gaussian_pool(windows, reference.isp_weight(leaves["mu"], leaves["sigma"], draws), eps)
    elif case.kind == "weighted":
        expected = reference.gaussian_pool(windows, leaves["weight"], eps)
    else:
        expected = windows.mean() if case.kind == "average" else windows.max()

    memory = {name: to_layout(value, case.layout) if case.param_shape == "NCHW" else value.reshape(-1)
              for name, value in given.items()}
    grad_y = case.random.standard_normal(out_shape).astype(case.dtype)
    y = operator.forward(descriptor, case.x, **memory)
    grads = operator.backward(descriptor, case.x, grad_y, **memory)

    expected.backward(torch.from_numpy(grad_y.astype(np.float64)))
    # x - m loses the mean's digits in the input's own precision, and 1/s gives them back larger.
    step = np.finfo(case.dtype).eps
    forward, backward = 40 * step, 400 * step
    if case.stochasticity != "none" and case.dtype == np.float32:
        forward, backward = forward + DRAW_TOLERANCE, backward + DRAW_TOLERANCE
    if np.abs(case.x).mean() > 10 and case.kind in ("isp_gaussian", "weighted"):
        spread = max(np.abs(case.x - case.x.mean()).mean(), 1e-3)
        backward *= max(np.abs(case.x).mean() / spread, 1)
    assert_near(y, expected.detach().numpy(), forward, "y")
    for name, leaf in leaves.items():
        if leaf.grad is None or (name == "sigma" and case.stochasticity == "none"):
            continue
        wanted = leaf.grad.numpy()
        found = grads[name]
        if name != "x":
            found = (from_layout(found, case.layout, wanted.shape) if case.param_shape == "NCHW"
                     else found.reshape(wanted.shape))
        assert_near(found, wanted, backward * (1 if name == "x" else 4), f"grad_{name}")


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_configuration(operator, seed):
    case = Configuration(seed)
    try:
        compare(operator, case)
    except (AssertionError, GausspoolError) as error:
        pytest.fail(f"{error}\n  {case}", pytrace=False)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCHW8C", "NCHW16C"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws(operator, layout, dtype):
    shape = (3, 10, 12, 14)
    for stochasticity, first_sample in (("CN", 0), ("HWCN", 2), ("CN", 77), ("HWCN", 2**36)):
        descriptor = operator.descriptor("isp_gaussian", dtype, layout, shape, (2, 2), (2, 2), (0, 0),
                                         stochasticity=stochasticity, seed=0x123456789ABCDEF, call_offset=99,
                                         first_sample=first_sample)
        out_shape = operator.output_shape(descriptor)
        if stochasticity == "CN":
            expected = philox.draws_cn(0x123456789ABCDEF, 99, first_sample, *shape[:2])
        else:
            expected = philox.draws_hwcn(0x123456789ABCDEF, 99, first_sample, *out_shape)
        assert_near(operator.draws(descriptor, expected.shape), expected, DRAW_TOLERANCE, f"draws {stochasticity}")
