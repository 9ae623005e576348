"""replace_pooling: what it swaps, what it keeps, what it refuses."""
import copy

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from gausspool.torch import GaussianPooling2d, MaxEntPooling2d, replace_pooling  # noqa: E402


def make_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d((3, 2), stride=2, padding=1, ceil_mode=True),
        nn.Sequential(nn.Conv2d(8, 12, 1), nn.AvgPool2d(2, padding=1, count_include_pad=False)), nn.ReLU(), nn.AvgPool2d(2))


def poolings(net):
    return {name: type(child) for name, child in net.named_modules()
            if isinstance(child, (nn.MaxPool2d, nn.AvgPool2d, GaussianPooling2d, MaxEntPooling2d))}


def test_all_by_default():
    net = make_net()
    done = replace_pooling(net)
    assert done.module is net and done.names == ["1", "2.1", "4"]
    assert poolings(net) == dict.fromkeys(done.names, GaussianPooling2d)
    assert [net.get_submodule(name).num_features for name in done.names] == [8, 12, 12]


def test_keeps_what_the_pooling_was():
    net = make_net()
    before = make_net()
    replace_pooling(net)
    x = torch.randn(2, 3, 17, 22)
    assert net.eval()(x).shape == before(x).shape
    first, second = net[1], net[2][1]
    assert first.ceil_mode and not second.ceil_mode and first.count_include_pad and not second.count_include_pad


# Whatever the weight, a window without deviation gives its mean: an average pooling's output on what is constant.
def test_windows_and_divisor_are_the_average_poolings():
    for options in (dict(), dict(padding=1), dict(padding=1, count_include_pad=False), dict(stride=2, ceil_mode=True)):
        pooling = nn.AvgPool2d(3, **options)
        layer = replace_pooling(nn.Sequential(pooling), example=torch.zeros(1, 4, 8, 8)).module[0].eval()
        layer.eps = 1e-30
        x = torch.rand(2, 4, 1, 1).expand(2, 4, 10, 9).contiguous()
        inner = (slice(None), slice(None), slice(1, 2), slice(1, 2))
        exclude = not options.get("count_include_pad", True)
        where = (slice(None),) * 4 if not options.get("padding") or exclude else inner
        torch.testing.assert_close(layer(x)[where], pooling(x)[where])
        assert layer(x).shape == pooling(x).shape


@pytest.mark.parametrize("select, names", [
    (nn.MaxPool2d, ["1"]), ((nn.AvgPool2d,), ["2.1", "4"]), ("2.*", ["2.1"]), (["1", "4"], ["1", "4"]),
    (lambda name, module: module.padding == 1, ["1", "2.1"])], ids=["type", "types", "pattern", "patterns", "function"])
def test_selects(select, names):
    net = make_net()
    kept = {name: kind for name, kind in poolings(net).items() if name not in names}
    assert replace_pooling(net, select).names == names
    assert poolings(net) == {**kept, **dict.fromkeys(names, GaussianPooling2d)}


def test_another_layer_and_its_options():
    net = make_net()
    replace_pooling(net, "4", layer=MaxEntPooling2d)
    replace_pooling(net, nn.MaxPool2d, stochasticity="CN", hidden_node=5)
    assert isinstance(net[4], MaxEntPooling2d) and net[1].stochasticity == "CN"
    assert net[1].state_dict()["ToHidden.1.weight"].shape[0] == 5
    replace_pooling(net, "2.1", count_include_pad=True)
    assert net[2][1].count_include_pad


def test_a_function_makes_the_layer():
    def make(channels, kernel_size, stride, padding, ceil_mode):
        return nn.LPPool2d(2, kernel_size, stride, ceil_mode)

    net = make_net()
    replace_pooling(net, "4", layer=make)
    assert isinstance(net[4], nn.LPPool2d) and net(torch.zeros(1, 3, 32, 32)).shape[1] == 12


def test_modes_type_and_the_rest_of_the_net_stay():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2)).double()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    replace_pooling(net)
    assert net[0].training and not net[1].training and net[2].training
    assert {tensor.dtype for tensor in net[2].state_dict().values()} == {torch.float64, torch.int64}
    for name, tensor in before.items():
        assert torch.equal(net.state_dict()[name], tensor), name
    assert not net[2]._forward_hooks
    net.eval()
    assert not replace_pooling(nn.Sequential(net[0], nn.MaxPool2d(2)).eval()).module[1].training


