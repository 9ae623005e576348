"""The scripts of bench/ that measure the operator, on tiny tensors: they run, and write what they say."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers import BUILD, ROOT, TIMEOUT, environment

KEYS = ["place", "kind", "stochasticity", "layout", "dtype", "threads", "batch", "forward_ms", "backward_ms", "inference_ms"]


def run(script, *arguments):
    result = subprocess.run([sys.executable, ROOT / "bench" / script, *map(str, arguments)], capture_output=True, text=True,
                            timeout=TIMEOUT, env={**environment(), "GAUSSPOOL_BUILD": str(BUILD)})
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    path = tmp_path_factory.mktemp("places") / "tiny.txt"
    path.write_text("a 5 9 8  2 2  2 2  0 0\nb 17 7 9  3 2  2 1  1 0  # another\n")
    return path


@pytest.fixture
def needs_torch():
    pytest.importorskip("torch")
    if not (BUILD / "src" / "libgausspool.so").is_file():
        pytest.skip(f"no libgausspool.so in {BUILD}")
    if "LD_PRELOAD" not in os.environ and b"__asan_init" in (BUILD / "src" / "libgausspool.so").read_bytes():
        pytest.skip("a sanitized library cannot be loaded into Python")


def test_pool_torch_json(needs_torch, places):
    rows = [json.loads(line) for line in run("pool_torch.py", "--network", places, "--batch", 2, "--repeat", 1,
                                             "--json").splitlines()]
    assert all(list(row) == KEYS for row in rows)
    found = {(row["place"], row["kind"], row["stochasticity"], row["layout"]) for row in rows}
    assert found == {(place, kind, draws, layout) for place in "ab" for layout in ("nchw", "nhwc") for kind, draws in [
        *((kind, draws) for kind in ("isp_gaussian", "isp_gaussian_new_tensors", "torch_naive") for draws in ("CN", "HWCN")),
        ("torch_average", "none"), ("torch_max", "none")]}


def test_pool_torch_table(needs_torch, places):
    text = run("run", "pool", "--network", places, "--batch", 2, "--repeat", 1)
    assert "PyTorch, naive" in text and "how many times as fast" in text


def test_pool_scaling(tmp_path):
    """Three sizes, two numbers of threads, and their ratios."""
    out = tmp_path / "scaling"
    if shutil.which("gnuplot") is None:
        pytest.skip("no gnuplot")
    run("pool_scaling", "--least-mb", 0.05, "--most-mb", 0.2, "--rounds", 1, "--tries", 1, "--repeat", 1, "--out", out)
    rows = [line.split() for line in (tmp_path / "scaling.dat").read_text().splitlines()
            if line and not line.startswith("#")]
    assert [row[1] for row in rows] == ["1"] * 3 + ["2"] * 6 and {len(row) for row in rows} == {10}
    assert all(float(word) > 0 for row in rows[:6] for word in row)
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


def test_test_errors(data, tmp_path):
    """Two seeds of two poolings; a second call trains what is missing only, a third seed."""
    same = ("--program", BUILD / "src" / "cli" / "gausspool", "--data", data, "--arch", "resnet8", "--pools", "avg", "gauss_CN", "--epochs", 1,
            "--out", tmp_path / "runs")
    first = run("test_errors", *same, "--seeds", 2, "--", "--config-name", "none", "--batch-size", 16)
    assert first.count("$ ") == 4 and [line.split(" | ")[3] for line in first.splitlines() if line.startswith("| `")] == ["2", "2"]
    again = run("test_errors", *same, "--seeds", 3, "--", "--config-name", "none", "--batch-size", 16)
    assert again.count("$ ") == 2 and "--seed 2" in again and "--seed 1" not in again
    assert len((tmp_path / "runs" / "avg-2" / "log.csv").read_text().splitlines()) == 2
