"""Gaussian-based pooling for convolutional neural networks (T. Kobayashi, NeurIPS 2019).

``gausspool.torch`` has the layers and functions for PyTorch; this package itself only knows where the C library is.

>>> import gausspool
>>> gausspool.library_version().count(".")
2
"""
from ._library import GausspoolError, cpu_isa, cuda_available, library_path, library_version

__all__ = ["GausspoolError", "__version__", "cpu_isa", "cuda_available", "library_path", "library_version"]

__version__ = library_version()
