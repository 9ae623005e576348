"""Weights saved by PyTorch: converted and applied."""
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers import ROOT, environment, succeeds

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

SIDE, CLASSES = 64, 7


def convert(*arguments):
    return subprocess.run([sys.executable, ROOT / "scripts" / "convert-weights", *map(str, arguments)], capture_output=True,
                          text=True, env=environment(), timeout=300)


def converts(*arguments):
    result = convert(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def refuses(*arguments, names):
    result = convert(*arguments)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    for name in [names] if isinstance(names, str) else names:
        assert name in result.stderr
    return result


@pytest.fixture(scope="module")
def net():
    """ResNet-18 with statistics of its own, so that every tensor matters."""
    torch.manual_seed(0)
    net = models.resnet18(weights=None, num_classes=CLASSES)
    with torch.no_grad():
        for _ in range(2):
            net.train()(torch.randn(4, 3, SIDE, SIDE))
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(5).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    paths = [folder / f"{number}.png" for number in range(len(pixels))]
    for path, picture in zip(paths, pixels):
        Image.fromarray(picture).save(path)
    return pixels, paths


def expected_logits(net, pixels):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (torch.from_numpy(pixels).float() / 255 - mean) / std
    with torch.no_grad():
        return net(images.permute(0, 3, 1, 2)).numpy()


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state},
                                  lambda state: {"model": {f"module.{name}": value for name, value in state.items()}}],
                         ids=["state dict", "checkpoint", "wrapped"])
def test_predicts_as_torchvision_does(net, pictures, tmp_path, wrap):
    torch.save(wrap(net.state_dict()), tmp_path / "net.pth")
    converts(tmp_path / "net.pth", tmp_path / "net.safetensors", "--arch", "resnet18", "--pool", "skip", "--image", SIDE,
             "--resize", SIDE)
    pixels, paths = pictures
    succeeds("predict", "--model-file", tmp_path / "net.safetensors", *paths, "--logits-out", tmp_path / "logits.npy")
    expected = expected_logits(net, pixels)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("arch", ["vgg11", "vgg11_bn"])
def test_predicts_as_torchvisions_vgg_does(pictures, tmp_path, arch):
    """Ours has other batch norms, and its classifier's layers have other numbers. Small statistics show the eps."""
    torch.manual_seed(1)
    net = getattr(models, arch)(weights=None, num_classes=CLASSES, init_weights=False).eval()
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(1e-4, 1e-2)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    converts(tmp_path / "net.pth", tmp_path / "net.safetensors", "--arch", arch.replace("11", "11orig"), "--pool", "max",
             "--image", SIDE, "--resize", SIDE)
    (tmp_path / "net.pth").unlink()
    pixels, paths = pictures
    succeeds("predict", "--model-file", tmp_path / "net.safetensors", *paths, "--logits-out", tmp_path / "logits.npy")
    (tmp_path / "net.safetensors").unlink()
    expected = expected_logits(net, pixels)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_class_names(net, pictures, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pth")
    names = [f"sort {number}" for number in range(CLASSES)]
    (tmp_path / "names").write_text("\n".join(names) + "\n")
    arguments = [tmp_path / "net.pth", tmp_path / "net.safetensors", "--arch", "resnet18", "--pool", "skip", "--image", SIDE]
    converts(*arguments, "--classes", tmp_path / "names")
    pixels, paths = pictures
    output = succeeds("predict", "--model-file", tmp_path / "net.safetensors", paths[0]).stdout
    assert sum(name in output for name in names) == 5
    (tmp_path / "names").write_text("one\n")
    refuses(*arguments, "--classes", tmp_path / "names", names=["names", "7", "1"])


def test_half_precision_and_old_names(tmp_path):
    state = {"features.denseblock1.denselayer1.norm.1.weight": torch.rand(4).half(), "classifier.weight": torch.rand(2, 4).double(),
             "n.num_batches_tracked": torch.tensor(3)}
    torch.save(state, tmp_path / "net.pth")
    converts(tmp_path / "net.pth", tmp_path / "net.safetensors")
    text = (tmp_path / "net.safetensors").read_bytes()
    header = text[8:8 + int.from_bytes(text[:8], "little")].decode()
    assert '"features.denseblock1.denselayer1.norm1.weight":{"dtype":"F32","shape":[4]' in header
    assert '"n.num_batches_tracked":{"dtype":"I64","shape":[]' in header and '"classifier.weight":{"dtype":"F32"' in header


class Trap:
    """Would create a file if the loader ran it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_a_checkpoint_with_its_optimizer(tmp_path, zipped):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    checkpoint = {"epoch": 3, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "best": 76.15}
    torch.save(checkpoint, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    converts(tmp_path / "net.pth", tmp_path / "net.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_runs_no_code_of_the_file(tmp_path, zipped):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": Trap(tmp_path / "trapped")}, tmp_path / "net.pth",
               _use_new_zipfile_serialization=zipped)
    refuses(tmp_path / "net.pth", tmp_path / "out.safetensors", names="no plain weights")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth"]


def test_refuses_what_holds_no_weights(tmp_path):
    (tmp_path / "text").write_text("no weights")
    refuses(tmp_path / "text", tmp_path / "o", names="text")
    refuses(tmp_path / "none", tmp_path / "o", names="none")
    torch.save([1, 2], tmp_path / "list.pth")
    refuses(tmp_path / "list.pth", tmp_path / "o", names="expected a state dict")
    torch.save({"a": 1}, tmp_path / "number.pth")
    refuses(tmp_path / "number.pth", tmp_path / "o", names="expected tensors by name")
    torch.save({"a": torch.zeros(1)}, tmp_path / "good.pth")
    refuses(tmp_path / "good.pth", tmp_path / "folder" / "o", names="folder")
    assert not list(tmp_path.glob("o*"))
