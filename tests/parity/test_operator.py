"""libgausspool's operator against PyTorch in double precision, over random configurations of every kind.

GAUSSPOOL_TEST_CASES, 20,000 unless set, makes as many more or fewer of them as in the unit tests.
"""
import os

import numpy as np
import pytest
import torch

import operator_reference as formulas
import philox
import reference
from operator_binding import (BUILD, LAYOUTS, GausspoolError, Operator, Tensor, from_storage, params_dtype, to_storage)

CONFIGURATIONS = 1200 * int(os.environ.get("GAUSSPOOL_TEST_CASES", 20000)) // 20000 + 1
DRAW_TOLERANCE = 4e-6  # draws are made in float32
ROUNDING = {"float32": 0.0, "float64": 0.0, "bfloat16": 2.0**-8, "float16": 2.0**-11}  # of what is stored
KINDS = ["isp_gaussian", "weighted", "average", "max", "gaussian", "half_gaussian", "max_entropy", "softpool", "stochastic",
         "mixed", "gated", "lp"]
PARAMS = {"isp_gaussian": ("mu", "sigma"), "gaussian": ("mu", "sigma"), "half_gaussian": ("sigma",),
          "weighted": ("weight",), "max_entropy": ("weight",), "mixed": ("weight",), "gated": ("weight",)}
DRAWING = ("isp_gaussian", "gaussian", "half_gaussian", "stochastic")
GAUSSIAN = ("isp_gaussian", "gaussian", "half_gaussian", "weighted")

pytestmark = pytest.mark.skipif(not (BUILD / "src" / "libgausspool.so").is_file(),
                                reason=f"no libgausspool.so in {BUILD}: cmake --build --preset release")


@pytest.fixture(scope="module")
def operator():
    return Operator()


def test_kinds(operator):
    assert operator.kinds == KINDS


