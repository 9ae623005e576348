"""Names and shapes of the nets' state: as torchvision's where the nets are the same, else as reference_nets.py's."""
import subprocess

import pytest
from torch import nn

import reference_nets
from operator_binding import BUILD

PROGRAM = BUILD / "tests" / "parity" / "net_state"
pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason=f"no {PROGRAM}: cmake --build --preset release")

# DenseNet's skip has another stride than torchvision's net, but the same tensors.
TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "densenet121",
               "densenet161", "densenet169", "densenet201"]
POOLS = ["skip", "avg", "max", "gauss_CN", "gaussian_HWCN", "half_gauss_CN", "max_ent", "stochastic", "mixed", "gated", "lp",
         "softpool"]


@pytest.fixture(autouse=True)
def without_first_values(monkeypatch):
    """Nobody looks at them, and they would take most of the time."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "constant_", "zeros_", "ones_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *arguments, **named: tensor)


def state_of(arch, pool, classes):
    """{name: shape} in the program's order."""
    result = subprocess.run([PROGRAM, arch, pool, "3", "64", str(classes)], capture_output=True, text=True, check=True)
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("state ")]
    return {row[1]: tuple(map(int, row[2:])) for row in rows}


def shapes_of(net):
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


@pytest.mark.parametrize("arch", TORCHVISION)
def test_as_torchvision(arch):
    models = pytest.importorskip("torchvision.models")
    state = state_of(arch, "skip", 1000)
    expected = shapes_of(getattr(models, arch)())
    assert state == expected and list(state) == list(expected)


@pytest.mark.parametrize("suffix", ["", "_bn"])
@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_features_as_torchvision(depth, suffix, monkeypatch):
    """Its classifier is not the same: there is no dropout in ours."""
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setattr(nn, "Linear", lambda *arguments: nn.Identity())
    net = getattr(models, f"vgg{depth}{suffix}")(init_weights=False)
    state = state_of(f"vgg{depth}orig{suffix}", "max", 1000)
    assert {name: shape for name, shape in state.items() if name.startswith("features.")} == shapes_of(net)


@pytest.mark.parametrize("arch, pool", [
    (arch, pool) for arch in ("resnet20", "resnet18", "resnet50", "resnext50_32x4d", "resnetp50", "resnextp50_32x4d",
                              "vgg11orig_bn", "vgg16bow", "vgg13bow_bn", "densenet121")
    for pool in POOLS if not (arch.startswith("vgg") and pool == "skip")])
def test_as_specified(arch, pool):
    state = state_of(arch, pool, 7)
    expected = shapes_of(reference_nets.make_net(arch, pool, classes=7))
    assert state == expected and list(state) == list(expected)


@pytest.mark.parametrize("arch", reference_nets.NAMES)
def test_every_net(arch):
    """With one pooling; resnext101 and the like are too large to be made with each."""
    expected = shapes_of(reference_nets.make_net(arch, "avg", classes=3))
    assert state_of(arch, "avg", 3) == expected


def test_vgg_without_pooling_is_refused():
    result = subprocess.run([PROGRAM, "vgg16orig", "skip", "3", "64", "10"], capture_output=True, text=True)
    assert result.returncode == 1 and "vgg16orig has no pooling 'skip'" in result.stderr
