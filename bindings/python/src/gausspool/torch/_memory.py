"""New tensors for the operator's large outputs, from memory that is kept for the next ones.

An output of 200 MB is 50,000 small pages, and the kernel takes longer to hand them out zeroed than the operator takes
to fill them. PyTorch asks the C library for memory anew at every call, which for sizes like these asks the system, so
this is paid in every step. Here large tensors lie in blocks that are mapped once, in 2 MiB pages where the system has
them. A block whose tensor is gone is kept for a later one, but offered to the system (MADV_FREE), which takes its pages
when memory runs short and not before.
"""
import math
import mmap
import os
import threading
import weakref
from typing import List, Optional, Sequence

import torch

__all__ = ["empty_cache"]

_LARGE_PAGE = 2 << 20
_WORTHWHILE = 8 << 20  # bytes: below, the C library keeps freed memory, and a few large pages would waste what they round up
_SUPPORTED = all(hasattr(mmap, name) for name in ("MAP_PRIVATE", "MAP_ANONYMOUS", "MADV_FREE", "MADV_HUGEPAGE"))


class _Blocks:
    """Mapped memory that no tensor lies in. In all at most 1.5 times the largest block there has been: enough for a layer's
    output and gradient, while a net's layers do not keep a block each."""

    def __init__(self) -> None:
        self._free: List[mmap.mmap] = []
        self._largest = 0
        # Reentrant, since a collection of garbage or a signal's handler may end the life of another tensor anywhere in here;
        # so nothing below relies on what the list was a moment ago.
        self._lock = threading.RLock()

    def take(self, size: int, at_most: Optional[int]) -> Optional[mmap.mmap]:
        """The smallest block of at least `size` and no more than `at_most` bytes, or a new one; None if there is no memory."""
        with self._lock:
            for block in sorted(self._free, key=len):
                if size <= len(block) <= (at_most or len(block)) and self._remove(block):
                    return block
        block = _map(size)
        if block is None:  # what is kept may be what is lacking: of address space, of which the system takes nothing back
            self.clear()
            block = _map(size)
        if block is not None:
            with self._lock:
                self._largest = max(self._largest, size)
        return block

    def _remove(self, block: mmap.mmap) -> bool:
        try:
            self._free.remove(block)
        except ValueError:
            return False
        return True

    def give_back(self, block: mmap.mmap) -> None:
        _advise(block, mmap.MADV_FREE)
        with self._lock:
            self._free.append(block)
            for kept in sorted(self._free, key=len):
                if sum(map(len, self._free)) <= 1.5 * self._largest:
                    break
                self._remove(kept)

    def clear(self) -> None:
        with self._lock:
            self._free.clear()

    def unlock(self) -> None:
        """In a forked process, whose parent's threads may have held the lock."""
        self._lock = threading.RLock()


def _map(size: int) -> Optional[mmap.mmap]:
    try:
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, ValueError, OverflowError):
        return None
    _advise(block, mmap.MADV_HUGEPAGE)
    return block


def _advise(block: mmap.mmap, advice: int) -> None:
    try:
        block.madvise(advice)
    except OSError:
        pass  # advice: without it pages stay small, or are kept


_blocks = _Blocks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _blocks.unlock())


def empty_cache() -> None:
    """Gives memory that was kept for later outputs back to the system.

    Outputs and gradients of 8 MiB and more lie in memory that is kept when the tensor is gone, in all at most 1.5 times
    what the largest of them took. The system takes it back by itself when it runs short; until then it counts as used.

    >>> empty_cache()
    """
    _blocks.clear()


def _from_block(shape: Sequence[int], like: torch.Tensor, memory_format: torch.memory_format, brief: bool) -> Optional[torch.Tensor]:
    """A tensor in a block, which comes back when nothing sees the tensor's memory any more."""
    count = math.prod(shape)
    size = -(-count * like.element_size() // _LARGE_PAGE) * _LARGE_PAGE
    block = _blocks.take(size + _LARGE_PAGE, None if brief else 2 * size)
    if block is None:
        return None
    view = memoryview(block)  # lives as long as the tensor's memory
    weakref.finalize(view, _blocks.give_back, block).atexit = False
    offset = -torch.frombuffer(block, dtype=torch.uint8, count=1).data_ptr() % _LARGE_PAGE
    strides = torch.empty(shape, device="meta", memory_format=memory_format).stride()
    flat = torch.frombuffer(view, dtype=like.dtype, count=count, offset=offset)
    storage = flat.untyped_storage() if hasattr(flat, "untyped_storage") else flat.storage()
    # Not a view of `flat`, which autograd would keep from being changed in place.
    return torch.empty(0, dtype=like.dtype).set_(storage, 0, shape, strides)


def empty(shape: Sequence[int], like: torch.Tensor, memory_format: torch.memory_format, brief: bool = False) -> torch.Tensor:
    """An uninitialised tensor on the CPU, of the type of `like`, dense in a memory format. `brief`: one that will not live
    long, and so may lie in a block much too large."""
    if _SUPPORTED and math.prod(shape) * like.element_size() >= _WORTHWHILE:
        tensor = _from_block(tuple(shape), like, memory_format, brief)
        if tensor is not None:
            return tensor
    return torch.empty(shape, dtype=like.dtype, memory_format=memory_format)


def workspace(size: int, alignment: int) -> torch.Tensor:
    """Scratch memory: at least `size` bytes from an aligned address on, which is the tensor's."""
    memory = torch.empty(size + alignment, dtype=torch.uint8)
    return memory[-memory.data_ptr() % alignment:]
