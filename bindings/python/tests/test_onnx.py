"""ONNX export: the formulation in standard operators against the operator, and exported nets in onnxruntime."""
import io
import random

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from gausspool.torch import (GaussianPooling2d, MaxEntPooling2d, avg_pool2d, gated_pool2d, gaussian_pool2d,  # noqa: E402
                             lp_pool2d, max_entropy_pool2d, max_pool2d, mixed_pool2d, sampled_gaussian_pool2d, soft_pool2d,
                             stochastic_pool2d)
from gausspool.torch.onnx import exporting, plain_average, plain_pool  # noqa: E402

# The TorchScript exporter is the only one of PyTorch 1.13; the newest has both.
TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
EXPORTERS = ["script", "dynamo"] if TORCH_VERSION >= (2, 6) else ["script"]

# What the exporters say of themselves.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{what}") for what in (
    ":torch.jit.TracerWarning", ":DeprecationWarning", ":FutureWarning", "The shape inference of prim:UserWarning",
    "Constant folding:UserWarning")]


# ---- The formulation ------------------------------------------------------------------------

def operators(weight, mask, where):
    """The library's functions at inference, by the kind's name in plain_pool."""
    kernel, stride, padding, ceil_mode, include = where
    windows, all_ = (kernel, stride, padding, ceil_mode), (kernel, stride, padding, ceil_mode, include)
    return {
        "weighted": lambda x: gaussian_pool2d(x, weight, *all_),
        "average": lambda x: avg_pool2d(x, *all_),
        "max": lambda x: max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode),
        "max_entropy": lambda x: max_entropy_pool2d(x, weight, *windows),
        "softpool": lambda x: soft_pool2d(x, *windows),
        "stochastic": lambda x: stochastic_pool2d(x, *windows, training=False),
        "mixed": lambda x: mixed_pool2d(x, weight, *all_),
        "gated": lambda x: gated_pool2d(x, mask, *all_),
        "lp": lambda x: lp_pool2d(x, 3.0, kernel, stride, ceil_mode, padding, include),
    }


def random_case(rng):
    """Kernel, stride, padding, ceil_mode, count_include_pad, and a shape that they fit."""
    kernel, stride = ((rng.randint(1, 4), rng.randint(1, 4)) for _ in range(2))
    padding = tuple(rng.randint(0, size // 2) for size in kernel)
    sides = [max(size - 2 * pad, 1) + rng.randint(0, 9) for size, pad in zip(kernel, padding)]
    return (kernel, stride, padding, rng.random() < 0.5, rng.random() < 0.5), (rng.randint(1, 3), rng.randint(1, 5), *sides)


def test_the_formulation_is_the_operator():
    """In float64, also beside means that would swallow the deviation."""
    rng = random.Random(20)
    torch.manual_seed(20)
    for number in range(150):
        where, shape = random_case(rng)
        x = torch.randn(shape, dtype=torch.float64) + rng.choice([0.0, 1e4])
        if rng.random() < 0.1:
            x = x.round()  # constant windows
        weight = torch.rand(*shape[:2], 1, 1, dtype=torch.float64)
        mask = 1e-3 * torch.randn(shape[1], *where[0], dtype=torch.float64)
        for kind, operator in operators(weight, mask, where).items():
            found = plain_pool(kind, x, *where, weight=mask if kind == "gated" else weight, norm=3.0)
            torch.testing.assert_close(found, operator(x), rtol=1e-10, atol=1e-10, msg=lambda text: f"{number} {kind} {where} {text}")


@pytest.mark.parametrize("dtype, mean, tolerance", [(torch.float32, 1e4, 1e-6), (torch.float16, 3e4, 1e-3)])
def test_deviation_beside_a_large_mean(dtype, mean, tolerance):
    """Two average poolings of x and of its squares would give 0 or NaN here."""
    x = (mean + torch.tensor([[[[0.0, 64.0], [64.0, 0.0]]]])).to(dtype)
    y = plain_pool("weighted", x, 2, weight=torch.tensor(1.0))
    assert y.dtype == dtype
    assert y.item() == pytest.approx(mean + 64, rel=tolerance)


def test_constant_windows_have_no_deviation():
    """Though their mean is rounded."""
    torch.manual_seed(5)
    x = (1e4 * torch.rand(1, 200, 1, 1)).expand(1, 200, 3, 3)
    torch.testing.assert_close(plain_pool("weighted", x, 3, weight=torch.tensor(1e3), eps=1e-30), x[..., :1, :1], rtol=1e-6, atol=0)


def test_average():
    x = torch.rand(2, 3, 5, 4)
    torch.testing.assert_close(plain_average(x), x.mean((2, 3)))
    assert plain_average(x.half()).dtype == torch.float32


def test_wrong_arguments():
    with pytest.raises(ValueError, match="expected one of weighted, average.*found 'median'"):
        plain_pool("median", torch.zeros(1, 1, 4, 4), 2)
    with pytest.raises(TypeError, match="weight: mixed needs it"):
        plain_pool("mixed", torch.zeros(1, 1, 4, 4), 2)


# ---- Exported nets --------------------------------------------------------------------------

class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x):
        return self.function(x)


def export(net, x, exporter, dynamic=False):
    """The file's bytes."""
    options = {} if TORCH_VERSION < (2, 1) else {"dynamo": exporter == "dynamo"}
    if dynamic and exporter == "dynamo":
        batch, height, width = (torch.export.Dim(name, min=low) for name, low in (("batch", 1), ("height", 8), ("width", 8)))
        options["dynamic_shapes"] = ({0: batch, 2: height, 3: width},)
    elif dynamic:
        options["dynamic_axes"] = {"x": {0: "batch", 2: "height", 3: "width"}}
    if exporter == "dynamo":
        pytest.importorskip("onnxscript")
        program = torch.onnx.export(net, (x,), input_names=["x"], **options)
        return program.model_proto.SerializeToString()
    file = io.BytesIO()
    torch.onnx.export(net, (x,), file, input_names=["x"], opset_version=13, **options)
    return file.getvalue()


def session_of(model):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(model, providers=["CPUExecutionProvider"])  # refuses operators that are not standard


def assert_agrees(session, net, x):
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), net(x), rtol=1e-5, atol=1e-5)


