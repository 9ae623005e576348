"""The small layers that turn the global average into parameters."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .onnx import exporting


def _find_mkldnn_linear():
    """What torch.utils.mkldnn runs Linear layers on; only for PyTorch 1 without MKL, Debian's: torch.compile, torch.export and
    torch.func, which came later, do not know oneDNN's own tensors."""
    if torch.backends.mkl.is_available() or not torch.backends.mkldnn.is_available() or torch.__version__.split(".")[0] != "1":
        return None
    return getattr(torch._C._nn, "mkldnn_linear", None)


_mkldnn_linear = _find_mkldnn_linear()


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Nothing that oneDNN's own tensors do not know: other types, no elements, anomaly mode's look at each gradient, autocast."""
    return x.dtype == weight.dtype == torch.float32 and len(x) > 0 and not (torch.is_anomaly_enabled() or
                                                                            torch.is_autocast_cpu_enabled())


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """F.linear of (n, c), by oneDNN where that is worth it: PyTorch's own matrix product may be a plain loop, and a convolution
    would lay out large weights anew for every pass."""
    if _mkldnn_linear is None or x.device.type != "cpu" or not _plain(x, weight):
        return F.linear(x, weight, bias)
    return _mkldnn_linear(x.to_mkldnn(), weight, bias).to_dense()


class PointwiseConv2d(nn.Conv2d):
    """``nn.Conv2d(in_channels, out_channels, 1)``, on the CPU and CUDA a matrix product where the maps have one element: faster, and
    on CUDA in float32 by default, where convolutions are rounded to TF32. Parameters, hooks and parametrisations are Conv2d's."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if exporting() or torch.jit.is_tracing() or input.device.type not in ("cpu", "cuda") or bias is None:
            return super()._conv_forward(input, weight, bias)
        if input.dim() != 4 or input.shape[2:] != (1, 1):
            return super()._conv_forward(input, weight, bias)
        return _linear(input.flatten(1), weight.flatten(1), bias)[:, :, None, None]
