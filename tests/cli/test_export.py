"""`gausspool export`: its files, what they hold, folded models in use, and wrong input. (What ONNX files compute: test_onnx.py.)"""
import re
import shutil

import numpy as np
import pytest

from helpers import BUILD, checkpoints, fails, run_in_shell, succeeds, top1_error, train_arguments
from models import safetensors_io, write_model, write_pictures

needs_onnx = pytest.mark.skipif(not (BUILD / "tests" / "unit" / "test_export_onnx").exists(),
                                reason="the program was built without ONNX")


@pytest.fixture(scope="module")
def folded(trained, tmp_path_factory):
    """The trained model with its batch norms folded in."""
    path = tmp_path_factory.mktemp("folded") / "folded.safetensors"
    result = succeeds("export", "--model-file", trained.model, "--fold", path)
    assert re.fullmatch(rf"{re.escape(str(path))}: 15 batch norms folded\n", result.stdout)
    return path


def predicted(model, data, path):
    succeeds("predict", "--model-file", model, "--data", data, "--samples", "0-63", "--logits-out", path)
    return np.load(path)


# ---- Folded models --------------------------------------------------------------------------

def test_folded_names(trained, folded):
    """Weights under their own names, biases beside them, and nothing of the batch norms."""
    before, before_metadata = safetensors_io.load(trained.model)
    after, metadata = safetensors_io.load(folded)
    assert not [name for name in after if re.search(r"running|num_batches|\bbn\d|ToMean\.1", name)]
    for name in ("conv1.bias", "layer2.0.downsample.0.bias", "layer2.0.pooling.ToMean.0.bias"):
        assert name in after
    weights = {name for name in before if name.endswith(".weight") and before[name].ndim > 1}
    assert {name for name in after if name.endswith(".weight")} == weights
    for name in weights:
        assert after[name].shape == before[name].shape
    assert metadata.pop("batch_norms") == "folded"
    assert metadata == before_metadata
    scale = before["bn1.weight"] / np.sqrt(before["bn1.running_var"] + 1e-5)
    np.testing.assert_allclose(after["conv1.weight"], before["conv1.weight"] * scale[:, None, None, None], rtol=1e-6)
    np.testing.assert_allclose(after["conv1.bias"], before["bn1.bias"] - before["bn1.running_mean"] * scale, rtol=1e-5, atol=1e-7)
    assert np.array_equal(after["fc.weight"], before["fc.weight"])


def test_folded_predictions(data, trained, folded, tmp_path):
    expected = predicted(trained.model, data, tmp_path / "before.npy")
    np.testing.assert_allclose(predicted(folded, data, tmp_path / "after.npy"), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    arguments = ["--dataset", "fashion-mnist", "--data", data]
    errors = [top1_error(succeeds("test", "--model-file", model, *arguments).stdout) for model in (trained.model, folded)]
    assert errors[0] == errors[1]


# Batch norms before a ReLU of their own (DenseNet), behind linear layers (VGG), with another least variance, groups.
@pytest.mark.parametrize("arch, pool, shape", [
    ("densenet121", "gauss_CN", (3, 64, 32)), pytest.param("vgg11bow_bn", "max", (1, 32, 32), marks=pytest.mark.full),
    pytest.param("resnext50_32x4d", "avg", (3, 32, 64), marks=pytest.mark.full)])
def test_folded_families(tmp_path, arch, pool, shape):
    model = write_model(tmp_path / "net.safetensors", arch, pool, shape)
    paths, _ = write_pictures(tmp_path, shape)
    succeeds("export", "--model-file", model, "--fold", tmp_path / "folded.safetensors")
    scores = []
    for path in (model, tmp_path / "folded.safetensors"):
        succeeds("predict", "--model-file", path, *paths, "--logits-out", tmp_path / "scores.npy")
        scores.append(np.load(tmp_path / "scores.npy"))
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-5 * np.abs(scores[0]).max())
    kept = [name for name in safetensors_io.load(tmp_path / "folded.safetensors")[0] if name.endswith("running_var")]
    assert all(name.startswith("features.") and re.search(r"\.norm1?\.|norm5", name) for name in kept), kept
    assert bool(kept) == (arch == "densenet121")


def test_folded_once_is_folded(trained, folded, tmp_path):
    result = succeeds("export", "--model-file", folded, "--fold", tmp_path / "again.safetensors")
    assert ": 0 batch norms folded" in result.stdout
    assert (tmp_path / "again.safetensors").read_bytes() == folded.read_bytes()


def test_folded_models_are_not_trained(data, folded, tmp_path):
    fails(*train_arguments(data, tmp_path / "out", pretrained=folded), status=2, names=[folded, "folded", "for inference"])
    for evaluate in (True, None):
        fails(*train_arguments(data, tmp_path / "out", resume=folded, evaluate=evaluate), status=2, names=[folded, "test --model-file"])


