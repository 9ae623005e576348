#!/usr/bin/env python3
"""The operator beside PyTorch's poolings on a GPU, at a network's places, in one run: milliseconds and ratios.

    bench/pool_torch_cuda.py [--network resnet50] [--batch 256] [--dtype float32 bfloat16] [--layout nhwc nchw]
                             [--stochasticity CN HWCN] [--repeat 5] [--no-compile] [--json]

On the same tensors: this library through ctypes on PyTorch's stream; the naive Gaussian layer, autograd through avg_pool2d, as PyTorch
runs it ("naive") and under torch.compile ("compiled"); average and maximum. mu and sigma are given on all sides. "step" is forward and
backward with the gradients of x, mu and sigma, "forward" as in training, "inference" without draws and autograd. Times are those
between two CUDA events, of several calls in a row that go round sets of tensors, so that little of them is found in the L2 cache, and
that are queued behind a wait, so that no side's time is the host's; medians. Before anything is timed, the operator's results are
compared with the formula in float64, and with those of a second call.

With --json a line each: place kind stochasticity layout dtype device batch forward_ms step_ms inference_ms (null for "compiled").
Needs libgausspool in $GAUSSPOOL_BUILD (build/release) and libgausspool_cuda (GAUSSPOOL_CUDA_LIBRARY, or beside it). Exit status 77
without a GPU.
"""
import argparse
import ctypes
import json
import statistics
import sys
import time

from pool_torch import BUILD, LAYOUTS, Average, Layer, Maximum, Naive, Operator, naive_pooling, read_places
import torch
from torch.nn import functional as F

from operator_binding import BackwardArguments, ForwardArguments

NO_GPU = 77
PASSES = ["forward", "step", "inference"]
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 2e-3}
LEAD, MOST_SETS = 2, 16
QUEUEING = 1_000_000  # cycles of waiting for each call, some 0.5 ms: more than the host takes to queue a step of several kernels
TIMED_BYTES = 8e9  # that the calls which are timed as one should move, at the least
CHECKED_IMAGES = 8
RARE = 16  # and one in a million elements may differ: of windows whose variance is 1e-6 but for rounding


# ---- The layers -----------------------------------------------------------------------------

class Ours(Layer):
    kind = "isp_gaussian"

    def __init__(self, place, tensors, layout, stochasticity, operator, dtype, stream):
        super().__init__(place, tensors, layout)
        self.stochasticity, self.library, self.operator, self.stream = stochasticity, operator.library, operator, stream
        x = tensors["x"]
        describe = lambda draws: operator.descriptor(self.kind, dtype, layout.upper(), tuple(x.shape), self.kernel, self.stride,
                                                     self.padding, stochasticity=draws, seed=1)
        self.descriptors = {True: describe(stochasticity), False: describe("none")}
        self.workspace = torch.empty(max(self.scratch_bytes(way, training) for way in ("forward", "backward")
                                         for training in (True, False)) // 8 + 8, dtype=torch.float64, device=x.device)
        self.grads = {name: torch.full_like(tensors[name], float("nan")) for name in ("mu", "sigma")}

    def scratch_bytes(self, way, training):
        size = ctypes.c_size_t()
        query = getattr(self.library, f"gp_cuda_pool_{way}_workspace")
        self.operator._check(query(ctypes.byref(self.descriptors[training]), ctypes.byref(size)))
        return size.value

    def call(self, way, training, arguments):
        function = getattr(self.library, f"gp_cuda_pool_{way}")
        self.operator._check(function(ctypes.byref(self.descriptors[training]), ctypes.byref(arguments), ctypes.c_void_p(self.stream)))

    def addresses(self):
        return {**{name: self.tensors[name].data_ptr() for name in ("x", "mu", "sigma")}, "workspace": self.workspace.data_ptr()}

    def forward(self, training=True):
        self.call("forward", training, ForwardArguments(y=self.tensors["out_grad_y"].data_ptr(), **self.addresses()))

    def backward(self, training=True):
        grads = {f"grad_{name}": grad.data_ptr() for name, grad in self.grads.items()}
        self.call("backward", training, BackwardArguments(grad_y=self.tensors["grad_y"].data_ptr(),
                                                          grad_x=self.tensors["out_x"].data_ptr(), **grads, **self.addresses()))

    def inference(self):
        self.forward(training=False)

    def results(self, training):
        """What both passes write, from memory that held something else."""
        for output in (self.tensors["out_grad_y"], self.tensors["out_x"], *self.grads.values()):
            output.fill_(float("nan"))
        self.forward(training)
        self.backward(training)
        return [output.clone() for output in (self.tensors["out_grad_y"], self.tensors["out_x"], *self.grads.values())]


class Compiled(Naive):
    kind, passes = "torch_compiled", ["forward", "step"]  # inference would be compiled anew, which takes as long again

    def __init__(self, *arguments):
        super().__init__(*arguments)
        torch._dynamo.reset()  # what is compiled for another place does not count towards the limit of one function
        self.function = torch.compile(naive_pooling, dynamic=False)


def make_layers(place, tensors, layout, dtype, options, stream):
    operator = Operator()
    layers = [Ours(place, tensors, layout, draws, operator, dtype, stream) for draws in options.stochasticity]
    layers += [Naive(place, tensors, layout, draws) for draws in options.stochasticity]
    if options.compile:
        layers += [Compiled(place, tensors, layout, draws) for draws in options.stochasticity]
    return [*layers, Average(place, tensors, layout), Maximum(place, tensors, layout)]


# ---- Before anything is timed ---------------------------------------------------------------

def exact_pooling(x, mu, window):
    """What the operator computes without draws; the naive layer adds 1e-6 to the variance instead."""
    mean, square = F.avg_pool2d(x, *window), F.avg_pool2d(x * x, *window)
    return mean + F.softplus(mu) * (square - mean * mean).clamp(min=1e-6).sqrt()


def check(ours, dtype):
    """The same as the formula's in float64, over the first images; and the same bits from a second call."""
    for first, second in zip(ours.results(training=True), ours.results(training=True)):
        assert torch.equal(first, second), f"{ours.name}: two calls differ"
    y, grad_x, *_ = (result[:CHECKED_IMAGES] for result in ours.results(training=False))
    x, mu, grad_y = (ours.tensors[name][:CHECKED_IMAGES].double() for name in ("x", "mu", "grad_y"))
    expected = exact_pooling(x.requires_grad_(), mu, (ours.kernel, ours.stride, ours.padding))
    expected.backward(grad_y)
    for name, found, wanted in (("y", y, expected), ("grad_x", grad_x, x.grad)):
        close = (found.double() - wanted.detach()).abs() <= TOLERANCES[dtype] * (1 + wanted.detach().abs())
        wrong = int(close.numel() - close.sum())  # NaN, too
        assert wrong <= RARE + close.numel() // 1000000, f"{ours.name}, {name}: {wrong} of {close.numel()} elements are not the formula's"


# ---- Measuring ------------------------------------------------------------------------------

class Events:
    """Milliseconds on the current stream of a GPU."""

    least_calls, most_calls = 4, 32

    def __init__(self, device):
        self.cache_bytes = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 64 << 20)

    def hold(self, calls):
        """The stream waits, so that as many calls are queued behind it before the first of them begins."""
        torch.cuda._sleep(QUEUEING * calls)

    def mark(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, begin, end):
        end.synchronize()
        return begin.elapsed_time(end)


