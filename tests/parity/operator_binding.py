"""libgausspool's operator, through ctypes: descriptors as in include/gausspool/gausspool.h, tensors as NumPy arrays or addresses.

A tensor is an array of logical shape [n][c][h][w] to the caller; `Tensor` lays it out in memory as the library wants it.
"""
import ctypes
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GAUSSPOOL_BUILD", ROOT / "build" / "release")).resolve()

LAYOUTS = {"NCHW": 0, "NHWC": 1, "NCHW8C": 2, "NCHW16C": 3}
DTYPES = {"float32": 0, "float64": 1, "bfloat16": 2, "float16": 3}
STOCHASTICITIES = {"none": 0, "CN": 1, "HWCN": 2}
SHAPES = {"NC": 0, "C": 1, "N": 2, "ONE": 3, "NCHW": 4}
_BLOCK = {"NCHW8C": 8, "NCHW16C": 16}
_STORAGE = {"float32": np.float32, "float64": np.float64, "bfloat16": np.uint16, "float16": np.float16}
_NAN = {"float32": np.nan, "float64": np.nan, "bfloat16": 0x7FC1, "float16": np.nan}


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in "nchw"]


class Descriptor(ctypes.Structure):
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


class ForwardArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in
                ("x", "mu", "sigma", "weight", "scale", "shift", "seed", "y", "average_y", "workspace")]


class BackwardArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in
                ("x", "mu", "sigma", "weight", "scale", "shift", "seed", "grad_y", "grad_average_y", "grad_average_x", "grad_x",
                 "grad_mu", "grad_sigma", "grad_weight", "grad_scale", "grad_shift")]
    _fields_ += [("accumulate", ctypes.c_bool), ("workspace", ctypes.c_void_p)]


class GausspoolError(Exception):
    pass


# ---- Tensors --------------------------------------------------------------------------------

def params_dtype(dtype):
    """Type of the small arrays that go with tensors of a type."""
    return np.float64 if dtype == "float64" else np.float32


