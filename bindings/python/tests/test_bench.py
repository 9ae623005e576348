"""The benches run, on tiny shapes: what they print, not how fast."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[3]
PLACES = "first  6 9 8  2 2 2 2 0 0\nsecond 4 7 7  3 3 2 2 1 1\n"


def bench(script, *options):
    if not (ROOT / "build" / "python" / "gausspool").is_dir():
        pytest.skip("no build/python: make python")
    done = subprocess.run([sys.executable, str(ROOT / "bench" / script), *map(str, options)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_layers(tmp_path):
    network = tmp_path / "tiny.txt"
    network.write_text(PLACES)
    options = ("--network", network, "--batch", 2, "--repeat", 1)
    times = bench("torch_layer.py", *options, "--no-memory", "--json")
    assert len(rows(times)) == 2 * 2 * 6  # places, layouts, layers
    assert all(row[name] > 0 for row in rows(times) for name in ("forward_ms", "backward_ms", "inference_ms"))
    memory = ""
    for layer in (("gausspool", "CN"), ("naive", "CN")):
        memory += bench("torch_layer.py", *options, "--memory-of", *layer, "nhwc")
    assert [row["place"] for row in rows(memory)] == ["first", "second"] * 2
    (tmp_path / "times").write_text(times)
    table = bench("torch_layer.py", "--rows", tmp_path / "times")
    for row in rows(times):
        assert row["place"] not in table and row["layout"] in table
    assert "naive/ours step" in table


def test_nets():
    pytest.importorskip("torchvision")
    found = [json.loads(bench("torch_net.py", "--measure", pool, "--batch", 2, "--side", 32)) for pool in ("average", "gauss_CN")]
    assert found[1]["parameters"] - found[0]["parameters"] == pytest.approx(8.30e6, rel=2e-3)
    assert all(row[name] > 0 for row in found for name in ("gmac", "step_ms", "inference_ms", "peak_mib"))