class Clock:
    """The same on the host, for rehearsals."""

    cache_bytes, least_calls, most_calls = 1024, 1, 2

    def hold(self, calls):
        """Calls return when they are done."""

    def mark(self):
        return time.perf_counter()

    def between(self, begin, end):
        return 1e3 * (end - begin)


def make_sets(place, batch, layout, dtype, device, cache_bytes):
    """So many sets of tensors that x of all is 8 times the cache, within limits."""
    _, c, h, w, kernel, stride, padding = place
    memory, generator = dict(memory_format=LAYOUTS[layout]), torch.Generator(device=device).manual_seed(1)
    sides = [(size + 2 * pad - k) // step + 1 for size, k, step, pad in zip((h, w), kernel, stride, padding)]
    empty = lambda *shape: torch.empty(shape, dtype=DTYPES[dtype], device=device, **memory)
    fill = lambda tensor: tensor.uniform_(-0.5, 0.5, generator=generator)
    first = {"x": fill(empty(batch, c, h, w)), "grad_y": fill(empty(batch, c, *sides))}
    first.update({name: torch.empty(batch, c, 1, 1, device=device).uniform_(0, 1, generator=generator) for name in ("mu", "sigma")})
    bytes_of_x = first["x"].numel() * first["x"].element_size()
    sets = [first] + [{**first, "x": first["x"].clone(**memory), "grad_y": first["grad_y"].clone(**memory)}
                      for _ in range(min(MOST_SETS, 8 * cache_bytes // bytes_of_x))]
    for one in sets:
        one.update(out_x=torch.empty_like(one["x"]), out_grad_y=torch.empty_like(one["grad_y"]))
    return sets


def run_once(layer, name):
    getattr(layer, "forward" if name == "step" else name)()
    if name == "step":
        layer.backward()


def measure_pass(layer, name, sets, calls, clock):
    """Milliseconds a call, of the GPU's own time: all are queued behind a wait. Those ahead of the first that is timed leave the
    caches as the others do."""
    clock.hold(LEAD + calls)
    for turn in range(-LEAD, calls):
        if turn == 0:
            begin = clock.mark()
        layer.tensors = sets[turn % len(sets)]
        run_once(layer, name)
    return clock.between(begin, clock.mark()) / calls


def measure_layers(layers, sets, repeat, clock):
    """{layer: {pass: milliseconds}}: medians, in turn after one to warm up."""
    x = sets[0]["x"]
    calls = max(clock.least_calls, min(clock.most_calls, max(int(TIMED_BYTES / (x.numel() * x.element_size())), len(sets))))
    times = {layer: {name: [] for name in getattr(layer, "passes", PASSES)} for layer in layers}
    for turn in range(-1, repeat):
        for layer in layers:
            for name in times[layer]:
                milliseconds = measure_pass(layer, name, sets, calls, clock)
                if turn >= 0:
                    times[layer][name].append(milliseconds)
    return {layer: {name: statistics.median(values) for name, values in passes.items()} for layer, passes in times.items()}


def measure_place(place, layout, dtype, options, device):
    """Rows as --json prints them."""
    clock = Events(device) if device == "cuda" else Clock()
    sets = make_sets(place, options.batch, layout, dtype, device, clock.cache_bytes)
    stream = torch.cuda.current_stream().cuda_stream if device == "cuda" else None
    layers = make_layers(place, sets[0], layout, dtype, options, stream)
    check(layers[0], dtype)
    rows = []
    for layer, times in measure_layers(layers, sets, options.repeat, clock).items():
        rows.append({"place": layer.name, "kind": layer.kind, "stochasticity": layer.stochasticity, "layout": layout, "dtype": dtype,
                     "device": torch.cuda.get_device_name() if device == "cuda" else "rehearsal", "batch": options.batch,
                     **{f"{name}_ms": round(times[name], 5) if name in times else None for name in PASSES}})
    return rows


# ---- Results --------------------------------------------------------------------------------

def sum_places(rows):
    """{(dtype, layout, stochasticity, kind): {pass: milliseconds}}"""
    sums = {}
    for row in rows:
        passes = sums.setdefault(tuple(row[name] for name in ("dtype", "layout", "stochasticity", "kind")), dict.fromkeys(PASSES, 0.0))
        for name in PASSES:
            passes[name] += float("nan") if row[f"{name}_ms"] is None else row[f"{name}_ms"]
    return sums


def print_table(sums):
    titles = {"isp_gaussian": "gausspool", "torch_naive": "PyTorch, naive", "torch_compiled": "PyTorch, compiled",
              "torch_average": "PyTorch, average", "torch_max": "PyTorch, max"}
    print(f"{'ms, sums over the places':<26}{'dtype':<10}{'layout':<8}{'draw':<6}" + "".join(f"{name:>11}" for name in PASSES) +
          f"{'step, times gausspool CN':>28}")
    for (dtype, layout, draws, kind), passes in sorted(sums.items(), key=lambda item: (item[0][:2], list(titles).index(item[0][3]))):
        ours = sums.get((dtype, layout, draws, "isp_gaussian")) or next(
            value for key, value in sums.items() if key[:2] == (dtype, layout) and key[3] == "isp_gaussian")
        print(f"{titles[kind]:<26}{dtype:<10}{layout:<8}{draws:<6}" + "".join(f"{passes[name]:>11.3f}" for name in PASSES) +
              f"{passes['step'] / ours['step']:>28.2f}")


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", help="a file of bench/networks, or a file's path")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32", "bfloat16"])
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=["nhwc", "nchw"])
    parser.add_argument("--stochasticity", nargs="+", choices=["CN", "HWCN"], default=["CN", "HWCN"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="without torch.compile, which takes a while")
    parser.add_argument("--json", action="store_true")
    # For tests: everything in the host's memory, with the kernels of a GAUSSPOOL_CUDA_LIBRARY that runs them there.
    parser.add_argument("--rehearse", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = read_options()
    if not (options.rehearse or torch.cuda.is_available()):
        print("pool_torch_cuda.py: expected a GPU that PyTorch can use, found none (torch.cuda.is_available())", file=sys.stderr)
        sys.exit(NO_GPU)
    if not (BUILD / "src" / "libgausspool.so").is_file():
        sys.exit(f"pool_torch_cuda.py: no libgausspool.so in {BUILD} (GAUSSPOOL_BUILD): make build")
    if options.compile and not hasattr(torch, "compile"):
        print(f"pool_torch_cuda.py: PyTorch {torch.__version__} has no torch.compile: left out", file=sys.stderr)
        options.compile = False
    device = "cpu" if options.rehearse else "cuda"
    if options.rehearse:
        torch.set_num_threads(1)
    rows = []
    for dtype, layout in ((dtype, layout) for layout in options.layout for dtype in options.dtype):
        for place in read_places(options.network):
            found = measure_place(place, layout, dtype, options, device)
            rows += found
            if options.json:
                for row in found:
                    print(json.dumps(row), flush=True)
    if not options.json:
        print(f"{options.network}, batch {options.batch}, {rows[0]['device']}, PyTorch {torch.__version__}; medians of {options.repeat}\n")
        print_table(sum_places(rows))


if __name__ == "__main__":
    main()
