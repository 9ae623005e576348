"""Pooling layers for PyTorch: drop-in replacements of ``MaxPool2d`` and ``AvgPool2d``.

>>> import torch
>>> from gausspool.torch import GaussianPooling2d
>>> GaussianPooling2d(16, kernel_size=3, stride=2, padding=1)(torch.rand(2, 16, 8, 8)).shape
torch.Size([2, 16, 4, 4])
"""
from . import functional
from ._memory import empty_cache
from .functional import (avg_pool2d, gated_pool2d, gaussian_pool2d, lp_pool2d, max_entropy_pool2d, max_pool2d, mixed_pool2d,
                         sampled_gaussian_pool2d, soft_pool2d, stochastic_pool2d)
from .modules import GaussianPooling2d, MaxEntPooling2d
from .replace import Replacement, replace_pooling

__all__ = ["GaussianPooling2d", "MaxEntPooling2d", "Replacement", "avg_pool2d", "empty_cache", "functional", "gated_pool2d", "gaussian_pool2d",
           "lp_pool2d", "max_entropy_pool2d", "max_pool2d", "mixed_pool2d", "replace_pooling", "sampled_gaussian_pool2d",
           "soft_pool2d", "stochastic_pool2d"]
