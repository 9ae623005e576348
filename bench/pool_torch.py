#!/usr/bin/env python3
"""The operator beside PyTorch's pooling layers at a network's places, in one run: milliseconds and ratios. On a GPU:
bench/pool_torch_cuda.py.

    bench/pool_torch.py [--network resnet50] [--batch 16] [--threads 2] [--repeat 5] [--json]

Measured alternately on the same tensors, float32: this library through ctypes, into tensors made once ("gausspool") and into ones made for
each call as PyTorch makes its own ("gausspool, new tensors"); the naive Gaussian layer, autograd through avg_pool2d; average and maximum.
mu and sigma are given on both sides. Each in NCHW and in channels_last. Forward is as in training, backward gives the gradients
of x, mu and sigma.

With --json a line each: place kind stochasticity layout dtype threads batch forward_ms backward_ms inference_ms.
"""
import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "parity"))

try:
    import torch
    from torch.nn import functional as F
except ImportError as error:
    sys.exit(f"{sys.argv[0]}: {error} in {sys.executable}: start this with a Python that has PyTorch "
             "(Debian: /usr/bin/python3, with python3-torch)")

from operator_binding import BUILD, Operator  # noqa: E402

LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
PASSES = ["forward", "backward", "inference"]


def read_places(network):
    """(name, channels, height, width, kernel, stride, padding) of each place."""
    path = ROOT / "bench" / "networks" / f"{network}.txt"
    places = []
    for line in (path if path.is_file() else Path(network)).read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            c, h, w, *window = map(int, words[1:])
            places.append((words[0], c, h, w, tuple(window[0:2]), tuple(window[2:4]), tuple(window[4:6])))
    return places


# ---- The layers -----------------------------------------------------------------------------

class Layer:
    """Something to measure; forward() keeps what backward() needs."""

    def __init__(self, place, tensors, layout):
        self.name, self.channels, self.height, self.width, self.kernel, self.stride, self.padding = place
        self.tensors, self.layout, self.stochasticity = tensors, layout, "none"


class TorchLayer(Layer):
    def forward(self):
        leaves = [self.tensors[name] for name in ("x", "mu", "sigma")]
        self.leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        self.y = self.compute(*self.leaves)

    def backward(self):
        self.y.backward(self.tensors["grad_y"])
        self.y = self.leaves = None

    def inference(self):
        with torch.no_grad():
            self.compute(*(self.tensors[name] for name in ("x", "mu", "sigma")), training=False)


class Average(TorchLayer):
    kind = "torch_average"

    def compute(self, x, mu, sigma, training=True):
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding)


class Maximum(TorchLayer):
    kind = "torch_max"

    def compute(self, x, mu, sigma, training=True):
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)


def naive_pooling(x, mu, sigma, window, stochasticity, layout):
    """The formula as it stands; mu and sigma may be of a wider type than x."""
    mean = F.avg_pool2d(x, *window)
    square = F.avg_pool2d(x * x, *window)
    a = mu
    if stochasticity != "none":
        draws = torch.randn(mean.shape if stochasticity == "HWCN" else mu.shape, device=x.device)
        a = mu + sigma * draws.to(memory_format=LAYOUTS[layout])
    return mean + F.softplus(a).to(x.dtype) * (F.relu(square - mean * mean) + 1e-6).sqrt()


class Naive(TorchLayer):
    kind = "torch_naive"

    def __init__(self, place, tensors, layout, stochasticity):
        super().__init__(place, tensors, layout)
        self.stochasticity, self.function = stochasticity, naive_pooling

    def compute(self, x, mu, sigma, training=True):
        return self.function(x, mu, sigma, (self.kernel, self.stride, self.padding), self.stochasticity if training else "none",
                             self.layout)


class Ours(Layer):
    def __init__(self, place, tensors, layout, stochasticity, operator, threads, new_tensors=False):
        super().__init__(place, tensors, layout)
        self.stochasticity, self.operator, self.new_tensors = stochasticity, operator, new_tensors
        self.kind = "isp_gaussian" + ("_new_tensors" if new_tensors else "")
        x = tensors["x"]
        describe = lambda draws: operator.descriptor("isp_gaussian", "float32", layout.upper(), tuple(x.shape), self.kernel,
                                                     self.stride, self.padding, stochasticity=draws, seed=1,
                                                     threads=threads)
        self.training, self.inferring = describe(stochasticity), describe("none")
        self.workspace = operator.workspace(self.training, "backward")
        self.grad_mu, self.grad_sigma = torch.empty_like(tensors["mu"]), torch.empty_like(tensors["sigma"])

    def output(self, name):
        """A tensor like y or x."""
        return torch.empty_like(self.tensors[name]) if self.new_tensors else self.tensors["out_" + name]

    def addresses(self):
        return {name: self.tensors[name].data_ptr() for name in ("x", "mu", "sigma")}

    def forward(self):
        y = self.output("grad_y")
        self.operator.call_forward(self.training, y=y.data_ptr(), **self.addresses())

    def backward(self):
        grad_x = self.output("x")
        self.operator.call_backward(self.training, grad_y=self.tensors["grad_y"].data_ptr(), grad_x=grad_x.data_ptr(),
                                    grad_mu=self.grad_mu.data_ptr(), grad_sigma=self.grad_sigma.data_ptr(),
                                    workspace=self.workspace.ctypes.data, **self.addresses())

    def inference(self):
        y = self.output("grad_y")
        self.operator.call_forward(self.inferring, y=y.data_ptr(), **self.addresses())


# ---- Measuring ------------------------------------------------------------------------------

