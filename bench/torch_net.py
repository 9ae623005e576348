#!/usr/bin/env python3
"""What Gaussian pooling costs in a whole net in PyTorch: torchvision's ResNet-50 of examples/resnet50.py with each pooling at the same places.

    bench/torch_net.py [--batch 16] [--side 224] [--device cuda] [--autocast bfloat16] [--threads 2] [--rounds 2] [--pool NAME]... [--json]

Multiply-adds and parameters; milliseconds of a training step (forward, backward, SGD with momentum) and of inference, both for each image,
in channels_last; peak memory in training, of the process, or on a GPU of PyTorch's allocator. float32, or autocast. Every measurement is a process of its own, all poolings in
turn; medians over the rounds. "strides" is the net as torchvision has it, "naive" the Gaussian layer in PyTorch's own operators.
Needs build/python: make python.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "build" / "python"), str(ROOT / "examples")]

POOLS = ["strides", "max", "average", "gauss_CN", "gauss_HWCN", "naive_CN"]
WARM_UP, MEASURED = {"cpu": 1, "cuda": 5}, {"cpu": 2, "cuda": 10}  # steps


def make_net(pool):
    from torch import nn
    from torchvision import models
    from gausspool.torch import GaussianPooling2d, replace_pooling
    from resnet50 import pool_where_it_strides
    from torch_layer import NaiveGaussianPooling2d

    def naive(channels, kernel_size, stride, padding, ceil_mode):
        return NaiveGaussianPooling2d(channels, kernel_size, stride, padding, "CN")

    def maximum(channels, **window):
        window.pop("count_include_pad")
        return nn.MaxPool2d(**window)

    net = models.resnet50()
    if pool == "strides":
        return net
    pool_where_it_strides(net)
    if pool.startswith("gauss"):
        replace_pooling(net, layer=GaussianPooling2d, stochasticity=pool[6:])
    elif pool != "average":
        replace_pooling(net, layer={"max": maximum, "naive_CN": naive}[pool])
    return net


def multiply_adds(net, side):
    """Of convolutions and linear layers, for one image."""
    import torch
    from torch import nn
    found, device = [], next(net.parameters()).device

    def count(layer, inputs, output):
        weights = layer.weight.numel() / layer.weight.shape[0]
        found.append(output[0].numel() * weights)

    handles = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, side, side, device=device))
    for handle in handles:
        handle.remove()
    return sum(found)


def measure(options):
    """One pooling's row."""
    import torch
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = options.device
    net = make_net(options.measure).to(device)
    row = {"pool": options.measure, "gmac": round(multiply_adds(net, options.side) / 1e9, 3),
           "parameters": sum(parameter.numel() for parameter in net.parameters()), "torch": torch.__version__,
           "where": torch.cuda.get_device_name() if device == "cuda" else f"{options.threads} threads"}
    net = net.to(memory_format=torch.channels_last)
    x = torch.randn(options.batch, 3, options.side, options.side, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (options.batch,), device=device)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
    autocast = lambda: torch.autocast(device, getattr(torch, options.autocast or "bfloat16"), enabled=options.autocast is not None)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()

    def infer():
        with torch.no_grad(), autocast():
            net(x)

    net.train()
    row["step_ms"] = median_time(step, device) / options.batch
    row["peak_mib"] = (torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else
                       resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    net.eval()
    row["inference_ms"] = median_time(infer, device) / options.batch
    return row


def median_time(function, device):
    """Milliseconds, on a GPU until it is done: a step as a training loop has it, the queueing of its work included."""
    import torch
    times = []
    for _ in range(WARM_UP[device] + MEASURED[device]):
        began = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[WARM_UP[device]:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--autocast", choices=["bfloat16", "float16"], help="the net in this type where autocast says so")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pool", action="append", choices=POOLS, help="only this one; may be given again")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=POOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return print(json.dumps(measure(options)))
    passed_on = [f"--{name}={getattr(options, name)}" for name in ("batch", "side", "threads", "device")]
    passed_on += [f"--autocast={options.autocast}"] if options.autocast else []
    rows = []
    for _ in range(options.rounds):
        for pool in options.pool or POOLS:
            command = [sys.executable, __file__, f"--measure={pool}", *passed_on]
            rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
    if options.json:
        return print("\n".join(map(json.dumps, rows)))
    print(f"ResNet-50, batch {options.batch}, {options.side}x{options.side}, {options.autocast or 'float32'}, channels_last, {rows[0]['where']}, "
          f"PyTorch {rows[0]['torch']}; medians of {options.rounds} rounds, ms for each image\n")
    print(f"{'pooling':<12}{'GMAC':>8}{'parameters, M':>16}{'step ms':>10}{'inference ms':>14}{'peak MiB':>10}")
    for pool in options.pool or POOLS:
        found = [row for row in rows if row["pool"] == pool]
        median = lambda name: statistics.median(row[name] for row in found)
        print(f"{pool:<12}{found[0]['gmac']:>8.2f}{found[0]['parameters'] / 1e6:>16.2f}{median('step_ms'):>10.1f}"
              f"{median('inference_ms'):>14.1f}{median('peak_mib'):>10.0f}")
    return None


if __name__ == "__main__":
    main()
