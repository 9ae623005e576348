#!/usr/bin/env python3
"""Reading and transforming images, beside torchvision on the same files in the same run.

    bench/data_torch.py DIR [--threads 2] [--rounds 3] [--crop-size 224] [--json]

DIR holds train/<class>/<image>. Every round runs `gausspool bench data`, then torchvision's transforms in a DataLoader with
as many worker processes, over the same images; a noisy machine disturbs both alike. Prints medians of images/s and the ratio.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torchvision import transforms
from torchvision.datasets import ImageFolder

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("GAUSSPOOL_BUILD", ROOT / "build" / "release"))
PROGRAM = BUILD.resolve() / "src" / "cli" / "gausspool"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Lighting:
    """Noise along the principal components of ImageNet's colours."""

    def __init__(self, deviation):
        self.deviation = deviation
        self.values = torch.tensor([0.2175, 0.0188, 0.0045])
        self.vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])

    def __call__(self, image):
        noise = self.vectors @ (torch.randn(3) * self.deviation * self.values)
        return image + noise[:, None, None]


def make_transforms(size):
    crop = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    jitter = transforms.ColorJitter(0.4, 0.4, 0.4)
    return {
        "decode": transforms.Lambda(lambda image: 0),
        "train": transforms.Compose([*crop, jitter, transforms.ToTensor(), Lighting(0.1), transforms.Normalize(MEAN, STD)]),
        "train-crop-flip": transforms.Compose(crop + normalise),
        "test": transforms.Compose([transforms.Resize((size * 8 + 3) // 7), transforms.CenterCrop(size), *normalise]),
    }


def torchvision_speed(folder, transform, workers, passes):
    """Images/s of passes after the first, the worker processes kept."""
    data = ImageFolder(folder / "train", transform)
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True, num_workers=workers, persistent_workers=True)
    for _ in loader:
        pass
    speeds = []
    for _ in range(passes):
        began = time.perf_counter()
        for _ in loader:
            pass
        speeds.append(len(data) / (time.perf_counter() - began))
    return statistics.median(speeds)


def our_speeds(options):
    command = [PROGRAM, "bench", "data", "--data", options.folder, "--threads", str(options.threads), "--crop-size",
               str(options.crop_size), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {row["transform"]: row["images_per_second"] for row in map(json.loads, done.stdout.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=3, help="of torchvision in each round")
    parser.add_argument("--crop-size", type=int, default=224)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not PROGRAM.is_file():
        sys.exit(f"bench/data_torch.py: no program {PROGRAM}: make build")
    torch.set_num_threads(1)
    ours, theirs = {}, {}
    for _ in range(options.rounds):
        for name, speed in our_speeds(options).items():
            ours.setdefault(name, []).append(speed)
        for name, transform in make_transforms(options.crop_size).items():
            if name == "decode":
                continue  # reading alone is PIL's, lazily: nothing to compare
            theirs.setdefault(name, []).append(torchvision_speed(options.folder, transform, options.threads, options.passes))
    if not options.json:
        print(f"{'transform':<18}{'gausspool':>10}{'torchvision':>13}{'ratio':>7}   images/s, {options.threads} threads")
    for name, speeds in ours.items():
        mine, other = statistics.median(speeds), statistics.median(theirs[name]) if name in theirs else None
        if options.json:
            print(json.dumps({"transform": name, "threads": options.threads, "gausspool": mine, "torchvision": other}))
        else:
            print(f"{name:<18}{mine:>10.0f}" + (f"{other:>13.0f}{mine / other:>7.2f}" if other else ""))


if __name__ == "__main__":
    main()