def make_tensors(place, batch, layout):
    _, c, h, w, kernel, stride, padding = place
    generator = torch.Generator().manual_seed(1)
    memory = dict(memory_format=LAYOUTS[layout])
    x = torch.rand(batch, c, h, w, generator=generator).sub_(0.5).contiguous(**memory)
    with torch.no_grad():
        grad_y = torch.rand(F.avg_pool2d(x, kernel, stride, padding).shape, generator=generator).contiguous(**memory)
    mu, sigma = (torch.rand(batch, c, 1, 1, generator=generator) for _ in range(2))
    return {"x": x, "grad_y": grad_y, "mu": mu, "sigma": sigma, "out_x": torch.zeros_like(x),
            "out_grad_y": torch.zeros_like(grad_y)}


def check(ours, naive):
    """The two must compute the same before their times are compared."""
    ours.inference()
    with torch.no_grad():
        expected = naive.compute(*(naive.tensors[name] for name in ("x", "mu", "sigma")), training=False)
    torch.testing.assert_close(ours.tensors["out_grad_y"], expected, rtol=1e-3, atol=1e-3)


def measure_layers(layers, repeat):
    """{layer: {pass: milliseconds}}: medians, call by call in turn after one to warm up."""
    times = {layer: {name: [] for name in PASSES} for layer in layers}
    for turn in range(-1, repeat):
        for layer in layers:
            for name in PASSES:
                began = time.perf_counter()
                getattr(layer, name)()
                if turn >= 0:
                    times[layer][name].append(1e3 * (time.perf_counter() - began))
    return {layer: {name: statistics.median(values) for name, values in passes.items()}
            for layer, passes in times.items()}


def measure_place(place, options, operator):
    """Rows as --json prints them."""
    rows = []
    for layout in LAYOUTS:  # one after the other: less memory at once
        tensors = make_tensors(place, options.batch, layout)
        naive = [Naive(place, tensors, layout, draws) for draws in ("CN", "HWCN")]
        ours = [Ours(place, tensors, layout, draws, operator, options.threads, new)
                for draws in ("CN", "HWCN") for new in (False, True)]
        check(ours[0], naive[0])
        layers = [*ours, *naive, Average(place, tensors, layout), Maximum(place, tensors, layout)]
        for layer, times in measure_layers(layers, options.repeat).items():
            rows.append({"place": layer.name, "kind": layer.kind, "stochasticity": layer.stochasticity, "layout": layout,
                         "dtype": "float32", "threads": options.threads, "batch": options.batch,
                         **{f"{name}_ms": round(value, 4) for name, value in times.items()}})
    return rows


# ---- Results --------------------------------------------------------------------------------

def sum_places(rows):
    """{(kind, stochasticity, layout): {pass: milliseconds}}"""
    sums = {}
    for row in rows:
        passes = sums.setdefault((row["kind"], row["stochasticity"], row["layout"]), dict.fromkeys(PASSES, 0.0))
        for name in PASSES:
            passes[name] += row[f"{name}_ms"]
    return sums


def print_table(sums):
    titles = {"isp_gaussian": "gausspool", "isp_gaussian_new_tensors": "gausspool, new tensors",
              "torch_naive": "PyTorch, naive", "torch_average": "PyTorch, average", "torch_max": "PyTorch, max"}
    print(f"{'ms, sums over the places':<26}{'draw':<6}{'layout':<8}" +
          "".join(f"{name:>12}" for name in [*PASSES, "fwd + bwd"]))
    for (kind, draws, layout), passes in sorted(sums.items(), key=lambda item: list(titles).index(item[0][0])):
        values = [*passes.values(), passes["forward"] + passes["backward"]]
        print(f"{titles[kind]:<26}{draws:<6}{layout:<8}" + "".join(f"{value:>12.2f}" for value in values))


def print_ratios(sums):
    step = lambda key: sums[key]["forward"] + sums[key]["backward"]
    print("\nforward + backward, how many times as fast as PyTorch's")
    peers = [("torch_naive", None), ("torch_average", "none"), ("torch_max", "none")]
    print(f"{'':<32}{'draw':<6}{'layout':<8}" +
          "".join(f"{kind[6:] + ' ' + layout:>14}" for kind, _ in peers for layout in LAYOUTS))
    for kind, title in (("isp_gaussian", "gausspool"), ("isp_gaussian_new_tensors", "gausspool, new tensors")):
        for draws in ("CN", "HWCN"):
            for layout in LAYOUTS:
                ratios = [step((peer, fixed or draws, other)) / step((kind, draws, layout))
                          for peer, fixed in peers for other in LAYOUTS]
                print(f"{title:<32}{draws:<6}{layout:<8}" + "".join(f"{ratio:>14.2f}" for ratio in ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", help="a file of bench/networks, or a file's path")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (BUILD / "src" / "libgausspool.so").is_file():
        sys.exit(f"pool_torch.py: no libgausspool.so in {BUILD}: make build")
    torch.set_num_threads(options.threads)
    operator = Operator()
    rows = []
    for place in read_places(options.network):
        found = measure_place(place, options, operator)
        rows += found
        if options.json:
            for row in found:
                print(json.dumps(row), flush=True)
    if not options.json:
        print(f"{options.network}, batch {options.batch}, float32, {options.threads} threads, PyTorch {torch.__version__}, "
              f"gausspool on {operator.library.gp_cpu_isa().decode()}; medians of {options.repeat}\n")
        sums = sum_places(rows)
        print_table(sums)
        print_ratios(sums)


if __name__ == "__main__":
    main()
