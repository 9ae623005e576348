#!/usr/bin/env python3
"""The peer of `gausspool bench net`: the same net in PyTorch with the plain pooling layer, on the CPU.

Prints one JSON object a line for each layout and mode, in the form of gausspool's own:
arch pool batch image threads mode images_per_second median_ms peak_mib, and here layout.
"""
import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))

import torch  # noqa: E402
from torch import nn  # noqa: E402

import reference_nets  # noqa: E402

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def measure(step, warm_up, seconds, least):
    """Milliseconds of each call after the warm-up, for so many seconds and at least so many calls."""
    for _ in range(warm_up):
        step()
    times, until = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < until:
        began = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - began))
    return times


def bench(options, layout, mode):
    torch.manual_seed(0)
    net = reference_nets.make_net(options.arch, options.pool, options.channels).to(memory_format=LAYOUTS[layout])
    images = torch.randn(options.batch, options.channels, options.image, options.image)
    images = images.to(memory_format=LAYOUTS[layout])
    labels = torch.randint(10, (options.batch,))
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def train_step():
        optimizer.zero_grad(set_to_none=True)
        loss_function(net(images), labels).backward()
        optimizer.step()

    def inference_step():
        with torch.no_grad():
            net(images)

    net.train(mode == "train")
    times = measure(train_step if mode == "train" else inference_step, options.warm_up, options.seconds, options.least)
    median = statistics.median(times)
    return {"arch": options.arch, "pool": options.pool, "batch": options.batch, "image": options.image,
            "threads": torch.get_num_threads(), "mode": mode, "layout": layout,
            "images_per_second": round(1e3 * options.batch / median, 2), "median_ms": round(median, 3),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1), "steps": len(times),
            "torch": torch.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--pool", default="gauss_CN", help="skip, max, avg, gauss_CN or gauss_HWCN")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--image", type=int, default=28, help="side of the images")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=list(LAYOUTS), help="default: each in turn")
    parser.add_argument("--mode", choices=["train", "inference"], help="default: each in turn")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before measuring")
    parser.add_argument("--seconds", type=float, default=8, help="to measure each for")
    parser.add_argument("--least", type=int, default=10, help="steps to measure at least")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for layout in [options.layout] if options.layout else LAYOUTS:
        for mode in [options.mode] if options.mode else ["train", "inference"]:
            print(json.dumps(bench(options, layout, mode)), flush=True)


if __name__ == "__main__":
    main()
