"""Truncated and corrupt files: each gives one line that names the file, exit status 1, and no crash."""
import gzip
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers import checkpoints, fails, gausspool, idx_bytes, make_images, succeeds, train_arguments

pytestmark = pytest.mark.bad_input


# ---- IDX ------------------------------------------------------------------------------------

def patched(data, offset, replacement):
    return data[:offset] + replacement + data[offset + len(replacement):]


IDX_DAMAGES = {
    "empty": lambda data: b"",
    "header cut": lambda data: data[:10],
    "pixels cut": lambda data: data[:-1],
    "pixels missing": lambda data: data[:16],
    "bytes too many": lambda data: data + b"\0",
    "magic": lambda data: b"\x89PNG" + data[4:],
    "element type": lambda data: patched(data, 2, b"\x0d"),
    "dimensions": lambda data: patched(data, 3, b"\x02"),
    "too many images": lambda data: patched(data, 4, b"\xff\xff\xff\xff"),
    "huge images": lambda data: patched(data, 4, b"\xff" * 12),
    "no rows": lambda data: patched(data, 8, bytes(4)),
    "gzip cut": lambda data: gzip.compress(data)[:-20],
    "gzip checksum": lambda data: patched(gzip.compress(data), len(gzip.compress(data)) - 8, b"\1\2\3\4"),
    "gzip data": lambda data: gzip.compress(data)[:40] + bytes(60) + gzip.compress(data)[100:],
    "gzip header only": lambda data: b"\x1f\x8b",
}


@pytest.mark.parametrize("damage", IDX_DAMAGES)
def test_images_file(data, tmp_path, damage):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(IDX_DAMAGES[damage](path.read_bytes()))
    fails(*train_arguments(folder, tmp_path / "out"), names=path)
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x01\0\0\1\0", idx_bytes(np.arange(255) % 10),
                                     idx_bytes(np.full(256, 10)), idx_bytes(make_images(256, 1)[0])],
                         ids=["empty", "labels missing", "one label too few", "label out of range", "images for labels"])
def test_labels_file(data, tmp_path, content):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(content)
    fails(*train_arguments(folder, tmp_path / "out"), names="labels-idx1-ubyte")


def test_damaged_test_set(data, trained, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    fails("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", folder, names=path)


# ---- safetensors ----------------------------------------------------------------------------

def split(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + length]), data[8 + length:]


def join(header, body):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def change(edit):
    """A damage made to the header, as parsed, and the body."""
    def damage(data):
        header, body = split(data)
        tensor = next(name for name in header if name.endswith("fc.weight"))
        return join(*edit(header, body, tensor))
    return damage


def edited(entry):
    return change(lambda header, body, tensor: ({**header, tensor: {**header[tensor], **entry}}, body))


SAFETENSORS_DAMAGES = {
    "empty": lambda data: b"",
    "seven bytes": lambda data: data[:7],
    "header cut": lambda data: data[:200],
    "body cut": lambda data: data[:-1],
    "body missing": change(lambda header, body, tensor: (header, b"")),
    "bytes too many": lambda data: data + b"\0" * 8,
    "header length huge": lambda data: b"\xff" * 8 + data[8:],
    "header length 0": lambda data: bytes(8) + data[8:],
    "header no JSON": lambda data: patched(data, 8, b"no JSON at all"),
    "header not an object": lambda data: (2).to_bytes(8, "little") + b"[]",
    "header no text": lambda data: patched(data, 12, b"\xff\xfe\x00"),
    "nested": lambda data: (100000).to_bytes(8, "little") + b"[" * 100000,
    "offsets reversed": edited({"data_offsets": [400, 0]}),
    "offsets outside": edited({"data_offsets": [0, 2**62]}),
    "offsets negative": edited({"data_offsets": [-4, 0]}),
    "offsets no numbers": edited({"data_offsets": ["a", None]}),
    "offsets overlap": edited({"data_offsets": [0, 2560]}),
    "dtype unknown": edited({"dtype": "F31"}),
    "dtype another": edited({"dtype": "I32"}),
    "shape another": edited({"shape": [64, 10]}),
    "shape overflowing": edited({"shape": [2**32, 2**32]}),
    "shape negative": edited({"shape": [-10, -64]}),
    "tensor missing": change(lambda header, body, tensor: ({k: v for k, v in header.items() if k != tensor}, body)),
    "metadata missing": change(
        lambda header, body, tensor: ({k: v for k, v in header.items() if k != "__metadata__"}, body)),
    "metadata no strings": change(lambda header, body, tensor: ({**header, "__metadata__": {"arch": 5}}, body)),
}


