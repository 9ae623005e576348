"""The layers against the published ones in plain PyTorch: state dict, outputs and gradients of the input and every parameter."""
import copy
import random

import pytest
import torch
from torch import nn

import plain
from gausspool.torch import GaussianPooling2d, MaxEntPooling2d

PUBLISHED_KEYS = [
    *(f"ToHidden.1.{name}" for name in ("weight", "bias")),
    *(f"ToHidden.2.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    *(f"{head}.{key}" for head in ("ToMean", "ToSigma")
      for key in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")),
]
MAXENT_KEYS = [f"ToParam.{key}" for key in
               ("1.weight", "1.bias", "2.weight", "2.bias", "2.running_mean", "2.running_var", "2.num_batches_tracked",
                "4.weight", "4.bias", "5.weight", "5.bias", "5.running_mean", "5.running_var", "5.num_batches_tracked")]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def test_state_dict_as_published():
    layer = GaussianPooling2d(6, 2)
    assert list(layer.state_dict()) == PUBLISHED_KEYS
    assert layer.state_dict()["ToHidden.1.weight"].shape == (3, 6, 1, 1)
    assert layer.state_dict()["ToSigma.0.weight"].shape == (6, 3, 1, 1)
    assert list(MaxEntPooling2d(6, 2).state_dict()) == MAXENT_KEYS
    assert GaussianPooling2d(6, 2, hidden_node=5).state_dict()["ToMean.0.weight"].shape == (6, 5, 1, 1)


def test_signature_as_published():
    positional = GaussianPooling2d(6, 3, 2, 1, True, False, 4, "CN", 1e-5)
    named = GaussianPooling2d(num_features=6, kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False,
                              hidden_node=4, stochasticity="CN", eps=1e-5)
    assert repr(positional) == repr(named)
    assert positional.eps == 1e-5 and positional.hidden_node == 4
    assert GaussianPooling2d(6, 3).stride == 3


class Case:
    """A random layer, the plain one with the same state, and an input."""

    def __init__(self, number, dtype):
        choose = random.Random(number)
        torch.manual_seed(number)
        self.training = choose.random() < 0.7
        batch = choose.randint(3, 5) if self.training else choose.randint(1, 3)
        channels, hidden = choose.randint(2, 9), choose.choice([None, 3])
        kernel = (choose.randint(1, 4), choose.randint(1, 4))
        self.options = {"kernel_size": kernel, "stride": choose.choice([None, 1, (2, 3)]),
                        "padding": (choose.randint(0, kernel[0] // 2), choose.randint(0, kernel[1] // 2)),
                        "ceil_mode": choose.random() < 0.5, "hidden_node": hidden}
        if number % 4:
            self.options["count_include_pad"] = choose.random() < 0.5
            self.options["stochasticity"] = choose.choice(["HWCN", "CN", None])
            self.layer = GaussianPooling2d(channels, **self.options)
            self.plain = plain.GaussianPooling2d(channels, self.layer.hidden_node)
        else:
            self.options["activation"] = choose.choice(["softplus", "sigmoid"])
            self.layer = MaxEntPooling2d(channels, **self.options)
            self.plain = plain.MaxEntPooling2d(channels, self.layer.hidden_node, self.layer.ToParam[-1])
        for values in self.layer.state_dict().values():
            if values.is_floating_point():
                values.copy_(torch.rand_like(values) + 0.2)
        self.plain.load_state_dict(self.layer.state_dict())
        self.layer, self.plain = (module.train(self.training) for module in (self.layer.to(dtype), self.plain.double()))
        values = torch.randn(batch, channels, choose.randint(4, 9), choose.randint(4, 9)).to(dtype)
        self.x = plain.arrange(values, choose.choice(plain.ARRANGEMENTS[:-1])).detach().requires_grad_()
        self.name = f"case {number}: {self.layer} {tuple(self.x.shape)} {self.x.stride()} training {self.training}"

    def run_plain(self, module, pooling, seed, grad_y):
        """What check_case() compares, from a plain layer in grad_y's type."""
        x = self.x.detach().to(grad_y.dtype).requires_grad_()
        draws = plain.draws_of(x, pooling, seed)
        module.draws = None if draws is None else draws.to(x.dtype)
        y = module(x, pooling)
        return {"y": y, **self.gradients(module, y, x, grad_y)}

    def gradients(self, module, y, x, grad_y):
        names, leaves = zip(*[("x", x), *module.named_parameters()])
        return dict(zip(names, torch.autograd.grad(y, leaves, grad_y, allow_unused=True)))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("first", range(0, 80, 20))
def test_same_as_published(first, dtype):
    for number in range(first, first + 20):
        check_case(Case(number, dtype), TOLERANCE[dtype])


def check_case(case, tolerance):
    torch.manual_seed(1)
    seed, pooling = plain.next_seed(), case.layer._describe()
    y = case.layer(case.x)
    grad_y = torch.randn(y.shape, dtype=torch.float64).to(y.dtype)
    found = {"y": y, **case.gradients(case.layer, y, case.x, grad_y)}
    narrow = case.run_plain(copy.deepcopy(case.plain).to(y.dtype), pooling, seed, grad_y)
    expected = case.run_plain(case.plain, pooling, seed, grad_y.double())
    assert found.keys() == expected.keys()
    scale = max(float(grad.detach().abs().max()) for grad in expected.values() if grad is not None)
    for name, wanted in expected.items():
        if wanted is None:  # ToSigma without draws
            assert found[name] is None, f"{case.name}: {name}"
            continue
        error, usual = (float((value.double() - wanted).abs().max()) for value in (found[name], narrow[name]))
        # Batch norm over few samples magnifies rounding in the head, which is PyTorch's own: as much as in the plain layer is right.
        allowed = tolerance * scale + (5 * usual if name.startswith("To") and y.dtype == torch.float32 else 0)
        assert error <= allowed, f"{case.name}: {name} off by {error:.3g}, allowed {allowed:.3g}"
    for name, buffer in case.plain.named_buffers():
        torch.testing.assert_close(dict(case.layer.named_buffers())[name].double(), buffer.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", ["x", "head", "mean"])
def test_parts_without_gradient(frozen):
    """The gradients that remain do not change when others are not wanted."""
    case = next(case for case in (Case(number, torch.float64) for number in range(1, 99))
                if case.training and getattr(case.layer, "stochasticity", None) == "HWCN")
    torch.manual_seed(3)
    y = case.layer(case.x)
    grad_y = torch.randn_like(y)
    full = case.gradients(case.layer, y, case.x, grad_y)
    state = case.layer.state_dict()
    for name, parameter in case.layer.named_parameters():
        parameter.requires_grad_(not (frozen == "head" or (frozen == "mean" and name.startswith("ToMean"))))
    case.layer.load_state_dict(state)
    x = case.x.detach().requires_grad_(frozen != "x")
    torch.manual_seed(3)
    y = case.layer(x)
    wanted = {name: leaf for name, leaf in [("x", x), *case.layer.named_parameters()] if leaf.requires_grad}
    for name, grad in zip(wanted, torch.autograd.grad(y, list(wanted.values()), grad_y)):
        torch.testing.assert_close(grad, full[name])


def test_guided_gradcheck():
    layer = GaussianPooling2d(4, (2, 3), stride=2, padding=(1, 1)).double()
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)

    def function(x, *parameters):
        torch.manual_seed(2)
        return layer(x)

    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


def test_input_gradient_is_written_once(monkeypatch):
    """Pooling's and average's gradients come from one call that writes grad_x; nothing is added to it later."""
    from gausspool import _library
    calls, backward = [], _library.backward
    monkeypatch.setattr(_library, "backward", lambda desc, **addresses: (calls.append(addresses), backward(desc, **addresses)))
    layer, x = GaussianPooling2d(4, 2), torch.randn(2, 4, 6, 6, requires_grad=True)
    layer(x).sum().backward()
    assert [call["grad_x"] is not None for call in calls] == [False, True]
    assert calls[1]["grad_x"] == x.grad.data_ptr() and calls[1]["grad_average_x"] is not None


def test_detached_head():
    """Parameters that carry no gradient: the input's is that through the windows alone, and no sums are made."""
    from gausspool.torch import functional
    layer, x = GaussianPooling2d(4, 2, stochasticity=None).double(), torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    layer.ToMean.register_forward_hook(lambda module, inputs, output: output.detach())
    mu = layer.ToMean(layer.ToHidden(x))
    expected = torch.autograd.grad(functional.sampled_gaussian_pool2d(x, mu, None, 2, training=False).square().sum(), x)
    torch.testing.assert_close(torch.autograd.grad(layer(x).square().sum(), x), expected)


def test_two_layers_share_an_input():
    """Each has its own links; the input's gradient is the sum."""
    layers = [GaussianPooling2d(4, 2).double(), MaxEntPooling2d(4, 2).double()]
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    parts = []
    for layer in layers:
        torch.manual_seed(1)
        parts.append(torch.autograd.grad(layer(x).pow(2).sum(), x)[0])
    torch.manual_seed(1)
    first = layers[0](x)
    total = torch.autograd.grad(first.pow(2).sum() + layers[1](x).pow(2).sum(), x)[0]
    torch.testing.assert_close(total, sum(parts))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_input_of_float32_layer(dtype):
    layer = GaussianPooling2d(8, 3, 2, 1)
    x = torch.randn(4, 8, 9, 9).to(dtype)
    torch.manual_seed(1)
    wide = x.float().requires_grad_()
    expected = layer(wide)
    torch.manual_seed(1)
    narrow = x.clone().requires_grad_()
    y = layer(narrow)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=2.0**-7, atol=1e-3)
    y.float().sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(narrow.grad.float(), wide.grad, rtol=2.0**-6, atol=2e-2)


def test_eval_takes_a_batch_of_one_and_draws_nothing():
    layer = GaussianPooling2d(4, 2).eval()
    x = torch.randn(1, 4, 6, 6)
    state = torch.get_rng_state()
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(layer(x)[0], layer(x[0]))
    assert torch.equal(state, torch.get_rng_state())


def test_published_checkpoint_loads(tmp_path):
    """A net's state dict, written by one with the plain layer, gives the same outputs in one with ours."""
    def net(pooling):
        return nn.Sequential(nn.Conv2d(3, 6, 3), pooling)

    published = net(plain.GaussianPooling2d(6, 3))
    torch.save(published.state_dict(), tmp_path / "net.pth")
    ours = net(GaussianPooling2d(6, 2))
    ours.load_state_dict(torch.load(tmp_path / "net.pth"))
    x = torch.randn(2, 3, 9, 9)
    expected = published.eval()[1](published[0](x), ours.eval()[1]._describe())
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments, error, message", [
    ({"kernel_size": 0}, ValueError, "kernel_size: expected at least 1, found 0"),
    ({"kernel_size": (2, 2, 2)}, TypeError, "kernel_size: expected an integer or two"),
    ({"kernel_size": 2, "padding": 2}, ValueError, "padding: expected at most half of kernel_size"),
    ({"kernel_size": 2, "stochasticity": "HW"}, ValueError, "stochasticity: expected one of HWCN, CN, none or None, found 'HW'"),
    ({"kernel_size": 2, "eps": 0.0}, ValueError, "eps: expected a finite number above 0"),
    ({"kernel_size": 2, "hidden_node": 0}, ValueError, "hidden_node: expected at least 1, found 0"),
])
def test_wrong_options(arguments, error, message):
    with pytest.raises(error, match=message):
        GaussianPooling2d(4, **arguments)


def test_wrong_input():
    layer = GaussianPooling2d(4, 2)
    with pytest.raises(ValueError, match="expected 4 channels, found 3"):
        layer(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="hidden_node: expected it to be given"):
        GaussianPooling2d(1, 2)
    with pytest.raises(TypeError, match="num_features: expected an integer, found 4.0"):
        GaussianPooling2d(4.0, 2)
