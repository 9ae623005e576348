"""Arguments of the public functions: checked, and in the one form that the operators take."""
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from ._describe import DTYPES, Pooling, memory_format_of, output_shape, param_dtype

Size2d = Union[int, Sequence[int]]
Param = Union[float, Tensor]

STOCHASTICITIES = ("HWCN", "CN", "none")
# Exclusive; not to be changed lightly. Inductor's Triton code may narrow it to the type of indices, 32 bits, and take random bits modulo
# what is left of it: of this bound that is -1, the modulus 2^64 - 1, and keys are any 64 bits, which is as good. Of 2^62, say, zero is left.
_LARGEST_SEED = 2**63 - 1


def pair(value: Size2d, name: str, least: int) -> Tuple[int, int]:
    """(height, width) from a number for both, or a sequence of one or two."""
    values = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else None
    if values is not None and len(values) == 1:
        values = values * 2
    if values is None or len(values) != 2 or not all(isinstance(number, int) for number in values):
        raise TypeError(f"{name}: expected an integer or two of them, found {value!r}")
    if min(values) < least:
        raise ValueError(f"{name}: expected at least {least}, found {value!r}")
    return values[0], values[1]


def windows(kernel_size: Size2d, stride: Optional[Size2d], padding: Size2d) -> Tuple[Tuple[int, int], ...]:
    """kernel_size, stride and padding as pairs, with the rules of torch.nn.AvgPool2d."""
    kernel = pair(kernel_size, "kernel_size", 1)
    step = kernel if stride is None or stride == [] else pair(stride, "stride", 1)
    around = pair(padding, "padding", 0)
    if any(2 * pad > size for pad, size in zip(around, kernel)):
        raise ValueError(f"padding: expected at most half of kernel_size {kernel}, found {around}")
    return kernel, step, around


def stochasticity(value: Optional[str]) -> str:
    """"HWCN", "CN" or "none"; None is the published spelling of the last."""
    if value is None:
        return "none"
    if value not in STOCHASTICITIES:
        raise ValueError(f"stochasticity: expected one of {', '.join(STOCHASTICITIES)} or None, found {value!r}")
    return value


