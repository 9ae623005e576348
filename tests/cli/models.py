"""Model files of any net, with made-up weights, and pictures for them."""
import json
import subprocess
import sys

import numpy as np
from PIL import Image

from helpers import BUILD, ROOT, environment

sys.path.append(str(ROOT / "tests" / "parity"))
import safetensors_io  # noqa: E402

MEAN, STD = np.float32([0.4, 0.5, 0.45]), np.float32([0.2, 0.25, 0.3])


def state_shapes(arch, pool, channels, side, classes):
    """{name: shape} of a net's state."""
    command = [BUILD / "tests" / "parity" / "net_state", arch, pool, channels, side, classes]
    output = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, env=environment()).stdout
    lines = [line.split()[1:] for line in output.splitlines() if line.startswith("state ")]
    return {name: tuple(map(int, shape)) for name, *shape in lines}


def random_tensor(name, shape, random):
    """As after a training: no statistic is 0 or 1, activations keep their size from layer to layer."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        values = random.uniform(0.3, 2, shape)
    elif name.endswith(".mask") or len(shape) == 1 and not name.endswith(".weight"):
        values = random.normal(0, 0.3, shape)
    elif len(shape) == 1:
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = random.normal(0, 1.2 / np.sqrt(np.prod(shape[1:])), shape)
    return values.astype(np.float32)


def write_model(path, arch, pool, shape, classes=7):
    """A model file for images of shape (channels, height, width)."""
    random = np.random.default_rng(7)
    channels = shape[0]
    shapes = state_shapes(arch, pool, channels, max(shape[1:]), classes)
    metadata = {"format": "gausspool", "version": "0.1.0", "kind": "model", "arch": arch, "pool": pool, "dataset": "synthetic",
                "classes": str(classes), "class_names": json.dumps([f"class {i} é" for i in range(classes)]),
                "input_shape": json.dumps(shape), "mean": json.dumps(MEAN[:channels].tolist()),
                "std": json.dumps(STD[:channels].tolist()),
                "validation": json.dumps({"epoch": 1, "loss": 1.0, "top1": 50.0, "top5": 10.0})}
    safetensors_io.save(path, {name: random_tensor(name, size, random) for name, size in shapes.items()}, metadata)
    return path


def write_pictures(folder, shape, count=3):
    """PNG files of the model's own size, and what a net is to be given for them, [count][channels][height][width]."""
    channels, height, width = shape
    pixels = np.random.default_rng(5).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    paths = [folder / f"{index}.png" for index in range(count)]
    for path, picture in zip(paths, pixels):
        Image.fromarray(picture.squeeze(2) if channels == 1 else picture).save(path)
    images = (pixels / np.float32(255) - MEAN[:channels]) / STD[:channels]
    return paths, np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
