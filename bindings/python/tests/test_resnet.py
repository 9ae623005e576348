"""examples/resnet50.py: torchvision's ResNet-50 with every pooling replaced trains on real images, saves, loads, exports."""
import importlib.util
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from torch import nn  # noqa: E402

from gausspool.torch import GaussianPooling2d  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "resnet50.py"
IMAGES = ROOT.parent / "shared" / "data" / "imagenet-200-samples.tar"
SIDE = 64
PLACES = ["maxpool.0", "maxpool.1", "layer2.0.1", "layer3.0.1", "layer4.0.1"]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("resnet50_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(example):
    """The net, and the mean loss of each epoch over 200 images of as many classes."""
    if not IMAGES.is_file():
        pytest.skip(f"no {IMAGES.name} in {IMAGES.parent}")
    images = read_images()
    assert len(images) == 200
    torch.manual_seed(0)
    net = example.make_net(len(images), stochasticity="CN").to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.02)
    batches = [list(zip(images.split(25), indices.split(25)))
               for images, indices in ((images[order], order) for order in (torch.randperm(200) for _ in range(3)))]
    return net, [example.train_epoch(net, epoch, optimizer) for epoch in batches]


def read_images():
    np, image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    with tarfile.open(IMAGES) as archive:
        files = [archive.extractfile(member).read() for member in archive if member.isfile()]
    pixels = [np.asarray(image.open(io.BytesIO(file)).convert("RGB").resize((SIDE, SIDE), image.BILINEAR)) for file in files]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)


def gaussian_places(net):
    return [name for name, child in net.named_modules() if isinstance(child, GaussianPooling2d)]


def test_all_poolings_are_replaced(example):
    net = example.make_net(10)
    assert gaussian_places(net) == PLACES
    assert not any(isinstance(child, (nn.MaxPool2d, nn.AvgPool2d)) for child in net.modules())
    classifier = 2048 * 10 + 10 - (2048 * 1000 + 1000)
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(33.86e6 + classifier, rel=1e-3)
    with torch.no_grad():
        assert net.layer4(net.layer3(net.layer2(torch.zeros(2, 256, 16, 16)))).shape == (2, 2048, 2, 2)


def test_trains_on_real_images(trained):
    net, losses = trained
    assert losses[0] > losses[1] > losses[2] and losses[2] < losses[0] - 0.4, losses
    for name in PLACES:
        for parameter, tensor in net.get_submodule(name).named_parameters():
            assert tensor.grad.isfinite().all() and tensor.grad.any(), f"{name}.{parameter}"


def test_saves_and_loads(trained, example, tmp_path):
    net = trained[0].eval()
    torch.save(net.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(1)
    other = example.make_net(200, stochasticity="CN").to(memory_format=torch.channels_last).eval()
    x = torch.randn(2, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = net(x)
        assert not torch.equal(other(x), expected)
        other.load_state_dict(torch.load(tmp_path / "state.pt"))
        assert torch.equal(other(x), expected)


@pytest.mark.filterwarnings("ignore")
def test_exports(trained, example, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    net = trained[0].eval()
    example.export(net, str(tmp_path / "net.onnx"), SIDE)
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, SIDE, SIDE), (3, 3, 96, 80)):
        x = torch.randn(shape)
        with torch.no_grad():
            expected = net(x)
        (found,) = session.run(None, {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_the_program_runs(tmp_path):
    """On a few pictures made here: two classes, one epoch."""
    image = pytest.importorskip("PIL.Image")
    for label, colour in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(2):
            image.new("RGB", (40, 40), (colour, colour + number, 90)).save(tmp_path / "images" / label / f"{number}.png")
    outputs = [f"--{name}={tmp_path / name}" for name in ("state", "onnx")]
    done = subprocess.run([sys.executable, str(EXAMPLE), "--data", str(tmp_path / "images"), "--epochs=1", "--batch=2", "--side=32",
                           *outputs], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("epoch 1: loss ")
    for name in ("state", "onnx"):  # the newest exporter writes the parameters to a second file
        assert sum(path.stat().st_size for path in tmp_path.glob(f"{name}*")) > 100e6
