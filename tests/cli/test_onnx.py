"""Exported ONNX files in onnxruntime: the scores are those of `gausspool predict`, for every pooling and a net of each family."""
import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import BUILD, ROOT, environment, succeeds
from models import write_model, write_pictures

# Of the largest score.
TOLERANCE = 1e-4

POOLS = ("skip", "max", "avg", "gauss_CN", "gauss_HWCN", "half_gauss_CN", "half_gauss_HWCN", "gaussian_CN", "gaussian_HWCN",
         "max_ent", "softpool", "stochastic", "mixed", "gated", "lp")
FAMILIES = {"resnet18": ("gauss_CN", (3, 40, 64)), "resnext50_32x4d": ("gated", (3, 64, 32)),
            "resnetp18": ("max_ent", (3, 64, 96)), "vgg11bow_bn": ("gauss_HWCN", (3, 64, 48)), "densenet121": ("gauss_CN", (3, 64, 96)),
            "resnet20": ("half_gauss_CN", (3, 32, 32))}


@functools.lru_cache(None)
def runtime():
    """An interpreter with onnx and onnxruntime: that of scripts/get-python, or this one."""
    venv = ROOT / "build" / "venv-check"
    for python in ([venv / "bin" / "python"] if (venv / "complete.txt").is_file() else []) + [sys.executable]:
        if subprocess.run([python, "-c", "import onnx, onnxruntime"], capture_output=True).returncode == 0:
            return python
    return None


def run_files(runs):
    """Of (model, inputs, folder), the outputs."""
    if runtime() is None:
        pytest.skip("no onnx and onnxruntime here: scripts/get-python check")
    arguments = []
    for number, (model, inputs, folder) in enumerate(runs):
        np.save(folder / f"inputs{number}.npy", inputs)
        arguments += [model, folder / f"inputs{number}.npy", folder / f"outputs{number}.npy"]
    result = subprocess.run([runtime(), ROOT / "tests" / "cli" / "run_onnx.py", *arguments], capture_output=True, text=True,
                            env=environment())
    assert result.returncode == 0, result.stderr
    return [np.load(path) for path in arguments[2::3]]


def export_net(folder, arch, pool, shape, *options):
    """Model, ONNX file, images and the program's own scores for them. Skipped where the program cannot write ONNX."""
    folder.mkdir()
    case = SimpleNamespace(model=write_model(folder / "net.safetensors", arch, pool, shape), onnx=folder / "net.onnx")
    paths, case.images = write_pictures(folder, shape)
    succeeds("predict", "--model-file", case.model, *paths, "--logits-out", folder / "scores.npy")
    case.scores = np.load(folder / "scores.npy")
    if not (BUILD / "tests" / "unit" / "test_export_onnx").exists():
        pytest.skip("the program was built without ONNX")
    case.output = succeeds("export", "--model-file", case.model, "--onnx", case.onnx, *options).stdout
    return case


def assert_equal(found, case):
    assert found.shape == case.scores.shape and np.isfinite(case.scores).all()
    scale = np.abs(case.scores).max()
    assert np.abs(case.scores - case.scores[0]).max() > 1e-3 * scale  # else the images would not matter
    np.testing.assert_allclose(found, case.scores, rtol=0, atol=TOLERANCE * scale)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """{pool: (case, outputs)}, of three images at once and of the last alone; in one run, since starting costs the most."""
    root = tmp_path_factory.mktemp("pools")
    cases = {pool: export_net(root / pool, "resnet8", pool, (1, 28, 20)) for pool in POOLS}
    runs = [(case.onnx, images, root / pool) for pool, case in cases.items() for images in (case.images, case.images[2:])]
    outputs = run_files(runs)
    return {pool: (case, outputs[2 * i], outputs[2 * i + 1]) for i, (pool, case) in enumerate(cases.items())}


def test_all_poolings_are_tested():
    listed = succeeds("info", "--list").stdout
    for pool in POOLS:
        assert pool in listed
    known = next(line for line in listed.splitlines() if "half_gauss_CN" in line)
    assert set(known.replace(",", " ").split()) - {"gauss_cuda_CN", "gauss_cuda_HWCN"} <= set(POOLS) | {"poolings", "pool", "--pool:"}, known


@pytest.mark.parametrize("pool", POOLS)
def test_poolings(pooled, pool):
    case, together, alone = pooled[pool]
    assert_equal(together, case)
    assert_equal(np.concatenate([case.scores[:2], alone]), case)


