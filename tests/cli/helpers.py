"""Running the program, making data sets, and the arguments of a short training."""
import os
import re
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GAUSSPOOL_BUILD", ROOT / "build" / "release")).resolve()
PROGRAM = BUILD / "src" / "cli" / "gausspool"
TIMEOUT = 300

TRAIN_IMAGES, TEST_IMAGES, SIDE = 256, 64, 28


# ---- Running the program --------------------------------------------------------------------

def environment():
    return {**os.environ, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}


def gausspool(*arguments, timeout=TIMEOUT, variables={}, **options):
    """Runs the program to its end, with these environment variables too; gives status, stdout and stderr."""
    result = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=timeout, env={**environment(), **variables}, cwd=ROOT, **options)
    assert "Sanitizer" not in result.stderr and "runtime error" not in result.stderr, result.stderr
    return result


def run_in_shell(command, *arguments):
    """Runs the program as "$@" of a line for sh."""
    return subprocess.run(["sh", "-c", command, "sh", str(PROGRAM), *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env=environment(), cwd=ROOT, timeout=TIMEOUT)


def succeeds(*arguments, **options):
    result = gausspool(*arguments, **options)
    assert result.returncode == 0, f"status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def fails(*arguments, status=1, names=(), **options):
    """Runs the program, which must end with the status and one line on stderr that holds all of `names`."""
    result = gausspool(*arguments, **options)
    report = f"status {result.returncode}\n--- stdout\n{result.stdout[-2000:]}\n--- stderr\n{result.stderr[-2000:]}"
    assert result.returncode == status, report
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and len(lines[0]) > 20, report
    for name in [names] if isinstance(names, (str, Path)) else names:
        assert str(name).lower() in lines[0].lower(), f"{name!r} is not in: {lines[0]}"
    return result


def top1_error(output):
    """The last 'top-1 error N.NN %' of the output."""
    found = re.findall(r"top-1 error (\d+\.\d\d) %", output)
    assert found, output
    return float(found[-1])


# ---- Data -----------------------------------------------------------------------------------

def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def make_images(count, seed):
    """Bright bars, one place and direction for each of ten classes, under noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = random.integers(0, 90, (count, SIDE, SIDE))
    for image, label in zip(images, labels):
        start = 3 + 5 * (label % 5) + random.integers(-1, 2)
        bar = (slice(start, start + 3), slice(2, 26))
        image[bar if label < 5 else bar[::-1]] += 150
    return images.astype(np.uint8), labels


def write_data(folder, train_images=TRAIN_IMAGES, test_images=TEST_IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count, seed in (("train", train_images, 1), ("t10k", test_images, 2)):
        images, labels = make_images(count, seed)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


# ---- Nets -----------------------------------------------------------------------------------

def train_arguments(data, out, pool="gauss_CN", epochs=2, **more):
    """A short training: 8 steps an epoch, with augmentation, dropping nothing. Underscores stand for dashes."""
    settings = {"dataset": "fashion-mnist", "data": data, "arch": "resnet8", "pool": pool, "config-name": "none",
                "batch-size": 32, "epochs": epochs, "schedule": "cosine", "lr": 0.1, "crop-padding": 2, "seed": 3,
                "workers": 1, "threads": 2, "print-freq": 1, "out-dir": out}
    settings.update({name.replace("_", "-"): value for name, value in more.items()})
    arguments = ["train"]
    for name, value in settings.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not None:
            arguments += [f"--{name}", str(value)]
    return arguments


def checkpoints(out):
    """The checkpoints of a run, oldest first."""
    paths = [path for path in Path(out).glob("*.safetensors") if path.name != "model_best.safetensors"]
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))
