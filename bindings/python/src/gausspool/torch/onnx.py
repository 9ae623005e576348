"""The poolings at inference in PyTorch's own operators, for ONNX export.

``torch.onnx.export`` cannot look into an operator of this library. While it runs, the functional forms and the layers compute by this
module instead, so that a net in eval mode exports with no more than

    torch.onnx.export(net.eval(), x, "net.onnx")

and the file holds standard operators alone. The windows are laid out by strided slices, and the deviation is summed from the
differences to the window's mean: the shorter formula E[x²] − E[x]² by two average poolings loses every digit of a small deviation
beside a large mean. Slices have no shapes in them, so batch and image size may be exported as dynamic.
"""
from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["exporting", "plain_average", "plain_pool"]

_Size = Union[int, Sequence[int]]
# A window's elements in the tensors of _unfold, [n][c][kernel row][row][kernel column][column].
_WINDOW = (2, 4)


def exporting() -> bool:
    """Whether ``torch.onnx.export`` is tracing. Under ``torch.compile`` always false."""
    return torch.onnx.is_in_onnx_export()


def plain_average(x: Tensor) -> Tensor:
    """Means over rows and columns, (N, C, H, W) to (N, C); of 16-bit types in float32.

    >>> plain_average(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    tensor([[3.]])
    """
    return _wide(x).mean((2, 3))


def plain_pool(kind: str, x: Tensor, kernel_size: _Size, stride: Optional[_Size] = None, padding: _Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True, weight: Optional[Tensor] = None, eps: float = 1e-6,
               norm: float = 2.0) -> Tensor:
    """A pooling as at inference, of x (N, C, H, W) into (N, C, H', W').

    ``kind`` is one of ``weighted`` (mean + weight · deviation), ``average``, ``max``, ``max_entropy`` (weight is λ), ``softpool``,
    ``stochastic``, ``mixed`` (weight is the maximum's share), ``gated`` (weight is the mask, (kh, kw) or (C, kh, kw)) and ``lp``. The others'
    weight broadcasts against the output. Windows and divisor are those of ``torch.nn.AvgPool2d``.

    >>> plain_pool("weighted", torch.tensor([[[[0.0, 2.0], [2.0, 0.0]]]]), 2, weight=torch.tensor(0.5)).item()
    1.5
    """
    if kind not in _KINDS:
        raise ValueError(f"kind: expected one of {', '.join(_KINDS)}, found {kind!r}")
    values = _wide(x)
    kernel, paddings = _pair(kernel_size), _pair(padding)
    strides = kernel if stride is None else _pair(stride)
    if kind not in _NEEDS_WEIGHT:
        weight = values.new_ones(())
    elif weight is None:
        raise TypeError(f"weight: {kind} needs it, found None")
    weight = weight.to(values.dtype)
    if kind != "gated":
        while weight.dim() < 4:
            weight = weight.unsqueeze(0)
        weight = weight[:, :, None, :, None, :]
    windows = _make_windows(values, kernel, strides, paddings, ceil_mode, count_include_pad)
    y = _KINDS[kind](windows, weight, eps, norm)
    return y.squeeze(4).squeeze(2).to(x.dtype)


# ---- Windows --------------------------------------------------------------------------------

class _Windows(NamedTuple):
    """Elements of all windows, zeros where there is none, and what of them counts: None means all."""

    values: Tensor
    real: Optional[Tensor]  # 1 for elements of x, 0 for others
    counted: Optional[Tensor]  # 1 for elements that the mean's divisor counts
    kernel: Tuple[int, int]

    def sum(self, values: Tensor) -> Tensor:
        return values.sum(_WINDOW, keepdim=True)

    def divisor(self) -> Union[Tensor, int]:
        return self.kernel[0] * self.kernel[1] if self.counted is None else self.sum(self.counted)

    def only_counted(self, values: Tensor) -> Tensor:
        """Values, zero where they do not count for the mean."""
        return values if self.counted is None else values * self.counted

    def only_real(self, values: Tensor, other: float) -> Tensor:
        return values if self.real is None else values.masked_fill(self.real == 0, other)