@pytest.mark.parametrize("damage", SAFETENSORS_DAMAGES)
def test_model_file(data, trained, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    path.write_bytes(SAFETENSORS_DAMAGES[damage](trained.model.read_bytes()))
    fails("test", "--model-file", path, "--dataset", "fashion-mnist", "--data", data, names=path)
    fails(*train_arguments(data, tmp_path / "out", resume=path), names=path)


def test_cut_checkpoints(data, trained, tmp_path):
    """At each sixteenth, by name and as the newest of a folder: refused before anything is written there."""
    content = checkpoints(trained.out)[-1].read_bytes()
    path = tmp_path / "run" / "checkpoint_last.safetensors"
    path.parent.mkdir()
    for part in range(16):
        path.write_bytes(content[:len(content) * part // 16])
        fails("train", "--resume", path if part % 2 else path.parent, "--data", data, names=path)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.write_bytes(content)
    succeeds("train", "--resume", path.parent, "--data", data, "--out-dir", path.parent)


def test_model_of_another_net(data, trained, tmp_path):
    """resnet8's checkpoint for a resnet20 run: refused, and nothing is written over it."""
    before = trained.model.read_bytes()
    result = fails(*train_arguments(data, tmp_path / "out", arch="resnet20", resume=trained.model), names=trained.model)
    assert "resnet20" in result.stderr and "resnet8" in result.stderr
    fails(*train_arguments(data, tmp_path / "out", pool="max", resume=trained.model), names=trained.model)
    assert trained.model.read_bytes() == before


# ---- Recipes --------------------------------------------------------------------------------

@pytest.mark.parametrize("text, names", [
    ("[optimizer]\nlr = fast\n", ("recipe.ini", "lr", "fast", "2")),
    ("[optimizer]\nno-such-key = 1\n", ("recipe.ini", "no-such-key")),
    ("[no-such-section]\nlr = 0.1\n", ("recipe.ini", "no-such-section")),
    ("[optimizer]\njust words\n", ("recipe.ini", "2")),
    ("[optimizer\nlr = 0.1\n", ("recipe.ini", "1")),
    ("[optimizer]\nlr = 0.1\nlr = 0.2\n", ("recipe.ini", "lr")),
    ("[optimizer]\nlr = " + "1" * 100000 + "\n", "recipe.ini"),
    ("[optimizer]\nlr = 0.1\0\xff\n", "recipe.ini"),
    ("[optimizer]\nbatch-size = 1e99\n", ("recipe.ini", "batch-size")),
], ids=["value", "key", "section", "no assignment", "open section", "twice", "long line", "binary", "number"])
def test_recipe(data, tmp_path, text, names):
    path = tmp_path / "recipe.ini"
    path.write_bytes(text.encode("latin-1"))
    result = gausspool(*train_arguments(data, tmp_path / "out", config_name=path))
    assert result.returncode in (1, 2) and len(result.stderr.splitlines()) == 1, result.stderr
    for name in [names] if isinstance(names, str) else names:
        assert name in result.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.safetensors"))


# ---- Pictures -------------------------------------------------------------------------------

def encoded(format, image=None):
    file = io.BytesIO()
    Image.fromarray(make_images(1, 5)[0][0] if image is None else image).save(file, format)
    return file.getvalue()


PICTURES = {
    "empty.png": b"",
    "cut.png": encoded("PNG")[:-40],
    "header.png": encoded("PNG")[:20],
    "checksum.png": patched(encoded("PNG"), 60, b"\0\1\2\3"),
    "huge.png": patched(encoded("PNG"), 16, b"\x7f\xff\xff\xff\x7f\xff\xff\xff"),
    "empty.jpg": b"",
    "cut.jpg": encoded("JPEG")[:100],
    "header.jpg": encoded("JPEG")[:4],
    "cut.pgm": encoded("PPM")[:-10],
    "header.pgm": b"P5\n28",
    "huge.pgm": b"P5\n99999999 99999999\n255\n",
    "zero.pgm": b"P5\n0 0\n255\n",
    "words.pgm": b"P5\nwide high\n255\n",
    "text.png": b"this is no picture\n" * 20,
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture(trained, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PICTURES[name])
    fails("predict", "--model-file", trained.model, path, names=path)


def test_folder_as_file(data, trained, tmp_path):
    fails("predict", "--model-file", trained.model, tmp_path, names=tmp_path)
    fails("test", "--model-file", tmp_path, "--dataset", "fashion-mnist", "--data", data, names=tmp_path)


@pytest.mark.parametrize("samples", ["64", "0-64", "5-2", "-1", "a", "1-", "", "9999999999999999999999"])
def test_samples_outside(data, trained, samples):
    result = gausspool("predict", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data,
                       f"--samples={samples}")
    assert result.returncode in (1, 2) and len(result.stderr.splitlines()) == 1, result.stderr