def test_a_pooling_itself():
    done = replace_pooling(nn.MaxPool2d(2), example=torch.zeros(1, 6, 8, 8))
    assert isinstance(done.module, GaussianPooling2d) and done.module.num_features == 6 and done.names == [""]


class Shared(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, channels, 3)
        self.pool = self.again = nn.MaxPool2d(2)

    def forward(self, x):
        return self.again(F.relu(self.second(self.pool(F.relu(self.first(x))))))


@pytest.mark.parametrize("select", [nn.MaxPool2d, "again"])
def test_a_pooling_in_two_places_becomes_one_layer(select):
    net = Shared(6)
    assert replace_pooling(net, select).names == ["pool", "again"]
    assert net.pool is net.again and isinstance(net.pool, GaussianPooling2d)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 6, 6, 6)


def refused(match, net, *args, error=ValueError, **options):
    """The net must be as before."""
    before = dict(net.named_modules(remove_duplicate=False))
    modes = [child.training for child in net.modules()]
    with pytest.raises(error, match=match):
        replace_pooling(net, *args, **options)
    assert dict(net.named_modules(remove_duplicate=False)) == before
    assert [child.training for child in net.modules()] == modes
    assert all(not child._forward_hooks for child in net.modules())


def test_refuses_different_numbers_of_channels():
    refused(r"pool \(MaxPool2d\): was called with 6 and 16 channels", Shared(16))


@pytest.mark.parametrize("pooling, match", [
    (nn.MaxPool2d(2, dilation=2), r"0.1 \(MaxPool2d\): dilation=2"), (nn.MaxPool2d(2, return_indices=True), "return_indices=True"),
    (nn.AvgPool2d(2, divisor_override=3), "divisor_override=3")], ids=["dilation", "return_indices", "divisor_override"])
def test_refuses_what_has_no_counterpart(pooling, match):
    refused(match, nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), pooling), nn.MaxPool2d(2)))


def test_refuses_a_selection_of_nothing():
    refused(r"found no pooling to replace.*1 \(MaxPool2d\), 2.1 \(AvgPool2d\), 4 \(AvgPool2d\)", make_net(), "layer*")
    refused("MaxPool2d and AvgPool2d: none", nn.Sequential(nn.Conv2d(3, 4, 3)))


@pytest.mark.parametrize("select, match", [(nn.AdaptiveAvgPool2d, "found AdaptiveAvgPool2d"), (3, "found 3"), ((), r"found \(\)")])
def test_refuses_a_selection_of_another_kind(select, match):
    refused(match, make_net(), select, error=TypeError)


def test_refuses_a_pooling_that_is_not_called():
    net = Shared(6)
    net.unused = nn.MaxPool2d(2)
    refused(r"unused \(MaxPool2d\): was not called", net)
    assert replace_pooling(net, ["pool"]).names == ["pool", "again"]


class ForOneSize(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.conv, self.pool, self.linear = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Linear(side * side, 10)

    def forward(self, x):
        return self.linear(self.pool(self.conv(x)).flatten(1))


def test_example():
    net = ForOneSize(28)  # 4 channels of 14 by 14
    assert replace_pooling(net).module.pool.num_features == 4
    net = ForOneSize(50)
    refused(r"took no made-up input of shape \(1, 1, H, W\).*224x224: RuntimeError", net)
    refused("shapes cannot be multiplied|size mismatch", net, example=torch.zeros(1, 1, 52, 52), error=RuntimeError)
    assert replace_pooling(net, example=(torch.zeros(1, 1, 50, 50),)).names == ["pool"]
    refused("found no Conv2d", nn.Sequential(nn.MaxPool2d(2)))


def test_refuses_a_script():
    script = torch.jit.trace(nn.Sequential(nn.MaxPool2d(2)), torch.zeros(1, 1, 4, 4))
    with pytest.raises(TypeError, match="not yet a script"):
        replace_pooling(script)
