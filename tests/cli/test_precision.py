"""--precision bfloat16: a training, its test, and machines without it."""
import json

import numpy as np
import pytest

from helpers import checkpoints, fails, gausspool, succeeds, top1_error, train_arguments

NET = ("bench", "net", "--arch", "resnet8", "--batch", "4", "--steps", "1", "--mode", "infer", "--json")


@pytest.fixture
def supported():
    result = gausspool(*NET, "--precision", "bfloat16")
    if "has no bfloat16" in result.stderr:
        pytest.skip(result.stderr)
    return result


def test_bench_names_it(supported):
    assert json.loads(supported.stdout)["precision"] == "bfloat16"


def test_trains_and_resumes(supported, data, tmp_path):
    """The resumed run takes the precision from the checkpoint."""
    for name in ("whole", "halves"):
        stop = 11 if name == "halves" else 0
        done = succeeds(*train_arguments(data, tmp_path / name, precision="bfloat16", max_steps=stop))
        assert "bfloat16" in done.stdout
    done = succeeds("train", "--resume", tmp_path / "halves", "--data", data, "--max-steps", 0)
    assert "bfloat16" in done.stdout
    last = [checkpoints(tmp_path / name)[-1].read_bytes() for name in ("whole", "halves")]
    assert last[0] == last[1]
    done = succeeds("test", "--model-file", tmp_path / "whole" / "model_best.safetensors", "--data", data)
    assert top1_error(done.stdout) < 80


def test_scores_are_near_those_of_float32(supported, data, trained, tmp_path):
    scores = {}
    for precision in ("float32", "bfloat16"):
        path = tmp_path / f"{precision}.npy"
        succeeds("test", "--model-file", trained.model, "--data", data, "--precision", precision, "--logits-out", path)
        scores[precision] = np.load(path)
    distance = np.linalg.norm(scores["bfloat16"] - scores["float32"]) / np.linalg.norm(scores["float32"])
    assert 0 < distance < 2**-6
    path = tmp_path / "predicted.npy"
    succeeds("predict", "--model-file", trained.model, "--data", data, "--samples", "0-9", "--precision", "bfloat16",
             "--logits-out", path)
    np.testing.assert_allclose(np.load(path), scores["bfloat16"][:10], rtol=0.02, atol=0.02 * np.abs(scores["float32"]).max())


def set_processor(monkeypatch, name):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", name)
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", name)


def test_refused_without_avx512(data, tmp_path, monkeypatch):
    set_processor(monkeypatch, "AVX2")
    fails(*NET, "--precision", "bfloat16", names=("bfloat16", "AVX-512", "float32"))
    fails(*train_arguments(data, tmp_path / "out"), "--precision", "bfloat16", names=("bfloat16", "AVX-512", "float32"))


def test_a_warning_where_it_is_emulated(supported, monkeypatch):
    set_processor(monkeypatch, "AVX512_CORE")
    warning = succeeds(*NET, "--precision", "bfloat16").stderr.splitlines()
    assert len(warning) == 1 and "avx512_bf16" in warning[0]
    assert succeeds(*NET).stderr == ""


def test_other_names(data, tmp_path):
    fails(*train_arguments(data, tmp_path / "out"), "--precision", "float16", status=2, names=("precision", "bfloat16"))