def test_checkpoints_are_models_too(data, trained, tmp_path):
    path = checkpoints(trained.out)[-1]
    succeeds("export", "--model-file", path, "--fold", tmp_path / "folded.safetensors")
    tensors, metadata = safetensors_io.load(tmp_path / "folded.safetensors")
    assert metadata["kind"] == "model" and not [name for name in tensors if name.startswith("optimizer")]
    expected = predicted(path, data, tmp_path / "before.npy")
    found = predicted(tmp_path / "folded.safetensors", data, tmp_path / "after.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_plain_state_dicts(data, trained, folded, tmp_path):
    """Without metadata the net is what the options say."""
    path = tmp_path / "plain.safetensors"
    safetensors_io.save(path, safetensors_io.load(trained.model)[0])
    fails("export", "--model-file", path, "--fold", tmp_path / "out.safetensors", names=[path, "--arch", "--pool", "--dataset"])
    succeeds("export", "--model-file", path, "--fold", tmp_path / "out.safetensors", "--arch", "resnet8", "--pool", "gauss_CN",
             "--dataset", "fashion-mnist", "--data", data)
    found, expected = (safetensors_io.load(file)[0] for file in (tmp_path / "out.safetensors", folded))
    assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)


# ---- ONNX files -----------------------------------------------------------------------------

@needs_onnx
def test_same_file_from_folded_or_not(trained, folded, tmp_path):
    """Both outputs at once; and folding is the same before as while it is written."""
    result = succeeds("export", "--model-file", trained.model, "--onnx", tmp_path / "a.onnx", "--fold", tmp_path / "a.safetensors")
    assert len(result.stdout.splitlines()) == 2 and "opset 13" in result.stdout
    assert (tmp_path / "a.safetensors").read_bytes() == folded.read_bytes()
    succeeds("export", "--model-file", folded, "--onnx", tmp_path / "b.onnx")
    a, b = ((tmp_path / name).read_bytes() for name in ("a.onnx", "b.onnx"))
    assert a == b
    succeeds("export", "--model-file", trained.model, "--onnx", tmp_path / "c.onnx", "--keep-batch-norm")
    assert b"bn1.running_var" in (tmp_path / "c.onnx").read_bytes() and b"bn1.running_var" not in a


@needs_onnx
@pytest.mark.bad_input
def test_full_disk(trained, tmp_path):
    """What was there stays."""
    for option, name in (("--onnx", "net.onnx"), ("--fold", "net.safetensors")):
        (tmp_path / name).write_text("before")
        result = run_in_shell('ulimit -f 1; exec "$@"', "export", "--model-file", trained.model, option, tmp_path / name)
        assert result.returncode == 1 and name in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
        assert (tmp_path / name).read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 2


# ---- Wrong input ----------------------------------------------------------------------------

@pytest.mark.bad_input
@pytest.mark.parametrize("arguments, names", [
    ([], "--model-file"), (["--model-file", "MODEL"], ["--onnx", "--fold"]), (["--fold", "OUT"], "--model-file"),
    (["--model-file", "MODEL", "--fold", "OUT", "--keep-batch-norm"], "--keep-batch-norm"),
    (["--model-file", "MODEL", "--fold", "OUT", "--onnx", "OUT"], "two files"),
    (["--model-file", "MODEL", "--onnx", "OUT", "--fold", "BESIDE"], ["two files", "OUT"]),
    (["--model-file", "MODEL", "--fold", "MODEL"], ["another file", "MODEL"]),
    (["--model-file", "MODEL", "--fold", "OUT", "--pool", "median"], "median"),
    (["--model-file", "MODEL", "--fold", "OUT", "extra"], "extra"),
], ids=["nothing", "no output", "no model", "batch norms of no file", "one file for two", "one by two names", "the model itself", "pooling", "positional"])
def test_usage(trained, tmp_path, arguments, names):
    shutil.copy(trained.model, tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    places = {"MODEL": str(tmp_path / "model"), "OUT": str(tmp_path / "out"), "BESIDE": f"{tmp_path}/./out"}
    names = [names] if isinstance(names, str) else names
    fails("export", *(places.get(part, part) for part in arguments), status=2, names=[places.get(name, name) for name in names])
    assert not (tmp_path / "out").exists() and (tmp_path / "model").read_bytes() == before


@pytest.mark.bad_input
def test_outputs_that_cannot_be(trained, tmp_path):
    for option in ("--fold", "--onnx"):
        fails("export", "--model-file", trained.model, option, tmp_path / "none" / "out", names=tmp_path / "none" / "out")
        fails("export", "--model-file", trained.model, option, tmp_path, names=[tmp_path, "folder"])
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_no_model_file(trained, tmp_path):
    path, out = tmp_path / "model", tmp_path / "out"
    fails("export", "--model-file", path, "--fold", out, names=path)
    path.write_bytes(b"no model")
    fails("export", "--model-file", path, "--fold", out, names=path)
    path.write_bytes(trained.model.read_bytes()[:-8])
    fails("export", "--model-file", path, "--fold", out, names=path)
    tensors, metadata = safetensors_io.load(trained.model)
    for key, value, names in (("pool", "median", ["median", "gauss_CN"]), ("arch", "resnet9", ["resnet9", "resnet8"]),
                              ("batch_norms", "half", ["batch_norms", "half"])):
        safetensors_io.save(path, tensors, {**metadata, key: value})
        fails("export", "--model-file", path, "--fold", out, names=names)
    safetensors_io.save(path, tensors, {**metadata, "batch_norms": "folded"})
    fails("export", "--model-file", path, "--fold", out, names=[path, "conv1.bias", "bn1."])
    tensors["bn1.running_var"][2] = -3
    safetensors_io.save(path, tensors, metadata)
    fails("export", "--model-file", path, "--fold", out, names=["bn1", "conv1"])
    assert not out.exists()


def test_help():
    output = succeeds("export", "--help").stdout
    for word in ("--onnx", "--fold", "--keep-batch-norm", "--model-file", "mean"):
        assert word in output
    assert "export" in succeeds("--help").stdout
