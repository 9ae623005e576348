"""A pooling as PyTorch's arguments have it, and as the C library's descriptor has it: shapes, memory orders, strides."""
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .. import _library

_DTYPES = {torch.float32: _library.FLOAT32, torch.float64: _library.FLOAT64, torch.bfloat16: _library.BFLOAT16,
           torch.float16: _library.FLOAT16}
DTYPES = tuple(_DTYPES)
_GRAIN = 32768  # elements that pay for another thread, as PyTorch reckons


class Pooling(NamedTuple):
    """What to compute; the operators' arguments after the tensors, in their order."""

    kind: str
    kernel_size: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    ceil_mode: bool
    count_include_pad: bool
    eps: float
    norm: float
    stochasticity: str

    def param_names(self) -> Tuple[str, ...]:
        """The parameters that a guided pooling is given: those of the kind that take part in this call."""
        if self.kind == "max_entropy":
            return ("weight",)
        if self.kind == "half_gaussian":
            return ("sigma",)
        return ("mu",) if self.stochasticity == "none" else ("mu", "sigma")


def param_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type of mu, sigma, weight and averages beside tensors of a type."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _output_length(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    room = size + 2 * padding - kernel
    if not ceil_mode:
        return room // stride + 1
    length = (room + stride - 1) // stride + 1
    if (length - 1) * stride >= size + padding:  # the last window must begin in x or in the padding before it
        length -= 1
    return length


def output_shape(x: Tensor, pooling: Pooling) -> Tuple[int, int, int, int]:
    """[n][c][h'][w']"""
    height, width = (_output_length(x.shape[2 + axis], pooling.kernel_size[axis], pooling.stride[axis], pooling.padding[axis],
                                    pooling.ceil_mode) for axis in range(2))
    return x.shape[0], x.shape[1], height, width


# ---- Memory orders --------------------------------------------------------------------------

def memory_format_of(x: Tensor) -> torch.memory_format:
    """The order that the operator reads x in, and gives its outputs: the one that needs no copy of x, if there is one."""
    if x.is_contiguous():
        return torch.contiguous_format
    if x.is_contiguous(memory_format=torch.channels_last) or (x.stride(3) != 1 and x.stride(1) == 1):
        return torch.channels_last
    return torch.contiguous_format


def readable(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """x itself, or a copy where the operator could read it only slowly: not side by side along the innermost axis."""
    inner = 1 if memory_format == torch.channels_last else 3
    side_by_side = x.stride(inner) == 1 or x.shape[inner] == 1
    # A value expanded along every axis has strides of zero, which to the library mean a dense tensor.
    if side_by_side and any(x.stride()):
        return x
    return x.contiguous(memory_format=memory_format)


def _strides(x: Optional[Tensor]) -> _library.Strides:
    return _library.Strides() if x is None else _library.Strides(*x.stride())


def _threads(x: Tensor) -> int:
    return min(torch.get_num_threads(), 1 + x.numel() // _GRAIN)


# ---- The descriptor -------------------------------------------------------------------------

def _param_shape(param: Optional[Tensor], batch: int, channels: int) -> int:
    """How mu, sigma and weight broadcast: they come as [n or 1][c or 1], as the output's shape, or as a gating mask
    [c or 1][kernel height][kernel width]."""
    if param is None:
        return _library.PARAM_SHAPES["ONE"]
    if param.dim() == 4:
        return _library.PARAM_SHAPES["NCHW"]
    if param.dim() == 3:
        return _library.PARAM_SHAPES["ONE" if param.shape[0] == 1 else "C"]
    names = {(batch, channels): "NC", (1, channels): "C", (batch, 1): "N", (1, 1): "ONE"}
    return _library.PARAM_SHAPES[names[param.shape[0], param.shape[1]]]


def describe(x: Tensor, pooling: Pooling, param: Optional[Tensor], seed: int,
             memory_format: torch.memory_format, grad_y: Optional[Tensor] = None) -> _library.PoolDesc:
    """For x and grad_y as they lie in memory, and dense outputs. `param` is any of mu, sigma and weight."""
    pair = _library.ctypes.c_int32 * 2
    batch, channels, height, width = x.shape
    return _library.PoolDesc(
        kind=_library.KINDS[pooling.kind], dtype=_DTYPES[x.dtype],
        layout=_library.NHWC if memory_format == torch.channels_last else _library.NCHW,
        batch=batch, channels=channels, height=height, width=width, kernel=pair(*pooling.kernel_size),
        stride=pair(*pooling.stride), padding=pair(*pooling.padding), ceil_mode=pooling.ceil_mode,
        pad_count=0 if pooling.count_include_pad else 1, eps=pooling.eps, norm=pooling.norm,
        param_shape=_param_shape(param, batch, channels),
        stochasticity=_library.STOCHASTICITIES[pooling.stochasticity],
        seed=seed, x_stride=_strides(x), grad_y_stride=_strides(grad_y),
        threads=_threads(x))


def describe_average(x: Tensor, memory_format: torch.memory_format) -> _library.PoolDesc:
    """The mean of each channel over all positions."""
    pair = _library.ctypes.c_int32 * 2
    batch, channels, height, width = x.shape
    return _library.PoolDesc(
        kind=_library.KINDS["average"], dtype=_DTYPES[x.dtype],
        layout=_library.NHWC if memory_format == torch.channels_last else _library.NCHW,
        batch=batch, channels=channels, height=height, width=width, adaptive=pair(1, 1), x_stride=_strides(x),
        threads=_threads(x))