class Configuration:
    """One random pooling with its data, all from one seed."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        choose = lambda *options: options[random.integers(len(options))]
        self.seed, self.random = seed, random
        self.kind = KINDS[seed % len(KINDS)]
        self.layout = choose("NCHW", "NHWC", "NCHW8C", "NCHW16C")
        self.dtype = choose("float32", "float32", "float64", "bfloat16", "float16")
        self.choose_windows(choose)
        self.choose_params(choose)
        self.draw_seed = int(random.integers(2**63))
        self.call_offset, self.first_sample = int(random.integers(2**32)), int(choose(0, 5, 1000))
        self.threads = int(choose(0, 1, 2, 3))
        self.margin, self.step = choose((0, 1), (0, 1), (1, 1), (3, 1), (2, 2))
        self.affine, self.average, self.accumulate = (bool(random.integers(4) == 0) for _ in range(3))
        self.make_x(choose)

    def choose_windows(self, choose):
        random = self.random
        channels = int(choose(1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 32, 33))
        self.adaptive, self.ceil_mode, self.count_include_pad = (0, 0), bool(random.integers(2)), bool(random.integers(2))
        if self.kind != "gated" and random.integers(6) == 0:
            self.kernel = self.stride = self.padding = (0, 0)
            self.adaptive = choose((1, 1), tuple(int(a) for a in random.integers(1, 8, 2)))
            sides = [int(side) for side in random.integers(1, 15, 2)]
            self.ceil_mode, self.count_include_pad = False, True
        else:
            if random.integers(2):
                self.kernel, self.stride, self.padding = choose(((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)))
            else:
                self.kernel = tuple(int(k) for k in random.integers(1, 6, 2))
                self.stride = tuple(int(s) for s in random.integers(1, 5, 2))
                self.padding = tuple(int(random.integers(k // 2 + 1)) for k in self.kernel)
            sides = [int(max(k - 2 * p, 1) + random.integers(0, 13)) for k, p in zip(self.kernel, self.padding)]
        self.shape = (int(random.integers(1, 4)), channels, *sides)

    def choose_params(self, choose):
        self.stochasticity = choose("none", "CN", "HWCN") if self.kind in DRAWING else "none"
        maps = ["NCHW"] if self.kind in ("weighted", "max_entropy", "mixed") else []
        self.param_shape = choose("C", "ONE") if self.kind == "gated" else choose("NC", "C", "N", "ONE", *maps)
        self.eps = choose(0.0, 0.0, 0.3) if self.kind in GAUSSIAN else 0.0  # 0.3: some windows lie below it
        self.norm = choose(0.0, 1.0, 2.0, 3.0, 2.5, 4.0) if self.kind == "lp" else 0.0

    def make_x(self, choose):
        random = self.random
        x = random.standard_normal(self.shape)
        scale, shift = choose((1.0, 0.0), (1.0, 0.0), (1e-2, 30.0), (100.0, 0.0))
        if self.dtype in ROUNDING and ROUNDING[self.dtype] > 0 and shift:
            scale, shift = 1.0, 3.0  # there would be nothing left of the deviation
        x = x * scale + shift
        if self.kind in ("max", "stochastic") and random.integers(2):
            x = np.round(x)  # ties: the first of them wins, in row order; zeros
        self.affine_values = [random.standard_normal(self.shape[1]).astype(params_dtype(self.dtype)) for _ in range(2)]
        if self.affine:  # rounding must not decide the ReLU
            a, b = (value[None, :, None, None].astype(np.float64) for value in self.affine_values)
            near = np.abs(a * x + b) < 0.03 * max(scale, abs(shift), 1)
            x = np.where(near, x + 0.1 * max(scale, abs(shift), 1) / np.where(np.abs(a) < 0.1, 0.1, a), x)
        self.x = from_storage(to_storage(x, self.dtype), self.dtype)

    def __str__(self):
        names = ("seed", "dtype", "kind", "layout", "shape", "kernel", "stride", "padding", "adaptive", "ceil_mode",
                 "count_include_pad", "param_shape", "stochasticity", "eps", "norm", "margin", "step", "affine", "average",
                 "accumulate", "threads")
        return " ".join(f"{name}={getattr(self, name)}" for name in names)

    def descriptor(self, operator):
        return operator.descriptor(
            self.kind, self.dtype, self.layout, self.shape, self.kernel, self.stride, self.padding, self.adaptive,
            self.ceil_mode, self.count_include_pad, self.eps, self.norm, self.param_shape, self.stochasticity,
            self.draw_seed, self.call_offset, self.first_sample, self.threads)

    def windows(self, x):
        if any(self.adaptive):
            return formulas.AdaptiveWindows(x, self.adaptive)
        return reference.Windows(x, self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def parameter(self, out_shape):
        """Random values of a parameter's shape, as they broadcast over the output in PyTorch, or the gate's mask."""
        n, c, h, w = out_shape
        if self.kind == "gated":
            shape = (c if self.param_shape == "C" else 1, *self.kernel)
        else:
            shape = {"NC": (n, c, 1, 1), "C": (1, c, 1, 1), "N": (n, 1, 1, 1), "ONE": (1, 1, 1, 1),
                     "NCHW": (n, c, h, w)}[self.param_shape]
        values = self.random.standard_normal(shape)
        if self.param_shape == "NCHW":
            return from_storage(to_storage(values, self.dtype), self.dtype)
        return values.astype(params_dtype(self.dtype))

    def draws(self, operator, descriptor, out_shape):
        """As the formulas have them; the library's are checked against those."""
        if self.stochasticity == "none":
            return None
        place = (self.draw_seed, self.call_offset, self.first_sample)
        uniform = self.kind == "stochastic"
        if self.stochasticity == "CN":
            make = formulas.uniform_cn if uniform else philox.draws_cn
            values = make(*place, *out_shape[:2])
        else:
            make = formulas.uniform_hwcn if uniform else philox.draws_hwcn
            values = make(*place, *out_shape)
        found = operator.draws(descriptor, values.shape).astype(np.float64)
        assert_near(found, values, 0.0 if uniform else DRAW_TOLERANCE, "draws")
        # They are float32 numbers by definition; to compare the rest more closely than that, take the library's.
        values = found if self.dtype == "float64" else values
        return torch.from_numpy(values.reshape(values.shape + (1,) * (4 - values.ndim)))


def double(array):
    return torch.from_numpy(np.array(array, dtype=np.float64)).requires_grad_()


