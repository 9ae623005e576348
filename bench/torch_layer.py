#!/usr/bin/env python3
"""The whole PyTorch layer, with the small layers that make its parameters, beside the naive one and PyTorch's poolings, at a network's
places in one run: milliseconds, peak memory and ratios.

    bench/torch_layer.py [--network resnet50] [--batch 16] [--device cuda] [--dtype bfloat16] [--threads 2] [--repeat 5]
                         [--place NAME]... [--no-memory] [--json | --rows FILE...]

Measured in turn on the same input, in NCHW and channels_last: gausspool's GaussianPooling2d, the same formula in PyTorch
(the naive layer: average poolings of x and of x², autograd), AvgPool2d and MaxPool2d. "step" is forward and backward in training, every
gradient included; "inference" is eval mode without autograd. Peak memory is that of a step beyond what the process held before,
which has the input and the output's gradient, each layer and layout in a process of its own. On a GPU times are those between events
on the stream, of calls that go round several sets of tensors, so that they do not find in the L2 cache what they read, and without
TF32; memory is what PyTorch's allocator has handed out.

With --json a line each: place layer stochasticity layout device dtype threads batch forward_ms backward_ms inference_ms, or … peak_mib held_mib;
--rows shows the tables of such lines, from one run or several.
Needs build/python: make python.
"""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build" / "python"))

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from gausspool.torch import GaussianPooling2d, empty_cache  # noqa: E402
from pool_torch import LAYOUTS, PASSES, read_places  # noqa: E402

LAYERS = [("gausspool", "CN"), ("gausspool", "HWCN"), ("naive", "CN"), ("naive", "HWCN"), ("average", "none"), ("max", "none")]
TITLES = {"gausspool": "gausspool", "naive": "PyTorch, naive", "average": "PyTorch, average", "max": "PyTorch, max"}
MEMORY_FILES = [Path("/proc/self/clear_refs"), Path("/proc/self/status")]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.01}  # ours beside the naive layer, which rounds at each step
MOST_SETS = 16
QUEUEING = 10_000_000  # cycles, some 5 ms
MIB = 1 << 20


class NaiveGaussianPooling2d(nn.Module):
    """The formula as it stands, with the names of GaussianPooling2d."""

    def __init__(self, features, kernel, stride, padding, stochasticity):
        super().__init__()
        self.window, self.stochasticity, hidden = (kernel, stride, padding), stochasticity, features // 2
        self.ToHidden = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(features, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU())
        self.ToMean = nn.Sequential(nn.Conv2d(hidden, features, 1), nn.BatchNorm2d(features))
        self.ToSigma = nn.Sequential(nn.Conv2d(hidden, features, 1), nn.BatchNorm2d(features), nn.Sigmoid())

    def forward(self, x):
        mean = F.avg_pool2d(x, *self.window)
        square = F.avg_pool2d(x * x, *self.window)
        deviation = (F.relu(square - mean * mean) + 1e-6).sqrt()
        hidden = self.ToHidden(x)
        weight = self.ToMean(hidden)
        if self.training:
            sigma = self.ToSigma(hidden)
            weight = weight + sigma * torch.randn_like(mean if self.stochasticity == "HWCN" else sigma)
        return mean + F.softplus(weight) * deviation


class Measured:
    """A layer at a place; forward() keeps what backward() needs."""

    def __init__(self, place, name, stochasticity, tensors):
        _, channels, _, _, kernel, stride, padding = place
        self.name, self.stochasticity, self.tensors = name, stochasticity, tensors
        torch.manual_seed(1)  # the same parameters in ours and in the naive layer
        self.layer = {
            "gausspool": lambda: GaussianPooling2d(channels, kernel, stride, padding, stochasticity=stochasticity),
            "naive": lambda: NaiveGaussianPooling2d(channels, kernel, stride, padding, stochasticity),
            "average": lambda: nn.AvgPool2d(kernel, stride, padding),
            "max": lambda: nn.MaxPool2d(kernel, stride, padding),
        }[name]().to(tensors["x"].device)
        if name == "naive":
            self.layer.to(tensors["x"].dtype)  # ours takes 16-bit input with float32 parameters

    def forward(self):
        self.layer.train()
        self.layer.zero_grad(set_to_none=True)
        self.x = self.tensors["x"].detach().requires_grad_()
        self.y = self.layer(self.x)

    def backward(self):
        self.y.backward(self.tensors["grad_y"])
        self.x = self.y = None

    def inference(self):
        self.layer.eval()
        with torch.no_grad():
            return self.layer(self.tensors["x"])


