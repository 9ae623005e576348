"""libgausspool through ctypes: where it is, its structs as in gausspool.h, and its statuses as exceptions.

The library is looked for in the folder ``lib`` of this package, where a wheel has it; then at the path in the
environment variable GAUSSPOOL_LIBRARY; then where the system's loader looks.
"""
import ctypes
import os
from ctypes.util import find_library
from pathlib import Path
from typing import Dict, List, Optional, Tuple

FLOAT32, FLOAT64, BFLOAT16, FLOAT16 = range(4)
NCHW, NHWC = 0, 1
STOCHASTICITIES = {"none": 0, "CN": 1, "HWCN": 2}
PARAM_SHAPES = {"NC": 0, "C": 1, "N": 2, "ONE": 3, "NCHW": 4}
WORKSPACE_ALIGNMENT = 64

_HEADER_VERSION = (0, 1)  # of the gausspool.h that the structs below mirror; before 1.0 each minor version may change them
_NOT_FOUND = 4  # GP_ERROR_NOT_FOUND
_CUDA_HINT = (". The Python package has it when installed by `pip install . --config-settings=cmake.define.GAUSSPOOL_CUDA=ON` with CUDA's "
              "compiler nvcc at hand. Or move module and input to the CPU (.cpu())")
_ERRORS = {1: ValueError, 2: MemoryError, 3: NotImplementedError}  # by gp_status; the rest are GausspoolError


class GausspoolError(RuntimeError):
    """The C library failed for a reason that no built-in exception names."""


# ---- Structs, field by field as in the header; tests/test_library.py compares them with it --------

class Strides(ctypes.Structure):
    """gp_strides: distances in elements."""

    _fields_ = [(name, ctypes.c_int64) for name in "nchw"]


class PoolDesc(ctypes.Structure):
    """gp_pool_desc: a pooling, complete."""

    _fields_ = [
        ("kind", ctypes.c_int), ("dtype", ctypes.c_int), ("layout", ctypes.c_int),
        ("batch", ctypes.c_int64), ("channels", ctypes.c_int64), ("height", ctypes.c_int64), ("width", ctypes.c_int64),
        ("kernel", ctypes.c_int32 * 2), ("stride", ctypes.c_int32 * 2), ("padding", ctypes.c_int32 * 2),
        ("adaptive", ctypes.c_int32 * 2), ("ceil_mode", ctypes.c_bool), ("pad_count", ctypes.c_int),
        ("eps", ctypes.c_double), ("norm", ctypes.c_double), ("param_shape", ctypes.c_int),
        ("stochasticity", ctypes.c_int), ("seed", ctypes.c_uint64), ("call_offset", ctypes.c_uint32),
        ("first_sample", ctypes.c_int64), ("x_stride", Strides), ("y_stride", Strides), ("grad_x_stride", Strides),
        ("grad_y_stride", Strides), ("threads", ctypes.c_int32),
    ]


class ForwardArgs(ctypes.Structure):
    """gp_pool_forward_args: addresses."""

    _fields_ = [(name, ctypes.c_void_p) for name in
                ("x", "mu", "sigma", "weight", "scale", "shift", "seed", "y", "average_y", "workspace")]


class BackwardArgs(ctypes.Structure):
    """gp_pool_backward_args: addresses."""

    _fields_ = [(name, ctypes.c_void_p) for name in
                ("x", "mu", "sigma", "weight", "scale", "shift", "seed", "grad_y", "grad_average_y", "grad_average_x", "grad_x",
                 "grad_mu", "grad_sigma", "grad_weight", "grad_scale", "grad_shift")]
    _fields_ += [("accumulate", ctypes.c_bool), ("workspace", ctypes.c_void_p)]


# ---- Loading --------------------------------------------------------------------------------

def _candidates() -> List[str]:
    """Paths and names to try, first come first."""
    found = [str(path) for path in sorted((Path(__file__).parent / "lib").glob("libgausspool.so*"))[:1]]
    named = os.environ.get("GAUSSPOOL_LIBRARY")
    installed = find_library("gausspool")
    return found + [name for name in (named, installed) if name]


def _load() -> Tuple[ctypes.CDLL, str]:
    candidates = _candidates()
    failures = []
    for name in candidates:
        try:
            return ctypes.CDLL(name), name
        except OSError as error:
            failures.append(f"{name}: {error}")
    tried = "; ".join(failures) if failures else "found nothing to try"
    raise ImportError(f"gausspool: no libgausspool.so could be loaded ({tried}). Reinstall the package, install the library, "
                      "or set GAUSSPOOL_LIBRARY to its path.")