def trained(layer):
    """With running statistics and weights other than the first ones."""
    for _ in range(3):
        layer(torch.randn(8, layer.num_features, 9, 9) * 3 + 1)
    return layer.eval()


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("make", [
    lambda: GaussianPooling2d(6, 2), lambda: GaussianPooling2d(6, 3, 2, 1), lambda: GaussianPooling2d(6, (3, 2), (2, 3), 1, True),
    lambda: GaussianPooling2d(6, 3, 2, 1, True, count_include_pad=False, stochasticity="CN"), lambda: MaxEntPooling2d(6, 3, 2, 1)],
    ids=["2x2", "padded", "ceil_mode", "exclude_pad", "max_entropy"])
def test_layers(make, exporter):
    torch.manual_seed(1)
    layer = trained(make())
    x = torch.randn(2, 6, 11, 8) * 2
    assert_agrees(session_of(export(layer, x, exporter)), layer, x)
    assert not exporting()


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_dynamic_sizes(exporter):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), trained(GaussianPooling2d(6, 3, 2, 1, ceil_mode=True)), nn.ReLU(),
                        trained(GaussianPooling2d(6, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    session = session_of(export(net, torch.randn(2, 3, 20, 18), exporter, dynamic=True))
    for shape in ((2, 3, 20, 18), (1, 3, 20, 18), (5, 3, 33, 16), (3, 3, 12, 27)):
        assert_agrees(session, net, torch.randn(shape))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_functions(exporter):
    """All in one net, which is exported once."""
    torch.manual_seed(3)
    where, weight = ((3, 2), (2, 2), (1, 0), True, False), torch.rand(2, 5, 1, 1)
    functions = list(operators(weight, 0.1 * torch.randn(5, 3, 2), where).values())
    mu, sigma = torch.randn(2, 5), torch.rand(5)
    functions += [lambda x, kind=kind: sampled_gaussian_pool2d(x, mu, sigma, *where, stochasticity="none", kind=kind)
                  for kind in ("isp_gaussian", "gaussian", "half_gaussian")]
    net = Call(lambda x: torch.stack([function(x) for function in functions]))
    x = torch.randn(2, 5, 8, 9)
    assert_agrees(session_of(export(net, x, exporter)), net, x)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_accuracy_of_float32_beside_a_large_mean(exporter):
    torch.manual_seed(4)
    x = torch.randn(1, 3, 8, 8) + 1e4
    net = Call(lambda x: gaussian_pool2d(x, 100.0, 2))
    (found,) = session_of(export(net, x, exporter)).run(None, {"x": x.numpy()})
    exact = gaussian_pool2d(x.double(), 100.0, 2)
    torch.testing.assert_close(torch.from_numpy(found).double(), exact, rtol=1e-5, atol=0)


def test_drawing_is_not_exported():
    """The TorchScript exporter puts a net into eval mode by itself, unless told not to."""
    x = torch.randn(2, 3, 8, 8)
    net = Call(lambda x: sampled_gaussian_pool2d(x, 0.0, 1.0, 2))
    with pytest.raises(Exception, match="eval"):
        export(net, x, "script")
