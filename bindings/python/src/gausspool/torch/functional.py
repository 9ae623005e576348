"""The poolings as functions, with the argument names of ``torch.nn.functional``.

All take the input as (N, C, H, W) or (C, H, W), of float32, float64, bfloat16 or float16, contiguous, channels-last or
sliced, and give (N, C, H', W') of the same type in the same memory order, H' and W' as
``torch.nn.functional.avg_pool2d`` has them. ``kernel_size``, ``stride`` (by default the kernel's) and ``padding`` are a
number or a pair (height, width). 16-bit inputs are computed in float32. What is drawn follows ``torch.manual_seed``, or
``generator`` if given: one of the input's device, or of the CPU, which draws the same for inputs on CUDA as for those on the CPU.

Inputs lie on the CPU or a CUDA device, and parameters beside them. On CUDA, work is queued on the current stream.

Wrong arguments raise ValueError or TypeError, which tell what was expected and what was found.
"""
import math
from typing import Dict, Optional, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from . import _arguments as arguments
from ._arguments import Param, Size2d
from ._describe import Pooling
from ._ops import pool
from .onnx import exporting, plain_pool

__all__ = ["avg_pool2d", "gated_pool2d", "gaussian_pool2d", "lp_pool2d", "max_entropy_pool2d", "max_pool2d", "mixed_pool2d",
           "sampled_gaussian_pool2d", "soft_pool2d", "stochastic_pool2d"]

_SAMPLED = ("isp_gaussian", "gaussian", "half_gaussian")


def gaussian_pool2d(input: Tensor, weight: Param, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                    ceil_mode: bool = False, count_include_pad: bool = True, eps: float = 1e-6) -> Tensor:
    """Window mean + weight · window deviation (T. Kobayashi, NeurIPS 2019, equation 1, with a weight of any origin).

    ``weight`` is a number, or a tensor with its own gradient: (C,), (N, C), (N, C, 1, 1), or (N, C, H', W') for one to
    each window; axes of length 1 broadcast. The deviation is sqrt(max(variance, eps)); where the clamp holds, no
    gradient goes through it.

    >>> x = torch.tensor([[[[0.0, 2.0], [2.0, 0.0]]]])
    >>> gaussian_pool2d(x, 0.5, kernel_size=2)
    tensor([[[[1.5000]]]])
    """
    pooling = arguments.describe_pooling("weighted", kernel_size, stride, padding, ceil_mode, count_include_pad, eps)
    x = arguments.check_input(input, pooling)
    return _like_input(input, _pool_weighted(x, pooling, arguments.weight_param(weight, x, pooling)))


def sampled_gaussian_pool2d(input: Tensor, mu: Optional[Param], sigma: Optional[Param], kernel_size: Size2d,
                            stride: Optional[Size2d] = None, padding: Size2d = 0, ceil_mode: bool = False,
                            count_include_pad: bool = True, stochasticity: Optional[str] = "HWCN", eps: float = 1e-6,
                            kind: str = "isp_gaussian", training: bool = True,
                            generator: Optional[torch.Generator] = None) -> Tensor:
    """Window mean + W · window deviation, W drawn from parameters (T. Kobayashi, NeurIPS 2019, section 2.3).

    With e ~ N(0, 1), and at inference (``training=False``, or stochasticity ``'none'``) the form on the right:

    ================  ==========================  ================
    ``kind``          W                           at inference
    ================  ==========================  ================
    isp_gaussian      softplus(mu + sigma · e)    softplus(mu)
    gaussian          mu + sigma · e              mu
    half_gaussian     abs(sigma · e)              sigma · sqrt(2/π)
    ================  ==========================  ================

    ``mu`` and ``sigma`` are numbers or tensors (C,), (N, C) or (N, C, 1, 1) with gradients. half_gaussian has no mu,
    and at inference the other two need no sigma: pass None. ``stochasticity`` is 'HWCN' (a draw for each output
    element), 'CN' (one for each sample and channel) or 'none', also spelled None.

    >>> x, mu, sigma = torch.rand(2, 3, 8, 8), torch.zeros(2, 3), torch.ones(2, 3)
    >>> sampled_gaussian_pool2d(x, mu, sigma, kernel_size=2).shape
    torch.Size([2, 3, 4, 4])
    """
    if kind not in _SAMPLED:
        raise ValueError(f"kind: expected one of {', '.join(_SAMPLED)}, found {kind!r}")
    draws = arguments.stochasticity(stochasticity) if training else "none"
    if not training:
        arguments.stochasticity(stochasticity)
    pooling = arguments.describe_pooling(kind, kernel_size, stride, padding, ceil_mode, count_include_pad, eps, draws=draws)
    x = arguments.check_input(input, pooling)
    params = {name: arguments.small_param(_given(value, name, kind), x, name)
              for name, value in (("mu", mu), ("sigma", sigma)) if name in pooling.param_names()}
    if exporting():
        return _like_input(input, export_guided(x, pooling, params))
    params = arguments.same_shape(params)
    seed = None if draws == "none" else arguments.draw_seed(x, generator)
    return _like_input(input, pool(x, pooling, mu=params.get("mu"), sigma=params.get("sigma"), seed=seed))