def _declare(library: ctypes.CDLL) -> None:
    desc = ctypes.POINTER(PoolDesc)
    signatures = {
        "gp_last_error": (ctypes.c_char_p, []),
        "gp_version": (ctypes.c_char_p, []),
        "gp_cpu_isa": (ctypes.c_char_p, []),
        "gp_pool_kind_name": (ctypes.c_char_p, [ctypes.c_int]),
        "gp_pool_output_size": (ctypes.c_int, [desc, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_int64)]),
        "gp_pool_forward_workspace": (ctypes.c_int, [desc, ctypes.POINTER(ctypes.c_size_t)]),
        "gp_pool_backward_workspace": (ctypes.c_int, [desc, ctypes.POINTER(ctypes.c_size_t)]),
        "gp_pool_forward": (ctypes.c_int, [desc, ctypes.POINTER(ForwardArgs)]),
        "gp_pool_backward": (ctypes.c_int, [desc, ctypes.POINTER(BackwardArgs)]),
        "gp_pool_draws": (ctypes.c_int, [desc, ctypes.c_void_p]),
        "gp_cuda_available": (ctypes.c_int, []),
        "gp_cuda_pool_forward_workspace": (ctypes.c_int, [desc, ctypes.POINTER(ctypes.c_size_t)]),
        "gp_cuda_pool_backward_workspace": (ctypes.c_int, [desc, ctypes.POINTER(ctypes.c_size_t)]),
        "gp_cuda_pool_forward": (ctypes.c_int, [desc, ctypes.POINTER(ForwardArgs), ctypes.c_void_p]),
        "gp_cuda_pool_backward": (ctypes.c_int, [desc, ctypes.POINTER(BackwardArgs), ctypes.c_void_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def _check_version(version: str, path: str) -> None:
    if tuple(int(part) for part in version.split(".")[:2]) != _HEADER_VERSION:
        expected = ".".join(map(str, _HEADER_VERSION))
        raise ImportError(f"gausspool: this package needs libgausspool {expected}.x, found {version} at {path}")


def _read_kinds(library: ctypes.CDLL) -> Dict[str, int]:
    kinds: Dict[str, int] = {}
    while True:
        name = library.gp_pool_kind_name(len(kinds))
        if name is None:
            return kinds
        kinds[name.decode()] = len(kinds)


_library, _path = _load()
try:
    _declare(_library)
except AttributeError as error:
    raise ImportError(f"gausspool: {_path} is not the libgausspool that this package needs: {error}") from error
_version = _library.gp_version().decode()
_check_version(_version, _path)
KINDS = _read_kinds(_library)


def library_version() -> str:
    """Version of the C library in use, "MAJOR.MINOR.PATCH"."""
    return _version


def library_path() -> str:
    """Path, or name given to the loader, of the C library in use."""
    return _path


def cpu_isa() -> str:
    """Instruction set that its CPU kernels use, for example "avx2"."""
    return str(_library.gp_cpu_isa().decode())


def cuda_available() -> bool:
    """Whether tensors on CUDA can be pooled: the C library has its part for CUDA, and there are a driver and a device."""
    return bool(_library.gp_cuda_available() == 0)


# ---- Calls ----------------------------------------------------------------------------------

def _check(status: int, hint: str = "") -> None:
    if status != 0:
        raise _ERRORS.get(status, GausspoolError)(f"gausspool: {_library.gp_last_error().decode()}{hint}")


def _check_cuda(status: int) -> None:
    _check(status, _CUDA_HINT if status == _NOT_FOUND else "")


def forward_workspace(desc: PoolDesc) -> int:
    """Bytes of scratch memory that forward() needs for ``average_y``."""
    size = ctypes.c_size_t()
    _check(_library.gp_pool_forward_workspace(desc, size))
    return size.value


def backward_workspace(desc: PoolDesc) -> int:
    """Bytes of scratch memory that backward() needs."""
    size = ctypes.c_size_t()
    _check(_library.gp_pool_backward_workspace(desc, size))
    return size.value


def cuda_forward_workspace(desc: PoolDesc) -> int:
    """Bytes of scratch memory on the device that cuda_forward() needs."""
    size = ctypes.c_size_t()
    _check_cuda(_library.gp_cuda_pool_forward_workspace(desc, size))
    return size.value


def cuda_backward_workspace(desc: PoolDesc) -> int:
    """Bytes of scratch memory on the device that cuda_backward() needs."""
    size = ctypes.c_size_t()
    _check_cuda(_library.gp_cuda_pool_backward_workspace(desc, size))
    return size.value


def forward(desc: PoolDesc, **addresses: Optional[int]) -> None:
    """gp_pool_forward() with the arguments named; releases the interpreter's lock meanwhile."""
    _check(_library.gp_pool_forward(desc, ForwardArgs(**addresses)))


def backward(desc: PoolDesc, **addresses: Optional[int]) -> None:
    """gp_pool_backward() with the arguments named; releases the interpreter's lock meanwhile."""
    _check(_library.gp_pool_backward(desc, BackwardArgs(**addresses)))


def cuda_forward(desc: PoolDesc, stream: Optional[int], **addresses: Optional[int]) -> None:
    """gp_cuda_pool_forward(): addresses on the device, ``stream`` a cudaStream_t."""
    _check_cuda(_library.gp_cuda_pool_forward(desc, ForwardArgs(**addresses), stream))


def cuda_backward(desc: PoolDesc, stream: Optional[int], **addresses: Optional[int]) -> None:
    """gp_cuda_pool_backward(), likewise."""
    _check_cuda(_library.gp_cuda_pool_backward(desc, BackwardArgs(**addresses), stream))


def draws(desc: PoolDesc, address: int) -> None:
    """gp_pool_draws()."""
    _check(_library.gp_pool_draws(desc, address))