def number(value: Any, name: str, least: float) -> float:
    """A float of at least `least`; above it if that is 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, found {value!r}")
    if not (value >= least and value > 0 and value < float("inf")):
        bound = f"at least {least}" if least > 0 else "above 0"
        raise ValueError(f"{name}: expected a finite number {bound}, found {value!r}")
    return float(value)


def describe_pooling(kind: str, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                     ceil_mode: bool = False, count_include_pad: bool = True, eps: float = 1e-6, norm: float = 2.0,
                     draws: str = "none") -> Pooling:
    kernel, step, around = windows(kernel_size, stride, padding)
    return Pooling(kind, kernel, step, around, bool(ceil_mode), bool(count_include_pad), number(eps, "eps", 0),
                   number(norm, "norm_type", 1), draws)


def check_input(x: Any, pooling: Pooling) -> Tensor:
    """The input as [n][c][h][w]: (N, C, H, W) as it is, (C, H, W) with a batch of one."""
    if not isinstance(x, Tensor):
        raise TypeError(f"input: expected a tensor, found {type(x).__name__}")
    if x.dtype not in DTYPES:
        raise TypeError(f"input: expected one of {', '.join(map(str, DTYPES))}, found {x.dtype}")
    if x.layout != torch.strided:
        raise TypeError(f"input: expected a dense tensor, found {x.layout}")
    if x.dim() not in (3, 4):
        raise ValueError(f"input: expected (N, C, H, W) or (C, H, W), found {tuple(x.shape)}")
    x = x.unsqueeze(0) if x.dim() == 3 else x
    if torch.jit.is_tracing():  # sizes are not numbers there, and the operator checks them too
        return x
    if 0 in x.shape[1:]:
        raise ValueError(f"input: expected at least one channel, row and column, found {tuple(x.shape)}")
    if min(output_shape(x, pooling)[2:]) < 1:
        raise ValueError(f"input: expected an image that kernel_size {tuple(pooling.kernel_size)} fits into with padding "
                         f"{tuple(pooling.padding)}, found {tuple(x.shape[2:])}")
    return x


def as_param(value: Param, x: Tensor, name: str) -> Tensor:
    """mu, sigma or weight as [n or 1][c or 1] of param_dtype(), or still as (N, C, H', W') where it varies over positions."""
    if not isinstance(value, Tensor):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name}: expected a number or a tensor, found {value!r}")
        return torch.full((1, 1), float(value), dtype=param_dtype(x.dtype), device=x.device)
    if value.device != x.device:
        raise ValueError(f"{name}: expected it on the input's device {x.device}, found {value.device}")
    if not value.is_floating_point():
        raise TypeError(f"{name}: expected floating point, found {value.dtype}")
    shape = {0: (1, 1), 1: (1, -1)}.get(value.dim(), value.shape)
    value = value.reshape(shape)
    if value.dim() == 3:
        value = value.unsqueeze(0)
    if value.dim() == 4 and value.shape[2:] == (1, 1):
        value = value.flatten(1)
    fits = value.dim() in (2, 4) and value.shape[0] in (1, x.shape[0]) and value.shape[1] in (1, x.shape[1])
    if not fits:
        raise ValueError(f"{name}: expected one value, (C,), (N, C), (N, C, 1, 1) or a shape that broadcasts so, with N = "
                         f"{x.shape[0]} and C = {x.shape[1]}, found {tuple(value.shape)}")
    return value


def small_param(value: Param, x: Tensor, name: str) -> Tensor:
    """mu or sigma: [n or 1][c or 1], dense, of param_dtype()."""
    found = as_param(value, x, name)
    if found.dim() != 2:
        raise ValueError(f"{name}: expected no rows and columns, found {tuple(found.shape)}")
    return found.to(param_dtype(x.dtype)).contiguous()


def weight_param(value: Param, x: Tensor, pooling: Pooling, name: str = "weight") -> Tensor:
    """As small_param(); or where it varies over positions, as y: its shape, type and memory order."""
    found = as_param(value, x, name)
    if found.dim() == 2:
        return found.to(param_dtype(x.dtype)).contiguous()
    shape = output_shape(x, pooling)
    if any(size not in (1, whole) for size, whole in zip(found.shape, shape)):
        raise ValueError(f"{name}: expected a shape that broadcasts to the output's {tuple(shape)}, found {tuple(found.shape)}")
    # Broadcast before it is rounded, so that the gradient is summed after it is widened.
    return found.expand(shape).to(x.dtype).contiguous(memory_format=memory_format_of(x))


def same_shape(params: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """mu and sigma broadcast against each other."""
    if len({param.shape for param in params.values()}) < 2:
        return params
    return {name: param.contiguous() for name, param in zip(params, torch.broadcast_tensors(*params.values()))}


def gate_mask(mask: Tensor, x: Tensor, pooling: Pooling) -> Tensor:
    """[1 or c][kernel height][kernel width], dense, of param_dtype()."""
    kernel = tuple(pooling.kernel_size)
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask: expected a tensor, found {type(mask).__name__}")
    fits = mask.dim() == 2 or (mask.dim() == 3 and mask.shape[0] in (1, x.shape[1]))
    if not fits or tuple(mask.shape[-2:]) != kernel:
        raise ValueError(f"mask: expected {kernel} or (C, {kernel[0]}, {kernel[1]}) with C = {x.shape[1]}, found "
                         f"{tuple(mask.shape)}")
    mask = mask.unsqueeze(0) if mask.dim() == 2 else mask
    return mask.to(param_dtype(x.dtype)).contiguous()


def check_export(pooling: Pooling) -> None:
    """ONNX has no such draws; to export the form for inference in their place would be silent about it."""
    if pooling.stochasticity != "none":
        raise RuntimeError(f"gausspool: {pooling.kind} pooling with draws ({pooling.stochasticity}) cannot be exported. "
                           "Export in eval mode (net.eval(); training=False for the functions)")


def draw_seed(x: Tensor, generator: Optional[torch.Generator] = None) -> Tensor:
    """[1] key of a call's draws, from PyTorch's generator of x's device: torch.manual_seed governs it, and whatever saves and
    restores that generator (gradient checkpointing) gets the same draws again. On CUDA the key stays on the device: the generator
    makes another one each time that a captured CUDA graph is replayed. A generator on the CPU may be passed for any device."""
    device = x.device if x.is_cuda and (generator is None or generator.device.type != "cpu") else torch.device("cpu")
    return torch.randint(0, _LARGEST_SEED, (1,), dtype=torch.int64, device=device, generator=generator)
