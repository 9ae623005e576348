"""New tensors for the operator's large outputs, in large pages where the system has them.

An output of 200 MB is 50,000 small pages, and the kernel takes longer to hand them out zeroed than the operator takes
to fill them. PyTorch asks the C library for memory anew at every call, so this is paid in every step. Linux gives 2 MiB
pages to memory that asks for them before it is first touched.
"""
import ctypes
import mmap
import sys
from typing import Sequence

import torch

_WORTHWHILE = 8 << 20  # bytes: below, the C library keeps freed memory, and a few large pages would waste what they round up
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)


def _find_madvise():
    if _ADVICE is None or not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "madvise", None)
    if function is not None:
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    return function


_madvise = _find_madvise()


def _ask_for_large_pages(tensor: torch.Tensor) -> None:
    size = tensor.numel() * tensor.element_size()
    if _madvise is None or size < _WORTHWHILE:
        return
    start = tensor.data_ptr() & -mmap.PAGESIZE
    end = (tensor.data_ptr() + size + mmap.PAGESIZE - 1) & -mmap.PAGESIZE
    _madvise(start, end - start, _ADVICE)  # advice: that it fails only means that pages stay small


def empty(shape: Sequence[int], like: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    """An uninitialised tensor of the type and device of `like`, dense in a memory format."""
    tensor = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)
    if tensor.device.type == "cpu":
        _ask_for_large_pages(tensor)
    return tensor


def workspace(size: int, alignment: int) -> torch.Tensor:
    """Scratch memory: at least `size` bytes from an aligned address on, which is the tensor's."""
    memory = torch.empty(size + alignment, dtype=torch.uint8)
    return memory[-memory.data_ptr() % alignment:]
