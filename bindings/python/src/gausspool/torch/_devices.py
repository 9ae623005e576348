"""How the operators reach the library on each kind of device: memory, the key of the draws, the calls.

On CUDA everything is queued on the current stream of x's device, by the library's kernels and by PyTorch's alike, and memory comes from
PyTorch's allocator, which gives what was freed on that stream to later work on it. So nothing has to wait, no tensor needs
record_stream(), and a call can be captured into a CUDA graph.
"""
from typing import Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .. import _library
from . import _memory
from ._describe import describe_average, memory_format_of, param_dtype, readable

Key = Tuple[int, Optional[int]]  # of the draws: a number, or the address of one


class Cpu:
    """Ordinary memory; calls are done when they return."""

    def check(self, x: Tensor, others: Dict[str, Optional[Tensor]]) -> None:
        """PyTorch calls the CPU's operators only where every tensor is there."""

    def key(self, x: Tensor, seed: Optional[Tensor]) -> Key:
        return (0 if seed is None else int(seed)), None

    def empty(self, shape: Sequence[int], like: Tensor, memory_format: torch.memory_format, brief: bool = False) -> Tensor:
        return _memory.empty(shape, like, memory_format, brief)

    def average(self, x: Tensor) -> Tensor:
        """[n][c] means over all positions, in the parameters' type."""
        dtype, memory_format = param_dtype(x.dtype), memory_format_of(x)
        if memory_format != torch.channels_last or x.dtype == torch.float64:
            return x.mean((2, 3), dtype=dtype)
        x = readable(x, memory_format)
        y, average = x.new_empty(x.shape[0] * x.shape[1]), torch.empty(x.shape[:2], dtype=dtype)
        desc = describe_average(x, memory_format)
        workspace = self._workspace(_library.forward_workspace(desc))
        _library.forward(desc, x=x.data_ptr(), y=y.data_ptr(), average_y=average.data_ptr(), workspace=workspace.data_ptr())
        return average

    def forward(self, x: Tensor, desc: _library.PoolDesc, /, **addresses: Optional[int]) -> None:
        _library.forward(desc, **addresses)

    def backward(self, x: Tensor, desc: _library.PoolDesc, /, **addresses: Optional[int]) -> None:
        workspace = self._workspace(_library.backward_workspace(desc))
        _library.backward(desc, workspace=workspace.data_ptr(), **addresses)

    def _workspace(self, size: int) -> Tensor:
        return _memory.workspace(size, _library.WORKSPACE_ALIGNMENT)


class Cuda:
    """Memory of a GPU, and the current stream of x's device. Nothing here reads a value from it."""

    def check(self, x: Tensor, others: Dict[str, Optional[Tensor]]) -> None:
        """PyTorch calls CUDA's operators wherever one of the tensors is there."""
        for name, other in others.items():
            if other is not None and other.device != x.device:
                raise ValueError(f"{name}: expected it on the input's device {x.device}, found {other.device}")

    def key(self, x: Tensor, seed: Optional[Tensor]) -> Key:
        if seed is None:
            return 0, None
        if seed.device == x.device:
            return 0, seed.data_ptr()
        if seed.device.type != "cpu":
            raise ValueError(f"seed: expected it on {x.device} or the CPU, found {seed.device}")
        with torch.cuda.device(x.device):
            if torch.cuda.is_current_stream_capturing():
                raise RuntimeError("gausspool: draws from a generator on the CPU cannot be captured into a CUDA graph, since every "
                                   f"replay would make the same ones. Use a generator on {x.device}, or none")
        return int(seed), None

    def stream(self, x: Tensor) -> int:
        return torch.cuda.current_stream(x.device).cuda_stream

    def empty(self, shape: Sequence[int], like: Tensor, memory_format: torch.memory_format, brief: bool = False) -> Tensor:
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)

    def average(self, x: Tensor) -> Tensor:
        """As Cpu.average(). The library would have one thread go through a whole map."""
        return x.mean((2, 3), dtype=param_dtype(x.dtype))

    def forward(self, x: Tensor, desc: _library.PoolDesc, /, **addresses: Optional[int]) -> None:
        workspace = self._workspace(x, _library.cuda_forward_workspace(desc))
        _library.cuda_forward(desc, self.stream(x), workspace=workspace.data_ptr(), **addresses)

    def backward(self, x: Tensor, desc: _library.PoolDesc, /, **addresses: Optional[int]) -> None:
        workspace = self._workspace(x, _library.cuda_backward_workspace(desc))
        _library.cuda_backward(desc, self.stream(x), workspace=workspace.data_ptr(), **addresses)

    def _workspace(self, x: Tensor, size: int) -> Tensor:
        """The allocator aligns to more than the library asks for."""
        return torch.empty(size, dtype=torch.uint8, device=x.device)


DEVICES = {"cpu": Cpu(), "cuda": Cuda()}