# ResNeXt is ResNet with groups, and large.
@pytest.mark.parametrize("arch", [pytest.param(arch, marks=pytest.mark.full) if arch.startswith("resnext") else arch for arch in FAMILIES])
def test_families(tmp_path, arch):
    case = export_net(tmp_path / "net", arch, *FAMILIES[arch])
    (found,) = run_files([(case.onnx, case.images, tmp_path)])
    assert_equal(found, case)


@pytest.mark.parametrize("arch, pool, shape", [("densenet121", "avg", (3, 32, 64)), ("resnet8", "gauss_CN", (1, 28, 28))])
def test_batch_norms_kept(tmp_path, arch, pool, shape):
    case = export_net(tmp_path / "net", arch, pool, shape, "--keep-batch-norm")
    (found,) = run_files([(case.onnx, case.images, tmp_path)])
    assert_equal(found, case)


# Kernel, stride, padding, ceil_mode, exclude_pad, height, width; the mean of what is pooled; norm and least variance.
WINDOWS = [
    (2, 2, 0, 0, 0, 8, 6, 0), (2, 2, 0, 0, 0, 9, 7, 1e4), (3, 2, 1, 0, 0, 9, 8, 1e4), (3, 2, 1, 1, 0, 8, 9, 0), (3, 2, 1, 1, 1, 8, 8, 0),
    (3, 2, 0, 1, 0, 8, 10, 1e4), (3, 1, 1, 0, 1, 5, 4, 0), (4, 3, 2, 1, 0, 9, 11, 0), (2, 3, 1, 1, 0, 9, 8, 0), (1, 2, 0, 0, 0, 5, 6, 0),
    (2, 5, 1, 1, 1, 9, 13, 0), (5, 4, 2, 1, 0, 7, 6, 1e4),
]
KINDS = ("isp_gaussian", "weighted", "average", "max", "gaussian", "half_gaussian", "max_entropy", "softpool", "stochastic", "mixed",
         "gated", "lp")


def test_windows(tmp_path):
    """Each kind over windows of all sorts, against the operator; beside a large mean, to what float32 can tell."""
    program = BUILD / "tests" / "parity" / "onnx_pool"
    if not program.exists():
        pytest.skip("the program was built without ONNX")
    cases, runs = [], []
    for number, (*window, mean) in enumerate(WINDOWS):
        for kind in KINDS:
            folder = tmp_path / f"{number}-{kind}"
            folder.mkdir()
            images = (np.random.default_rng(number).normal(0, 1, (2, 5, *window[-2:])) + mean).astype(np.float32)
            images[0, 0] = mean + 0.1  # constant windows
            images.tofile(folder / "images")
            norm = (2, 1, 3)[number % 3]
            subprocess.run([program, kind, *map(str, window), str(norm), folder / "images", folder / "net.onnx", folder / "pooled"],
                           check=True, env=environment())
            cases.append((kind, window, mean, np.fromfile(folder / "pooled", np.float32)))
            runs.append((folder / "net.onnx", images, folder))
    for (kind, window, mean, expected), found in zip(cases, run_files(runs)):
        # Where a mean of 1e4 is added to what is wanted, its rounding is all that may differ.
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=2e-6 * scale, err_msg=f"{kind} {window} {mean}")


def test_metadata(tmp_path):
    """What others need to prepare images and to name classes."""
    case = export_net(tmp_path / "net", "resnet8", "avg", (3, 32, 32))
    if runtime() is None:
        pytest.skip("no onnx here: scripts/get-python check")
    script = "import onnx, json, sys; m = onnx.load(sys.argv[1]); print(json.dumps({p.key: p.value for p in m.metadata_props}))"
    output = subprocess.run([runtime(), "-c", script, case.onnx], check=True, capture_output=True, text=True).stdout
    metadata = json.loads(output)
    assert metadata["arch"] == "resnet8" and metadata["pool"] == "avg"
    assert json.loads(metadata["input_shape"]) == [3, 32, 32]
    assert json.loads(metadata["class_names"])[2] == "class 2 é"
    np.testing.assert_allclose(json.loads(metadata["mean"]), [0.4, 0.5, 0.45], rtol=1e-6)
    np.testing.assert_allclose(json.loads(metadata["std"]), [0.2, 0.25, 0.3], rtol=1e-6)
