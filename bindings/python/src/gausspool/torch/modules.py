"""Pooling layers whose parameters are guided by global features.

Names and order of their parameters are those of the published layers, so that checkpoints load.
"""
from typing import Dict, Optional

import torch
import torch.fx
from torch import Tensor, nn

from . import _arguments as arguments
from ._arguments import Size2d
from ._describe import Pooling, param_dtype
from ._heads import PointwiseConv2d
from ._ops import guide, pool
from .functional import export_guided
from .onnx import exporting, plain_average

__all__ = ["GaussianPooling2d", "MaxEntPooling2d"]

_ACTIVATIONS = {"softplus": nn.Softplus, "sigmoid": nn.Sigmoid}


class _GuidedPooling2d(nn.Module):
    """Geometry, and the way from the input's global average to the parameters."""

    _kind: str

    def __init__(self, num_features: int, kernel_size: Size2d, stride: Optional[Size2d], padding: Size2d, ceil_mode: bool,
                 hidden_node: Optional[int]) -> None:
        super().__init__()
        arguments.windows(kernel_size, stride, padding)
        self.num_features = _count(num_features, "num_features")
        self.hidden_node = _hidden_nodes(num_features, hidden_node)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode

    def _describe(self) -> Pooling:
        raise NotImplementedError

    def _head(self) -> nn.Sequential:
        """The part that takes the average."""
        raise NotImplementedError

    def _make_params(self, average: Tensor, pooling: Pooling) -> Dict[str, Tensor]:
        """(N, C, 1, 1) each, from the average (N, C, 1, 1)."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, torch.fx.Proxy):  # torch.fx takes the layer as a whole, as it takes PyTorch's own
            return input.tracer.create_proxy("call_module", input.tracer.path_of_module(self), (input,), {})
        pooling = self._describe()
        x = self._check_input(input, pooling)
        seed = None if pooling.stochasticity == "none" else arguments.draw_seed(x)
        average, links = (plain_average(x), (None, None)) if exporting() else guide(x, pooling, seed)
        made = self._make_params(average[:, :, None, None].to(self._head_dtype(average)), pooling)
        params = {name: param.flatten(1).to(param_dtype(x.dtype)).contiguous() for name, param in made.items()}
        if exporting():
            y = export_guided(x, pooling, params)
        else:
            y = pool(x, pooling, params.get("mu"), params.get("sigma"), params.get("weight"), seed, links)
        return y.squeeze(0) if input.dim() == 3 else y

    def _head_dtype(self, average: Tensor) -> torch.dtype:
        """A layer in float32 also takes 16-bit input. Not from parameters(): a replica of DataParallel has none."""
        weight = self._head()[1].weight
        return weight.dtype if isinstance(weight, Tensor) else average.dtype

    def _check_input(self, input: Tensor, pooling: Pooling) -> Tensor:
        x = arguments.check_input(input, pooling)
        if not torch.jit.is_tracing() and x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: expected {self.num_features} channels, found {x.shape[1]} in an input of "
                             f"{tuple(input.shape)}")
        return x

    def extra_repr(self) -> str:
        return (f"{self.num_features}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"ceil_mode={self.ceil_mode}")


class GaussianPooling2d(_GuidedPooling2d):
    """Gaussian pooling with global feature guided parameters: window mean + W · window deviation (T. Kobayashi,
    "Gaussian-Based Pooling for Convolutional Neural Networks", NeurIPS 2019).

    In training W = softplus(mu + sigma · e), e ~ N(0, 1); in eval mode W = softplus(mu). mu and sigma, one for each
    sample and channel, are made from the input's global average by two small layers with batch norm, as in the
    published layer, whose signature and state dict this one has. As theirs, batch norm in training needs a batch of at
    least two.

    Args:
        num_features: channels C of the input.
        kernel_size, stride, padding, ceil_mode, count_include_pad: as ``torch.nn.AvgPool2d``; stride None means kernel_size.
        hidden_node: width of the hidden layer; C // 2 unless given.
        stochasticity: 'HWCN' draws e for every output element, 'CN' for every sample and channel, None (or 'none') never.
        eps: least variance of a window; where it is clamped no gradient goes through the deviation.

    Shapes: (N, C, H, W) or (C, H, W) to (N, C, H', W') or (C, H', W'), H' and W' as ``torch.nn.AvgPool2d`` has them, in
    the input's type (float32, float64, bfloat16, float16) and memory order.

    >>> pool = GaussianPooling2d(8, kernel_size=2)
    >>> pool(torch.rand(4, 8, 6, 6)).shape
    torch.Size([4, 8, 3, 3])
    >>> pool.eval()(torch.rand(1, 8, 7, 7)).shape
    torch.Size([1, 8, 3, 3])
    """

    _kind = "isp_gaussian"

    def __init__(self, num_features: int, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                 ceil_mode: bool = False, count_include_pad: bool = True, hidden_node: Optional[int] = None,
                 stochasticity: Optional[str] = "HWCN", eps: float = 1e-6) -> None:
        super().__init__(num_features, kernel_size, stride, padding, ceil_mode, hidden_node)
        arguments.stochasticity(stochasticity)
        self.count_include_pad = count_include_pad
        self.stochasticity = stochasticity
        self.eps = arguments.number(eps, "eps", 0)
        hidden = self.hidden_node
        self.ToHidden = nn.Sequential(nn.AdaptiveAvgPool2d(1), PointwiseConv2d(num_features, hidden), nn.BatchNorm2d(hidden),
                                      nn.ReLU())
        self.ToMean = nn.Sequential(PointwiseConv2d(hidden, num_features), nn.BatchNorm2d(num_features))
        self.ToSigma = nn.Sequential(PointwiseConv2d(hidden, num_features), nn.BatchNorm2d(num_features), nn.Sigmoid())

    def _describe(self) -> Pooling:
        draws = arguments.stochasticity(self.stochasticity) if self.training else "none"
        return arguments.describe_pooling(self._kind, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                                          self.count_include_pad, self.eps, draws=draws)

    def _head(self) -> nn.Sequential:
        return self.ToHidden

    def _make_params(self, average: Tensor, pooling: Pooling) -> Dict[str, Tensor]:
        hidden = self.ToHidden(average)  # its own averaging leaves a map of one element as it is
        params = {"mu": self.ToMean(hidden)}
        if pooling.stochasticity != "none":
            params["sigma"] = self.ToSigma(hidden)
        return params

    def extra_repr(self) -> str:
        return (f"{super().extra_repr()}, count_include_pad={self.count_include_pad}, stochasticity={self.stochasticity!r}, "
                f"eps={self.eps}")


class MaxEntPooling2d(_GuidedPooling2d):
    """Maximum-entropy pooling with a global feature guided parameter: Σ p_i · x_i, p = softmax(λ · x) over the window
    (T. Kobayashi, "Global Feature Guided Local Pooling", ICCV 2019).

    λ, one for each sample and channel, is ``activation`` ('softplus' or 'sigmoid') of two small layers with batch norm
    over the input's global average. Padding takes no part, so there is no ``count_include_pad``.

    Args and shapes: as :class:`GaussianPooling2d`.

    >>> MaxEntPooling2d(8, kernel_size=3, stride=2, padding=1)(torch.rand(4, 8, 7, 7)).shape
    torch.Size([4, 8, 4, 4])
    """

    _kind = "max_entropy"

    def __init__(self, num_features: int, kernel_size: Size2d, stride: Optional[Size2d] = None, padding: Size2d = 0,
                 ceil_mode: bool = False, hidden_node: Optional[int] = None, activation: str = "softplus") -> None:
        super().__init__(num_features, kernel_size, stride, padding, ceil_mode, hidden_node)
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation: expected one of {', '.join(_ACTIVATIONS)}, found {activation!r}")
        self.activation = activation
        hidden = self.hidden_node
        self.ToParam = nn.Sequential(nn.AdaptiveAvgPool2d(1), PointwiseConv2d(num_features, hidden), nn.BatchNorm2d(hidden),
                                     nn.ReLU(), PointwiseConv2d(hidden, num_features), nn.BatchNorm2d(num_features),
                                     _ACTIVATIONS[activation]())

    def _describe(self) -> Pooling:
        return arguments.describe_pooling(self._kind, self.kernel_size, self.stride, self.padding, self.ceil_mode)

    def _head(self) -> nn.Sequential:
        return self.ToParam

    def _make_params(self, average: Tensor, pooling: Pooling) -> Dict[str, Tensor]:
        return {"weight": self.ToParam(average)}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}"


def _count(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, found {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, found {value}")
    return value


def _hidden_nodes(num_features: int, given: Optional[int]) -> int:
    if given is not None:
        return _count(given, "hidden_node")
    if num_features < 2:
        raise ValueError("hidden_node: expected it to be given, since num_features // 2 is 0 for num_features = 1")
    return num_features // 2
