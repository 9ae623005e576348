"""gausspool bench net: its rows; the table of layers, there and of a training."""
import json
import re

from helpers import succeeds, train_arguments

NET = ("bench", "net", "--arch", "resnet8", "--pool", "gauss_CN", "--batch", "4", "--image", "32", "--steps", "2")


def test_json_has_the_promised_keys():
    rows = [json.loads(line) for line in succeeds(*NET, "--json").stdout.splitlines()]
    assert [row["mode"] for row in rows] == ["inference", "train"]
    for row in rows:
        assert set(row) >= {"arch", "pool", "batch", "image", "threads", "mode", "precision", "images_per_second", "median_ms", "peak_mib",
                            "conv_only_ms"}
        assert 0 < row["conv_only_ms"] and 0 < row["median_ms"] and row["image"] == 32


def test_profile_is_a_table_of_the_layers():
    done = succeeds(*NET, "--mode", "train", "--profile")
    rows = [line.split() for line in done.stderr.splitlines() if line.endswith("%")]
    names = {row[0] for row in rows}
    assert {"conv1", "layer1.0.conv1", "layer2.0.pooling", "fc"} <= names
    assert abs(sum(float(row[-1].rstrip("%")) for row in rows) - 100) < 1
    conv = next(row for row in rows if row[0] == "conv1")
    assert conv[1] == "conv" and float(conv[2]) > 0 and float(conv[3]) > 0 and float(conv[4]) > 0
    assert re.search(r"^layer +op +fwd ms +bwd ms +GFLOP/s +GB/s +share$", done.stderr, re.MULTILINE)


def test_training_writes_a_profile(data, tmp_path):
    out = tmp_path / "out"
    done = succeeds(*train_arguments(data, out), "--profile", "--max-steps", 3)
    assert f"the layers' times: {out / 'profile.txt'}" in done.stdout
    lines = (out / "profile.txt").read_text().splitlines()
    assert lines[0].split()[:2] == ["layer", "op"] and any(line.startswith("layer2.0.pooling ") for line in lines)
    assert not (out / "profile.txt.tmp").exists()