def make_sets(place, layout, options):
    """Sets of tensors for calls to go round, so that a GPU's calls do not find in its L2 cache what they read: the others' x are more
    than 4 times the cache, within limits. On the processors one."""
    generator = torch.Generator(options.device).manual_seed(1)
    sets = [make_tensors(place, options.batch, layout, options, generator)]
    if options.device == "cuda":
        cache = getattr(torch.cuda.get_device_properties("cuda"), "L2_cache_size", 64 * MIB)
        x = sets[0]["x"]
        for _ in range(min(MOST_SETS - 1, 1 + 4 * cache // (x.numel() * x.element_size()))):
            sets.append(make_tensors(place, options.batch, layout, options, generator))
    return sets


def make_tensors(place, batch, layout, options, generator=None):
    """Filled where they lie: no more memory than they take."""
    _, c, h, w, kernel, stride, padding = place
    generator = generator or torch.Generator(options.device).manual_seed(1)
    sides = [(size + 2 * pad - k) // step + 1 for size, k, step, pad in zip((h, w), kernel, stride, padding)]
    place_of = {"dtype": DTYPES[options.dtype], "device": options.device, "memory_format": LAYOUTS[layout]}
    empty = lambda *shape: torch.empty(shape, **place_of).uniform_(-0.5, 0.5, generator=generator)
    return {"x": empty(batch, c, h, w), "grad_y": empty(batch, c, *sides)}


# ---- Time -----------------------------------------------------------------------------------

def measure_times(place, options):
    """Rows as --json prints them."""
    rows = []
    for layout in options.layout or LAYOUTS:
        sets = make_sets(place, layout, options)
        layers = [Measured(place, *layer, sets[0]) for layer in LAYERS]
        ours, naive = (next(layer for layer in layers if layer.name == name) for name in ("gausspool", "naive"))
        tolerance = TOLERANCE[options.dtype]
        torch.testing.assert_close(ours.inference(), naive.inference(), rtol=tolerance, atol=tolerance)
        for layer, times in measure_layers(layers, sets, options).items():
            rows.append({**identify(place, layer.name, layer.stochasticity, layout, options),
                         **{f"{name}_ms": round(value, 4) for name, value in times.items()}})
    return rows


def measure_layers(layers, sets, options):
    """{layer: {pass: milliseconds}}: medians over turns, in each of which every layer makes two steps. The first is not timed: it
    leaves the caches and the allocator's free memory as the layer itself does, not as the one before did. Every pass takes the next set
    of tensors, but backward, which has forward's."""
    following = itertools.cycle(sets)
    times = {layer: {name: [] for name in PASSES} for layer in layers}
    for _ in range(options.repeat):
        for layer in layers:
            for timed in (False, True):
                for name in PASSES:
                    if name != "backward":
                        layer.tensors = next(following)
                    taken = measure_pass(getattr(layer, name), options.device)
                    if timed:
                        times[layer][name].append(taken)
    return {layer: {name: statistics.median(values) for name, values in passes.items()}
            for layer, passes in times.items()}


def measure_pass(function, device):
    """Milliseconds. On a GPU between events around it, queued behind a wait that lasts until the processor has queued it all, so that
    what is measured is the device's work."""
    if device == "cpu":
        began = time.perf_counter()
        function()
        return 1e3 * (time.perf_counter() - began)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    torch.cuda.synchronize()
    torch.cuda._sleep(QUEUEING)
    events[0].record()
    function()
    events[1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1])


def identify(place, name, stochasticity, layout, options):
    return {"place": place[0], "layer": name, "stochasticity": stochasticity, "layout": layout, "device": options.device,
            "dtype": options.dtype, "threads": options.threads, "batch": options.batch}


# ---- Memory ---------------------------------------------------------------------------------

def resident(field):
    """VmRSS, or VmHWM, its highest value since the last reset, in MiB."""
    line = next(line for line in MEMORY_FILES[1].read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def step_peak(layer):
    """MiB beyond what is held before."""
    if layer.tensors["x"].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        layer.forward()
        layer.backward()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    empty_cache()
    MEMORY_FILES[0].write_text("5")  # resets VmHWM
    before = resident("VmRSS")
    layer.forward()
    layer.backward()
    return resident("VmHWM") - before


def print_memory(places, options):
    """The process of one layer and layout: a line for each place."""
    name, stochasticity, layout = options.memory_of
    for place in places:
        tiny = (place[0], place[1], 8, 8, *place[4:])
        warm = Measured(tiny, name, stochasticity, make_tensors(tiny, 2, layout, options))
        step_peak(warm)  # what libraries set up once
        tensors = make_tensors(place, options.batch, layout, options)
        peak = step_peak(Measured(place, name, stochasticity, tensors))
        held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / MIB
        print(json.dumps({**identify(place, name, stochasticity, layout, options), "peak_mib": round(peak, 1),
                          "held_mib": round(held, 1)}), flush=True)


def measure_memory(options):
    """Rows of all layers and layouts."""
    if options.device == "cpu" and not all(os.access(path, os.R_OK if path.name == "status" else os.W_OK) for path in MEMORY_FILES):
        print(f"torch_layer.py: no {MEMORY_FILES[0]} here: peak memory is left out", file=sys.stderr)
        return []
    rows = []
    for name, stochasticity in LAYERS:
        for layout in options.layout or LAYOUTS:
            command = [sys.executable, __file__, "--memory-of", name, stochasticity, layout, "--network", options.network, "--batch",
                       str(options.batch), "--threads", str(options.threads), "--device", options.device, "--dtype", options.dtype, *(f"--place={place}" for place in options.place)]
            # What is freed goes back at once, so that one place's memory is not the next one's.
            environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            rows += [json.loads(line) for line in done.stdout.splitlines()]
    return rows


# ---- Results --------------------------------------------------------------------------------

def sum_rows(rows, fields):
    """{(layer, stochasticity, layout): {field: sum over the places}}; of a place that was measured several times the medians."""
    places = {}
    for row in rows:
        places.setdefault((row["place"], row["layer"], row["stochasticity"], row["layout"]), []).append(row)
    sums = {}
    for (_, *key), found in places.items():
        total = sums.setdefault(tuple(key), dict.fromkeys(fields, 0.0))
        for field in fields:
            total[field] += statistics.median(row[field] for row in found)
    return sums


def print_table(times, memory):
    print(f"{'sums over the places':<22}{'draw':<6}{'layout':<8}" + "".join(f"{name + ' ms':>14}" for name in [*PASSES, "step"]) +
          (f"{'peak MiB':>12}{'with x, gy':>12}" if memory else ""))
    for key, row in times.items():
        name, stochasticity, layout = key
        values = [*row.values(), row["forward_ms"] + row["backward_ms"]]
        used = [memory[key]["peak_mib"], memory[key]["peak_mib"] + memory[key]["held_mib"]] if memory else []
        print(f"{TITLES[name]:<22}{stochasticity:<6}{layout:<8}" + "".join(f"{value:>14.2f}" for value in values) +
              "".join(f"{value:>12.0f}" for value in used))


def print_ratios(times, memory):
    step = lambda key: times[key]["forward_ms"] + times[key]["backward_ms"]
    print(f"\n{'gausspool':<26}" + "".join(f"{text:>18}" for text in (
        "naive/ours step", "naive/ours infer.", "ours/average step", "ours/max step", "ours/naive memory")))
    for layout in dict.fromkeys(layout for _, _, layout in times):
        for draws in ("CN", "HWCN"):
            ours, naive = ("gausspool", draws, layout), ("naive", draws, layout)
            values = [step(naive) / step(ours), times[naive]["inference_ms"] / times[ours]["inference_ms"],
                      step(ours) / step(("average", "none", layout)), step(ours) / step(("max", "none", layout))]
            if memory:
                total = lambda key: memory[key]["peak_mib"] + memory[key]["held_mib"]
                values.append(total(ours) / total(naive))
            print(f"{draws:<6}{layout:<20}" + "".join(f"{value:>18.2f}" for value in values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", help="a file of bench/networks, or a file's path")
    parser.add_argument("--place", action="append", default=[], help="only this one, by name; may be given again")
    parser.add_argument("--layout", action="append", choices=LAYOUTS, help="only this one")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of input and output")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", nargs="+", metavar="FILE", help="measure nothing; the tables of what --json has printed")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows:
        return print_all([json.loads(line) for file in options.rows for line in Path(file).read_text().splitlines()])
    import gausspool
    if options.device == "cuda" and not (torch.cuda.is_available() and gausspool.cuda_available()):
        parser.error("--device cuda: expected a GPU, a PyTorch for it and libgausspool_cuda (make python with nvcc at hand, or "
                     "GAUSSPOOL_CUDA_LIBRARY), found not all of them")
    # The naive layer's convolutions in float32, as ours, whatever PyTorch's default.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(options.threads)
    places = [place for place in read_places(options.network) if not options.place or place[0] in options.place]
    if not places:
        parser.error(f"--place: expected names of {options.network}, found {', '.join(options.place)}")
    if options.memory_of:
        return print_memory(places, options)
    rows = [row for place in places for row in measure_times(place, options)]
    memory_rows = [] if options.no_memory else measure_memory(options)
    if options.json:
        return print("\n".join(map(json.dumps, rows + memory_rows)))
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads, {gausspool.cpu_isa()}"
    print(f"{options.network}, batch {options.batch}, {options.dtype}, PyTorch {torch.__version__}, {where}; medians of "
          f"{options.repeat}\n")
    return print_all(rows + memory_rows)


def print_all(rows):
    times = sum_rows([row for row in rows if "forward_ms" in row], [f"{name}_ms" for name in PASSES])
    memory = sum_rows([row for row in rows if "peak_mib" in row], ["peak_mib", "held_mib"])
    print_table(times, memory)
    print_ratios(times, memory)


if __name__ == "__main__":
    main()