def max_entropy_pool2d(input: Tensor, weight: Param, kernel_size: Size2d, stride: Optional[Size2d] = None,
                       padding: Size2d = 0, ceil_mode: bool = False) -> Tensor:
    """Σ p_i · x_i with p = softmax(weight · x) over the window (T. Kobayashi, "Global Feature Guided Local Pooling",
    ICCV 2019).

    ``weight``, the paper's λ, is as in :func:`gaussian_pool2d`: 0 gives the average of the real elements, and the
    larger, the closer to the maximum.

    >>> max_entropy_pool2d(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), 0.0, kernel_size=2)
    tensor([[[[1.5000]]]])
    """
    pooling = arguments.describe_pooling("max_entropy", kernel_size, stride, padding, ceil_mode)
    x = arguments.check_input(input, pooling)
    return _like_input(input, _pool_weighted(x, pooling, arguments.weight_param(weight, x, pooling)))


def soft_pool2d(input: Tensor, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                ceil_mode: bool = False) -> Tensor:
    """Maximum-entropy pooling with weight 1 (Stergiou, Poppe and Kalliatakis, "Refining activation downsampling with
    SoftPool", ICCV 2021).

    >>> soft_pool2d(torch.zeros(1, 1, 4, 4), kernel_size=2).shape
    torch.Size([1, 1, 2, 2])
    """
    pooling = arguments.describe_pooling("softpool", kernel_size, stride, padding, ceil_mode)
    return _pool_plain(input, pooling)


def stochastic_pool2d(input: Tensor, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                      ceil_mode: bool = False, training: bool = True,
                      generator: Optional[torch.Generator] = None) -> Tensor:
    """One element of each window, drawn with probability proportional to max(x_i, 0); at inference their mean, weighted so
    (Zeiler and Fergus, "Stochastic Pooling for Regularization of Deep Convolutional Neural Networks", ICLR 2013).

    Where no element is positive, all are equally likely.

    >>> stochastic_pool2d(torch.tensor([[[[0.0, 0.0], [0.0, 5.0]]]]), kernel_size=2)
    tensor([[[[5.]]]])
    """
    pooling = arguments.describe_pooling("stochastic", kernel_size, stride, padding, ceil_mode,
                                         draws="HWCN" if training else "none")
    return _pool_plain(input, pooling, training, generator)