def assert_near(actual, expected, tolerance, what, rounding=0.0):
    """Within the tolerance of the largest, and each within the rounding of what is stored."""
    scale = max(np.abs(expected).max(initial=0.0), 1.0)
    excess = np.abs(actual - expected) - 1.01 * rounding * np.abs(expected)
    error = excess.max(initial=0.0) / scale
    assert error <= tolerance, f"{what}: error {error:.3g} of scale {scale:.3g}, tolerance {tolerance:.3g}"


def expected_output(case, windows, leaves, draws):
    """y, and where rounding cannot decide it."""
    eps, kind = case.eps or 1e-6, case.kind
    sure = None
    if kind in GAUSSIAN:
        if kind == "isp_gaussian":
            weight = reference.isp_weight(leaves["mu"], leaves["sigma"], draws)
        elif kind == "gaussian":
            weight = formulas.gaussian_weight(leaves["mu"], leaves["sigma"], draws)
        else:
            weight = leaves["weight"] if kind == "weighted" else formulas.half_gaussian_weight(leaves["sigma"], draws)
        y = reference.gaussian_pool(windows, weight, eps)
    elif kind == "average":
        y = windows.mean()
    elif kind == "max":
        y = windows.max()
    elif kind in ("max_entropy", "softpool"):
        y = formulas.softmax_pool(windows, leaves["weight"] if kind == "max_entropy" else torch.ones(1, 1, 1, 1))
    elif kind == "stochastic" and draws is not None:
        y, margin = formulas.stochastic_pick(windows, draws)
        sure = (margin > 1e-5).numpy()
    elif kind == "stochastic":
        y = formulas.stochastic_expectation(windows)
    elif kind in ("mixed", "gated"):
        y = formulas.mixed_pool(windows, leaves["weight"] if kind == "mixed" else formulas.gate(windows, leaves["weight"]))
    else:
        elements = case.kernel[0] * case.kernel[1] if not any(case.adaptive) else windows.divisor
        y = formulas.lp_pool(windows, case.norm or 2.0, elements)
    return y, np.ones(y.shape, bool) if sure is None else sure


def tolerances(case, seen, leaves):
    """Of y and of gradients, for what float32 arithmetic may lose."""
    step = np.finfo(params_dtype(case.dtype)).eps
    # x - m loses the mean's digits in the input's own precision, and 1/s gives them back larger.
    forward, backward = 40 * step, 400 * step
    if case.stochasticity != "none" and case.dtype != "float64":
        forward, backward = forward + DRAW_TOLERANCE, backward + DRAW_TOLERANCE
    size = np.abs(case.x).mean()
    if size > 10 and case.kind in GAUSSIAN:
        backward *= max(size / max(np.abs(case.x - case.x.mean()).mean(), 1e-3), 1)
    if case.kind in ("max_entropy", "softpool", "gated"):  # exponents lose what their size has
        factor = max(1.0, seen.abs().max().item() * (leaves["weight"].abs().max().item() if "weight" in leaves else 1.0))
        forward, backward = forward * factor, backward * factor
    return forward, backward