def _make_windows(x: Tensor, kernel: Tuple[int, int], stride: Tuple[int, int], padding: Tuple[int, int], ceil_mode: bool,
                  count_include_pad: bool) -> _Windows:
    # PyTorch's last window in ceil_mode is the last that begins before the right padding: as if the right side were padded
    # by so much more, whatever x's size.
    after = [min(k - 1, p + s - 1) if ceil_mode else p for k, s, p in zip(kernel, stride, padding)]
    sides = (padding[1], after[1], padding[0], after[0])
    unfold = lambda padded: _unfold(padded, kernel, stride)
    ones = torch.ones_like(x[:1, :1])
    real = unfold(F.pad(ones, sides)) if any(sides) else None
    counted = real
    if count_include_pad:
        beyond = (0, after[1] - padding[1], 0, after[0] - padding[0])
        within = F.pad(ones, (padding[1], padding[1], padding[0], padding[0]), value=1.0)
        counted = unfold(F.pad(within, beyond)) if any(beyond) else None
    return _Windows(unfold(F.pad(x, sides) if any(sides) else x), real, counted, kernel)


def _unfold(x: Tensor, kernel: Tuple[int, int], stride: Tuple[int, int]) -> Tensor:
    """[n][c][h][w] to [n][c][kernel row][row][kernel column][column]."""
    columns = torch.stack([x[:, :, :, _every(i, kernel[1], stride[1])] for i in range(kernel[1])], dim=3)
    return torch.stack([columns[:, :, _every(i, kernel[0], stride[0])] for i in range(kernel[0])], dim=2)


def _every(first: int, kernel: int, stride: int) -> slice:
    """Element `first` of every window along an axis."""
    return slice(first, first - kernel + 1 or None, stride)


# ---- Kinds: each takes windows, weight (1 where the kind has none), eps, norm and gives [n][c][1][h'][1][w'] ----

def _weighted(windows: _Windows, weight: Tensor, eps: float, *_unused: object) -> Tensor:
    divisor = windows.divisor()
    mean = windows.sum(windows.only_counted(windows.values)) / divisor
    difference = windows.only_counted(windows.values - mean)
    # What rounding left of the mean: a constant window then has no variance.
    rest = windows.sum(difference) / divisor
    variance = windows.sum(difference * difference) / divisor - rest * rest
    return mean + weight * variance.clamp(min=eps).sqrt()


def _average(windows: _Windows, *_unused: object) -> Tensor:
    return windows.sum(windows.only_counted(windows.values)) / windows.divisor()


def _max(windows: _Windows, *_unused: object) -> Tensor:
    return windows.only_real(windows.values, -float("inf")).amax(_WINDOW, keepdim=True)


def _max_entropy(windows: _Windows, weight: Tensor, *_unused: object) -> Tensor:
    logits = windows.only_real(windows.values * weight, -float("inf"))
    shares = (logits - logits.amax(_WINDOW, keepdim=True)).exp()
    return windows.sum(shares * windows.values) / windows.sum(shares)


def _stochastic(windows: _Windows, *_unused: object) -> Tensor:
    positive = windows.values.relu()
    total = windows.sum(positive)
    real = torch.ones_like(windows.values) if windows.real is None else windows.real
    equal = windows.sum(windows.values) / windows.sum(real)
    some = total > 0
    shared = windows.sum(positive * windows.values) / torch.where(some, total, torch.ones_like(total))
    return torch.where(some, shared, equal)


def _mixed(windows: _Windows, weight: Tensor, *_unused: object) -> Tensor:
    return weight * _max(windows) + (1 - weight) * _average(windows)


def _gated(windows: _Windows, weight: Tensor, *_unused: object) -> Tensor:
    mask = weight.reshape(1, -1, windows.kernel[0], 1, windows.kernel[1], 1)
    return _mixed(windows, windows.sum(mask * windows.values).sigmoid())


def _lp(windows: _Windows, weight: Tensor, eps: float, norm: float) -> Tensor:
    powers = windows.sum(windows.values.abs() ** norm) / windows.divisor()
    return (powers * (windows.kernel[0] * windows.kernel[1])) ** (1 / norm)


_KINDS: Dict[str, Callable[..., Tensor]] = {
    "weighted": _weighted, "average": _average, "max": _max, "max_entropy": _max_entropy, "softpool": _max_entropy,
    "stochastic": _stochastic, "mixed": _mixed, "gated": _gated, "lp": _lp,
}
_NEEDS_WEIGHT = ("weighted", "max_entropy", "mixed", "gated")


def _pair(size: _Size) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _wide(x: Tensor) -> Tensor:
    """16-bit types are computed in float32, as the operator does."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