def mixed_pool2d(input: Tensor, weight: Param, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """weight · maximum + (1 − weight) · mean (Lee, Gallagher and Tu, "Generalizing Pooling Functions in Convolutional
    Neural Networks", AISTATS 2016). ``weight`` is as in :func:`gaussian_pool2d`.

    >>> mixed_pool2d(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), 0.5, kernel_size=2)
    tensor([[[[2.2500]]]])
    """
    pooling = arguments.describe_pooling("mixed", kernel_size, stride, padding, ceil_mode, count_include_pad)
    x = arguments.check_input(input, pooling)
    return _like_input(input, _pool_weighted(x, pooling, arguments.weight_param(weight, x, pooling)))


def gated_pool2d(input: Tensor, mask: Tensor, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """Mixed pooling whose weight each window makes itself: sigmoid(Σ mask_i · x_i) (Lee, Gallagher and Tu, AISTATS 2016).

    ``mask`` is (kernel height, kernel width), or (C, kernel height, kernel width) for one to each channel, with its
    gradient.

    >>> gated_pool2d(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), torch.zeros(2, 2), kernel_size=2)
    tensor([[[[2.2500]]]])
    """
    pooling = arguments.describe_pooling("gated", kernel_size, stride, padding, ceil_mode, count_include_pad)
    x = arguments.check_input(input, pooling)
    mask = arguments.gate_mask(mask, x, pooling)
    return _like_input(input, _pool_weighted(x, pooling, mask))


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Size2d, stride: Optional[Size2d] = None, ceil_mode: bool = False,
              padding: Size2d = 0, count_include_pad: bool = True) -> Tensor:
    """(Σ abs(x_i)^norm_type)^(1 / norm_type), ``norm_type`` at least 1: ``torch.nn.functional.lp_pool2d`` for even ones
    or inputs that are not negative.

    Windows cut off by ``ceil_mode`` or, with ``count_include_pad=False``, by the padding are scaled up to the whole
    kernel's number of elements. Where the output is 0 its gradient is 0.

    >>> lp_pool2d(torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]]]), 2, kernel_size=2)
    tensor([[[[5.]]]])
    """
    pooling = arguments.describe_pooling("lp", kernel_size, stride, padding, ceil_mode, count_include_pad, norm=norm_type)
    return _pool_plain(input, pooling)


def avg_pool2d(input: Tensor, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """The window's mean: ``torch.nn.functional.avg_pool2d`` by this library.

    >>> avg_pool2d(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), kernel_size=2)
    tensor([[[[1.5000]]]])
    """
    pooling = arguments.describe_pooling("average", kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _pool_plain(input, pooling)


def max_pool2d(input: Tensor, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0, dilation: Size2d = 1,
               ceil_mode: bool = False) -> Tensor:
    """The window's maximum: ``torch.nn.functional.max_pool2d`` by this library, without dilation and without indices.

    >>> max_pool2d(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), kernel_size=2)
    tensor([[[[3.]]]])
    """
    if arguments.pair(dilation, "dilation", 1) != (1, 1):
        raise ValueError(f"dilation: expected 1, found {dilation!r}")
    return _pool_plain(input, arguments.describe_pooling("max", kernel_size, stride, padding, ceil_mode))


# ---- In PyTorch's standard operators, for export --------------------------------------------

def export_guided(x: Tensor, pooling: Pooling, params: Dict[str, Tensor]) -> Tensor:
    """The form for inference of a pooling that is given mu and sigma, or λ: [n or 1][c or 1]."""
    arguments.check_export(pooling)
    if pooling.kind not in _SAMPLED:
        return _export(x, pooling, params["weight"])
    if pooling.kind == "half_gaussian":
        weight = params["sigma"] * math.sqrt(2 / math.pi)
    else:
        weight = F.softplus(params["mu"]) if pooling.kind == "isp_gaussian" else params["mu"]
    return _export(x, pooling._replace(kind="weighted"), weight)


def _export(x: Tensor, pooling: Pooling, weight: Optional[Tensor] = None) -> Tensor:
    if weight is not None and weight.dim() == 2:
        weight = weight[:, :, None, None]
    return plain_pool(pooling.kind, x, pooling.kernel_size, pooling.stride, pooling.padding, pooling.ceil_mode,
                      pooling.count_include_pad, weight=weight, eps=pooling.eps, norm=pooling.norm)


# ---- What they share ------------------------------------------------------------------------

def _pool_weighted(x: Tensor, pooling: Pooling, weight: Tensor) -> Tensor:
    return _export(x, pooling, weight) if exporting() else pool(x, pooling, weight=weight)


def _pool_plain(input: Tensor, pooling: Pooling, drawn: bool = False, generator: Optional[torch.Generator] = None) -> Tensor:
    x = arguments.check_input(input, pooling)
    if exporting():
        arguments.check_export(pooling)
        return _like_input(input, _export(x, pooling))
    return _like_input(input, pool(x, pooling, seed=arguments.draw_seed(x, generator) if drawn else None))


def _given(value: Optional[Param], name: str, kind: str) -> Union[float, Tensor]:
    if value is None:
        raise TypeError(f"{name}: {kind} needs it, found None")
    return value


def _like_input(input: Tensor, y: Tensor) -> Tensor:
    """Without the batch's axis if the input came without."""
    return y.squeeze(0) if input.dim() == 3 else y
