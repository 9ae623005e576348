"""What can be seen of the operators on CUDA without a device: shapes, memory orders, streams, errors."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gausspool
from gausspool import _library
from gausspool.torch import GaussianPooling2d, _arguments, _devices, functional

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
STREAM = 4711


# ---- Shapes alone ---------------------------------------------------------------------------

@pytest.fixture
def fake():
    """Tensors on "cuda" that have no elements."""
    if VERSION < (2, 4):
        pytest.skip(f"needs PyTorch 2.4, found {torch.__version__}")
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode():
        yield


def make_layer(layer, *arguments, **options):
    with torch.device("cuda"):
        return layer(*arguments, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shapes_types_and_orders(fake, dtype, memory_format):
    x = torch.empty(4, 8, 12, 10, device="cuda", dtype=dtype).to(memory_format=memory_format)
    for y in (make_layer(GaussianPooling2d, 8, 3, 2, 1)(x), functional.stochastic_pool2d(x, 3, 2, 1)):
        assert y.shape == (4, 8, 6, 5) and y.dtype == dtype and y.device == x.device
        assert y.is_contiguous(memory_format=memory_format)
    pooling = _arguments.describe_pooling("isp_gaussian", 3, 2, 1, draws="HWCN")
    params = [torch.empty(4, 8, device="cuda") for _ in range(2)]
    seed = torch.empty(1, dtype=torch.int64, device="cuda")
    grads = torch.ops.gausspool.pool_backward(y, x, *params, None, seed, params[0], True, True, *pooling)
    assert grads[0].stride() == x.stride() and grads[1].shape == grads[2].shape == (4, 8)
    assert all(grad.device == x.device for grad in grads)


def test_exported_and_compiled(fake):
    layer, x = make_layer(GaussianPooling2d, 8, 2), torch.empty(4, 8, 12, 10, device="cuda").to(memory_format=torch.channels_last)
    with torch.no_grad():
        exported = torch.export.export(layer, (x,))
        (value,) = (node.meta["val"] for node in exported.graph.nodes if "gausspool.pool" in str(node.target))
        assert value.device == x.device and value.is_contiguous(memory_format=torch.channels_last)
        # The draws' key is made on the device, so that nothing in the graph is on the CPU.
        assert all(node.meta["val"].device == x.device for node in exported.graph.nodes if "randint" in str(node.target))
        torch._dynamo.reset()
        y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    assert y.device == x.device and y.is_contiguous(memory_format=torch.channels_last)


def test_where_the_key_is_made(fake):
    x = torch.empty(1, 1, 2, 2, device="cuda")
    assert _arguments.draw_seed(x).device == x.device
    assert _arguments.draw_seed(x, torch.Generator()).device.type == "cpu"
    assert _arguments.draw_seed(torch.empty(1)).device.type == "cpu"


@pytest.mark.parametrize("device", ["mps", "xpu"])
def test_other_devices_are_refused(fake, device):
    x = torch.empty(2, 4, 6, 6, device=device)
    with pytest.raises(NotImplementedError, match=f"expected a tensor on the CPU or a CUDA device, found {device}"):
        functional.avg_pool2d(x, 2)


# ---- Calls ----------------------------------------------------------------------------------

class Capturing:
    """What torch.cuda would tell while a graph is captured on a stream of its own."""

    def __init__(self, monkeypatch, capturing):
        self.asked = []
        monkeypatch.setattr(torch.cuda, "current_stream", self.current_stream)
        monkeypatch.setattr(torch.cuda, "device", self.device)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)

    def current_stream(self, device):
        self.asked.append(device)
        return type("Stream", (), {"cuda_stream": STREAM})

    def device(self, device):
        return torch.autograd.profiler.record_function(str(device))


def test_calls_go_to_the_current_stream_of_the_inputs_device(monkeypatch):
    torch_cuda, seen = Capturing(monkeypatch, False), []
    for name in ("forward", "backward"):
        monkeypatch.setattr(_library, f"cuda_{name}_workspace", lambda desc: 100)
        monkeypatch.setattr(_library, f"cuda_{name}", lambda desc, stream, **addresses: seen.append((stream, addresses)))
    x, device = torch.zeros(1, 1, 2, 2), _devices.Cuda()
    device.forward(x, None, y=1)
    device.backward(x, None, x=2)
    assert [stream for stream, _ in seen] == [STREAM] * 2 and torch_cuda.asked == [x.device] * 2
    assert all(addresses["workspace"] % _library.WORKSPACE_ALIGNMENT == 0 for _, addresses in seen)
    assert seen[0][1]["y"] == 1 and seen[1][1]["x"] == 2


def test_key_of_the_cpu_is_refused_in_a_graph(monkeypatch):
    x, seed = torch.empty(1, 1, 2, 2, device="meta"), torch.tensor([5])  # an input that is not on the CPU
    Capturing(monkeypatch, False)
    assert _devices.Cuda().key(x, seed) == (5, None)
    Capturing(monkeypatch, True)
    with pytest.raises(RuntimeError, match="cannot be captured into a CUDA graph.*Use a generator on"):
        _devices.Cuda().key(x, seed)
    on_device = torch.tensor([5])
    assert _devices.Cuda().key(torch.empty(1), on_device) == (0, on_device.data_ptr())  # only its address is taken


def test_tensors_on_other_devices_are_refused():
    x, elsewhere = torch.empty(1, 1, 2, 2), torch.empty(1, 1, device="meta")
    with pytest.raises(ValueError, match="mu: expected it on the input's device cpu, found meta"):
        _devices.Cuda().check(x, {"sigma": None, "mu": elsewhere})
    with pytest.raises(ValueError, match="seed: expected it on cpu or the CPU, found meta"):
        _devices.Cuda().key(x, elsewhere)
    with pytest.raises(ValueError, match="weight: expected it on the input's device"):
        functional.gaussian_pool2d(x, elsewhere, 2)


MISSING = """
import torch
from gausspool.torch import _devices, functional
import gausspool
x = torch.rand(1, 1, 4, 4)
functional.avg_pool2d(x, 2)
print(gausspool.cuda_available())
_devices.DEVICES["cpu"] = _devices.Cuda()
functional.avg_pool2d(x, 2)
"""


def test_missing_library_is_named(tmp_path):
    """At the first use of CUDA; on the CPU nothing changes."""
    missing = tmp_path / "libgausspool_cuda.so.0"
    environment = {**os.environ, "GAUSSPOOL_CUDA_LIBRARY": str(missing), "PYTHONPATH": str(Path(gausspool.__file__).parents[1]),
                   "GAUSSPOOL_LIBRARY": str(Path(gausspool.library_path()).resolve())}
    done = subprocess.run([sys.executable, "-c", MISSING], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "False\n"
    error = done.stderr.splitlines()[-1]
    assert "GausspoolError: gausspool: pooling on CUDA needs libgausspool_cuda.so.0" in error and str(missing) in error
    assert "GAUSSPOOL_CUDA_LIBRARY" in error and "--config-settings=cmake.define.GAUSSPOOL_CUDA=ON" in error and ".cpu()" in error