def compare(operator, case):
    descriptor = case.descriptor(operator)
    out_shape = operator.output_shape(descriptor)
    leaves = {"x": double(case.x)}
    seen = leaves["x"]
    if case.affine:
        leaves["scale"], leaves["shift"] = map(double, case.affine_values)
        seen = torch.relu(seen * leaves["scale"][None, :, None, None] + leaves["shift"][None, :, None, None])
    windows = case.windows(seen)
    assert out_shape == windows.mean().shape, f"output shape {out_shape}, PyTorch's {tuple(windows.mean().shape)}"

    memory = dict(zip(("scale", "shift"), case.affine_values)) if case.affine else {}
    tensors = {}
    for name in PARAMS.get(case.kind, ()):
        value = case.parameter(out_shape)
        leaves[name] = double(value)
        memory[name] = value.reshape(-1)
        if case.param_shape == "NCHW":
            tensors[name] = Tensor(out_shape, case.layout, case.dtype).write(value)
            memory[name] = tensors[name].memory
    draws = case.draws(operator, descriptor, out_shape)
    expected, sure = expected_output(case, windows, leaves, draws)

    stored = lambda array: from_storage(to_storage(array, case.dtype), case.dtype)
    grad_y = stored(case.random.standard_normal(out_shape)) * sure
    loss = (expected * torch.from_numpy(grad_y)).sum()
    companions = {}
    if case.average and sure.all():
        companions = {name: case.random.standard_normal(out_shape[:2]).astype(params_dtype(case.dtype))
                      for name in ("grad_average_y", "grad_average_x")}
        for name, tensor in (("grad_average_y", expected), ("grad_average_x", seen)):
            loss = loss + (tensor.mean((2, 3)) * torch.from_numpy(companions[name].astype(np.float64))).sum()
    add_to = stored(case.random.standard_normal(case.shape)) if case.accumulate else None
    loss.backward()

    placing = dict(margin=case.margin, step=case.step)
    y = operator.forward(descriptor, case.x, average=bool(companions), **placing, **memory)
    grads = operator.backward(descriptor, case.x, grad_y, add_to=add_to, **companions, **placing, **memory)

    forward, backward = tolerances(case, seen, leaves)
    rounding = ROUNDING[case.dtype]
    wanted = expected.detach().numpy()
    if companions:
        y, means = y
        assert_near(means, wanted.mean((2, 3)), forward, "average_y")
    assert_near(y * sure, wanted * sure, forward, "y", rounding)
    for name, leaf in leaves.items():
        if leaf.grad is None:
            continue
        wanted, found, loose = leaf.grad.numpy(), grads[name], backward * (1 if name == "x" else 4)
        if name == "x" and add_to is not None:
            wanted = wanted + add_to
        if name in tensors:
            tensors[name].memory[...] = found
            found = tensors[name].read()
        elif name != "x":
            found = found.reshape(wanted.shape)
        assert_near(found, wanted, loose, f"grad_{name}", rounding if name == "x" or name in tensors else 0.0)


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_configuration(operator, seed):
    case = Configuration(seed)
    try:
        compare(operator, case)
    except (AssertionError, GausspoolError) as error:
        pytest.fail(f"{error}\n  {case}", pytrace=False)


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_draws(operator, layout, dtype):
    shape = (3, 10, 12, 14)
    for stochasticity, first_sample in (("CN", 0), ("HWCN", 2), ("CN", 77), ("HWCN", 2**36)):
        descriptor = operator.descriptor("isp_gaussian", dtype, layout, shape, (2, 2), stochasticity=stochasticity,
                                         seed=0x123456789ABCDEF, call_offset=99, first_sample=first_sample)
        out_shape = operator.output_shape(descriptor)
        if stochasticity == "CN":
            expected = philox.draws_cn(0x123456789ABCDEF, 99, first_sample, *shape[:2])
        else:
            expected = philox.draws_hwcn(0x123456789ABCDEF, 99, first_sample, *out_shape)
        assert_near(operator.draws(descriptor, expected.shape), expected, DRAW_TOLERANCE, f"draws {stochasticity}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_slice(operator, kind, dtype):
    """A slice of a PyTorch tensor, by its own strides: as its copy."""
    x = torch.randn(2, 9, 12, 11, dtype=getattr(torch, dtype), generator=torch.Generator().manual_seed(3))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        part = x.contiguous(memory_format=memory_format)[:, 2:7, 1:, ::1]
        layout = "NCHW" if memory_format == torch.contiguous_format else "NHWC"
        shape = "ONE" if kind == "gated" else "NC"
        descriptor = operator.descriptor(kind, dtype, layout, part.shape, (3, 2), (2, 2), (1, 1), param_shape=shape)
        params = {name: np.linspace(0.1, 0.9, 6 if kind == "gated" else 10, dtype=dtype) for name in PARAMS.get(kind, ())}
        expected = operator.forward(descriptor, part.numpy(), **params)
        y = Tensor(expected.shape, layout, dtype)
        for name, stride in zip("nchw", part.stride()):
            setattr(descriptor.x_stride, name, stride)
        operator.call_forward(descriptor, x=part.data_ptr(), y=y.address,
                              **{name: value.ctypes.data for name, value in params.items()})
        assert np.array_equal(y.read(), expected)