def to_storage(array, dtype):
    """Numbers as they are stored, rounded to nearest even."""
    if dtype != "bfloat16":
        return np.asarray(array).astype(_STORAGE[dtype])
    bits = np.asarray(array).astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_storage(memory, dtype):
    """Stored numbers in float64, exactly."""
    if dtype != "bfloat16":
        return memory.astype(np.float64)
    return (memory.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _aligned(count, storage, fill):
    """An array at a multiple of 64 bytes."""
    size = np.dtype(storage).itemsize
    buffer = np.empty(count * size + 64, np.uint8)
    offset = -buffer.ctypes.data % 64
    array = buffer[offset:offset + count * size].view(storage)
    array.fill(fill)
    return array


class Tensor:
    """Memory of a tensor in a layout, full of NaN until written, padding lanes too.

    margin: elements of a larger tensor before and after this one along each axis but the block's; step: of columns in it.
    """

    def __init__(self, shape, layout, dtype, margin=0, step=1):
        n, c, h, w = shape
        block = _BLOCK.get(layout)
        self.shape, self.layout, self.dtype = shape, layout, dtype
        physical = (n, h, w, c) if layout == "NHWC" else (n, c, h, w) if block is None else (n, -(-c // block), h, w, block)
        column = 2 if layout == "NHWC" else 3
        large, inner = [], []
        for axis, size in enumerate(physical):
            around, stride = margin if axis < 4 else 0, step if axis == column else 1
            large.append(size * stride + 2 * around)
            inner.append(slice(around, around + size * stride, stride))
        self.memory = _aligned(int(np.prod(large)), _STORAGE[dtype], _NAN[dtype]).reshape(large)
        self.view = self.memory[tuple(inner)]
        self._before = None
        if margin or step > 1:
            self._before = self._bits(self.memory).copy()
            self._inner = tuple(inner)

    @staticmethod
    def _bits(memory):
        return memory.view(f"u{memory.itemsize}")

    @property
    def address(self):
        return self.view.ctypes.data

    def strides(self):
        """For the descriptor; zeros when dense."""
        if self._before is None:
            return Strides()
        steps = [step // self.view.itemsize for step in self.view.strides]
        n, c, h, w = (steps[0], steps[3], steps[1], steps[2]) if self.layout == "NHWC" else steps[:4]
        return Strides(n, c, h, w)

    def write(self, array):
        stored = to_storage(array, self.dtype)
        if self.layout == "NHWC":
            self.view[...] = stored.transpose(0, 2, 3, 1)
        elif self.layout in _BLOCK:
            n, blocks, h, w, block = self.view.shape
            full = self._channels()
            full[:, :self.shape[1]] = stored
            self.view[...] = full.reshape(n, blocks, block, h, w).transpose(0, 1, 3, 4, 2)
        else:
            self.view[...] = stored
        return self

    def _channels(self):
        """A copy of a blocked tensor as [n][c rounded up][h][w]."""
        n, blocks, h, w, block = self.view.shape
        return self.view.transpose(0, 1, 4, 2, 3).reshape(n, blocks * block, h, w).copy()

    def read(self):
        """Logical [n][c][h][w] in float64, after checking what an output must keep: zeros in the padding lanes, and what
        lies around it."""
        if self._before is not None:
            after = self._bits(self.memory).copy()
            after[self._inner] = self._before[self._inner]
            assert np.array_equal(after, self._before), "memory around a strided output has changed"
        if self.layout in _BLOCK:
            full = from_storage(self._channels(), self.dtype)
            assert not full[:, self.shape[1]:].any(), "padding lanes of an output are not zero"
            return full[:, :self.shape[1]]
        values = from_storage(self.view, self.dtype)
        return values.transpose(0, 3, 1, 2) if self.layout == "NHWC" else values


# ---- Calls ----------------------------------------------------------------------------------

def _address(array):
    return None if array is None else array.ctypes.data


class Operator:
    def __init__(self):
        path = BUILD / "src" / "libgausspool.so"
        self.library = library = ctypes.CDLL(str(path))
        library.gp_last_error.restype = ctypes.c_char_p
        library.gp_cpu_isa.restype = ctypes.c_char_p
        library.gp_pool_kind_name.restype = ctypes.c_char_p
        self.kinds = []
        while library.gp_pool_kind_name(len(self.kinds)) is not None:
            self.kinds.append(library.gp_pool_kind_name(len(self.kinds)).decode())

    def _check(self, status):
        if status != 0:
            raise GausspoolError(self.library.gp_last_error().decode())

    def descriptor(self, kind, dtype, layout, shape, kernel=(0, 0), stride=(0, 0), padding=(0, 0), adaptive=(0, 0),
                   ceil_mode=False, count_include_pad=True, eps=0.0, norm=0.0, param_shape="NC", stochasticity="none",
                   seed=0, call_offset=0, first_sample=0, threads=0):
        pair = ctypes.c_int32 * 2
        n, c, h, w = shape
        return Descriptor(kind=self.kinds.index(kind), dtype=DTYPES[dtype], layout=LAYOUTS[layout], batch=n, channels=c,
                          height=h, width=w, kernel=pair(*kernel), stride=pair(*stride), padding=pair(*padding),
                          adaptive=pair(*adaptive), ceil_mode=ceil_mode, pad_count=0 if count_include_pad else 1, eps=eps,
                          norm=norm, param_shape=SHAPES[param_shape], stochasticity=STOCHASTICITIES[stochasticity],
                          seed=seed, call_offset=call_offset, first_sample=first_sample, threads=threads)

    def output_shape(self, descriptor):
        height, width = ctypes.c_int64(), ctypes.c_int64()
        self._check(self.library.gp_pool_output_size(ctypes.byref(descriptor), ctypes.byref(height), ctypes.byref(width)))
        return descriptor.batch, descriptor.channels, height.value, width.value

    def workspace(self, descriptor, direction):
        """Scratch memory for "forward" or "backward"."""
        size = ctypes.c_size_t()
        query = getattr(self.library, f"gp_pool_{direction}_workspace")
        self._check(query(ctypes.byref(descriptor), ctypes.byref(size)))
        return _aligned(-(-size.value // 8) + 1, np.float64, np.nan)

    def call_forward(self, descriptor, **addresses):
        arguments = ForwardArguments(**addresses)
        self._check(self.library.gp_pool_forward(ctypes.byref(descriptor), ctypes.byref(arguments)))

    def call_backward(self, descriptor, **addresses):
        arguments = BackwardArguments(**addresses)
        self._check(self.library.gp_pool_backward(ctypes.byref(descriptor), ctypes.byref(arguments)))

    def _describe(self, descriptor):
        layout = next(name for name, value in LAYOUTS.items() if value == descriptor.layout)
        return layout, next(name for name, value in DTYPES.items() if value == descriptor.dtype)

    def forward(self, descriptor, x, average=False, margin=0, step=1, **params):
        """x [n][c][h][w]; params (mu, sigma, weight, scale, shift) in memory as the library wants them. Gives y
        [n][c][h'][w'] in float64; with `average` also its means [n][c]."""
        layout, dtype = self._describe(descriptor)
        shape = self.output_shape(descriptor)
        source = Tensor(x.shape, layout, dtype, margin, step).write(x)
        y = Tensor(shape, layout, dtype, margin, step)
        descriptor.x_stride, descriptor.y_stride = source.strides(), y.strides()
        means = np.full(shape[:2], np.nan, params_dtype(dtype)) if average else None
        workspace = self.workspace(descriptor, "forward")
        self.call_forward(descriptor, x=source.address, y=y.address, average_y=_address(means),
                          workspace=_address(workspace), **{name: _address(value) for name, value in params.items()})
        return (y.read(), means) if average else y.read()

    def backward(self, descriptor, x, grad_y, grad_average_y=None, grad_average_x=None, add_to=None, margin=0, step=1,
                 **params):
        """{"x": …, "mu": …, …}: gradients of x, in float64 and added to `add_to` if given, and of each of the params."""
        layout, dtype = self._describe(descriptor)
        source = Tensor(x.shape, layout, dtype, margin, step).write(x)
        gradient = Tensor(grad_y.shape, layout, dtype, margin, step).write(grad_y)
        result = Tensor(x.shape, layout, dtype, margin, step)
        if add_to is not None:
            result.view[...] = 0  # the padding lanes, as an earlier call would have left them
            result.write(add_to)
        descriptor.x_stride, descriptor.grad_y_stride = source.strides(), gradient.strides()
        descriptor.grad_x_stride = result.strides()
        blank = lambda array: _NAN["bfloat16"] if array.dtype == np.uint16 else np.nan
        grads = {name: np.full_like(value, blank(value)) for name, value in params.items()}
        workspace = self.workspace(descriptor, "backward")
        addresses = {name: _address(value) for name, value in params.items()}
        addresses.update({f"grad_{name}": _address(value) for name, value in grads.items()})
        self.call_backward(descriptor, x=source.address, grad_y=gradient.address, grad_x=result.address,
                           grad_average_y=_address(grad_average_y), grad_average_x=_address(grad_average_x),
                           accumulate=add_to is not None, workspace=_address(workspace), **addresses)
        return {"x": result.read(), **grads}

    def draws(self, descriptor, shape):
        """The library's own draws: [n][c], or [n][c][h'][w'] for HWCN."""
        layout, dtype = self._describe(descriptor)
        dtype = np.dtype(params_dtype(dtype)).name
        if len(shape) == 2:
            values = np.full(shape, np.nan, dtype)
            self._check(self.library.gp_pool_draws(ctypes.byref(descriptor), ctypes.c_void_p(_address(values))))
            return values
        tensor = Tensor(shape, layout, dtype)
        self._check(self.library.gp_pool_draws(ctypes.byref(descriptor), ctypes.c_void_p(tensor.address)))
        return tensor.read()
