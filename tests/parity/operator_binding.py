"""libgausspool's operator for NumPy arrays, through ctypes: descriptors as in include/gausspool/gausspool.h."""
import ctypes
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GAUSSPOOL_BUILD", ROOT / "build" / "release")).resolve()

KINDS = ["isp_gaussian", "weighted", "average", "max"]
LAYOUTS = {"NCHW": 0, "NHWC": 1, "NCHW8C": 2, "NCHW16C": 3}
STOCHASTICITIES = {"none": 0, "CN": 1, "HWCN": 2}
SHAPES = {"NC": 0, "C": 1, "N": 2, "ONE": 3, "NCHW": 4}
_BLOCK = {"NCHW8C": 8, "NCHW16C": 16}


class Descriptor(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int), ("dtype", ctypes.c_int), ("layout", ctypes.c_int),
        ("batch", ctypes.c_int64), ("channels", ctypes.c_int64), ("height", ctypes.c_int64), ("width", ctypes.c_int64),
        ("kernel", ctypes.c_int32 * 2), ("stride", ctypes.c_int32 * 2), ("padding", ctypes.c_int32 * 2),
        ("ceil_mode", ctypes.c_bool), ("pad_count", ctypes.c_int), ("eps", ctypes.c_double),
        ("param_shape", ctypes.c_int), ("stochasticity", ctypes.c_int), ("seed", ctypes.c_uint64),
        ("call_offset", ctypes.c_uint32), ("first_sample", ctypes.c_int64), ("threads", ctypes.c_int32),
    ]


class ForwardArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("x", "mu", "sigma", "weight", "y")]


class BackwardArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in
                ("x", "mu", "sigma", "weight", "grad_y", "grad_x", "grad_mu", "grad_sigma", "grad_weight")]
    _fields_ += [("accumulate", ctypes.c_bool), ("workspace", ctypes.c_void_p)]


class GausspoolError(Exception):
    pass


def to_layout(array, layout):
    """Logical [n][c][h][w] into the memory of a layout; padding lanes get NaN, which must not reach any result."""
    if layout == "NHWC":
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    if layout in _BLOCK:
        block = _BLOCK[layout]
        n, c, h, w = array.shape
        padded = np.full((n, -(-c // block) * block, h, w), np.nan, array.dtype)
        padded[:, :c] = array
        return np.ascontiguousarray(padded.reshape(n, -1, block, h, w).transpose(0, 1, 3, 4, 2))
    return np.ascontiguousarray(array)


def from_layout(memory, layout, shape):
    """Back to logical [n][c][h][w]; the padding lanes must hold zeros."""
    n, c, h, w = shape
    if layout == "NHWC":
        return memory.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    if layout in _BLOCK:
        block = _BLOCK[layout]
        full = memory.reshape(n, -1, h, w, block).transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)
        assert not full[:, c:].any(), "padding lanes of an output are not zero"
        return full[:, :c]
    return memory.reshape(shape)


def _aligned(count, dtype):
    """An array at a multiple of 64 bytes, full of NaN."""
    size = np.dtype(dtype).itemsize
    buffer = np.empty(count * size + 64, np.uint8)
    offset = -buffer.ctypes.data % 64
    array = buffer[offset:offset + count * size].view(dtype)
    array.fill(np.nan)
    return array


def _pointer(array):
    return None if array is None else array.ctypes.data


class Operator:
    def __init__(self):
        path = BUILD / "src" / "libgausspool.so"
        self.library = library = ctypes.CDLL(str(path))
        library.gp_last_error.restype = ctypes.c_char_p
        library.gp_cpu_isa.restype = ctypes.c_char_p
        library.gp_layout_elements.restype = ctypes.c_size_t
        library.gp_layout_elements.argtypes = [ctypes.c_int] + [ctypes.c_int64] * 4

    def _check(self, status):
        if status != 0:
            raise GausspoolError(self.library.gp_last_error().decode())

    def descriptor(self, kind, dtype, layout, shape, kernel, stride, padding, ceil_mode=False, count_include_pad=True,
                   eps=0.0, param_shape="NC", stochasticity="none", seed=0, call_offset=0, first_sample=0, threads=0):
        return Descriptor(KINDS.index(kind), 0 if np.dtype(dtype) == np.float32 else 1, LAYOUTS[layout], *shape,
                          (ctypes.c_int32 * 2)(*kernel), (ctypes.c_int32 * 2)(*stride), (ctypes.c_int32 * 2)(*padding),
                          ceil_mode, 0 if count_include_pad else 1, eps, SHAPES[param_shape],
                          STOCHASTICITIES[stochasticity], seed, call_offset, first_sample, threads)

    def output_shape(self, descriptor):
        height, width = ctypes.c_int64(), ctypes.c_int64()
        self._check(self.library.gp_pool_output_size(ctypes.byref(descriptor), ctypes.byref(height), ctypes.byref(width)))
        return descriptor.batch, descriptor.channels, height.value, width.value

    def _describe(self, descriptor):
        layout = next(name for name, value in LAYOUTS.items() if value == descriptor.layout)
        return layout, np.float32 if descriptor.dtype == 0 else np.float64

    def _elements(self, descriptor, shape):
        return self.library.gp_layout_elements(descriptor.layout, *shape)

    def forward(self, descriptor, x, mu=None, sigma=None, weight=None):
        """x [n][c][h][w]; mu, sigma and weight dense as the library wants them. Gives y [n][c][h'][w']."""
        layout, dtype = self._describe(descriptor)
        shape = self.output_shape(descriptor)
        x = to_layout(x, layout)
        y = _aligned(self._elements(descriptor, shape), dtype)
        arguments = ForwardArguments(*map(_pointer, (x, mu, sigma, weight, y)))
        self._check(self.library.gp_pool_forward(ctypes.byref(descriptor), ctypes.byref(arguments)))
        return from_layout(y, layout, shape)

    def backward(self, descriptor, x, grad_y, mu=None, sigma=None, weight=None):
        """{"x": …, "mu": …, "sigma": …, "weight": …}: gradients of what was given."""
        layout, dtype = self._describe(descriptor)
        logical = x.shape
        x, grad_y = to_layout(x, layout), to_layout(grad_y, layout)
        grad_x = _aligned(self._elements(descriptor, logical), dtype)
        grads = [None if value is None else np.full_like(value, np.nan) for value in (mu, sigma, weight)]
        size = ctypes.c_size_t()
        self._check(self.library.gp_pool_backward_workspace(ctypes.byref(descriptor), ctypes.byref(size)))
        workspace = _aligned(-(-size.value // 8), np.float64)
        arguments = BackwardArguments(*map(_pointer, (x, mu, sigma, weight, grad_y, grad_x, *grads)), False,
                                      _pointer(workspace))
        self._check(self.library.gp_pool_backward(ctypes.byref(descriptor), ctypes.byref(arguments)))
        result = {"x": from_layout(grad_x, layout, logical)}
        result.update({name: grad for name, grad in zip(("mu", "sigma", "weight"), grads) if grad is not None})
        return result

    def draws(self, descriptor, shape):
        """The library's own draws: [n][c], or [n][c][h'][w'] for HWCN."""
        layout, dtype = self._describe(descriptor)
        if len(shape) == 2:
            values = _aligned(shape[0] * shape[1], dtype)
        else:
            values = _aligned(self._elements(descriptor, shape), dtype)
        self._check(self.library.gp_pool_draws(ctypes.byref(descriptor), ctypes.c_void_p(values.ctypes.data)))
        return values.reshape(shape) if len(shape) == 2 else from_layout(values, layout, shape)
