"""The operators that PyTorch knows: torch.ops.gausspool.{pool, pool_backward, guide}.

They are registered with torch.library, which takes them through autograd, torch.compile, torch.jit and the rest as it
does its own, from PyTorch 1.13 on.

How a guided pooling gets its input's gradient in one pass: mu and sigma are made from x's global average, so x has two
gradients, through the windows and through the average, and the second is known only after that of mu and sigma. Were
the two nodes of autograd ignorant of each other, one would write grad_x, and the engine would make another tensor of
that size to add the other's.

So `guide`, which takes the average, also returns two links, tensors of the shapes of y and of the parameters that take
no memory. `pool` takes them and does not look at them, but returns grad_y and the parameters as their gradients, and
none of x. Thus they reach the backward pass of `guide`, which comes last, knows everything, and writes grad_x once.
"""
from typing import Callable, Dict, Optional, Tuple

import torch
from torch import Tensor

from ._describe import Pooling, describe, memory_format_of, output_shape, param_dtype, readable
from ._devices import DEVICES

Links = Tuple[Optional[Tensor], Optional[Tensor]]

_POOLING = ("str kind, int[2] kernel_size, int[2] stride, int[2] padding, bool ceil_mode, bool count_include_pad, float eps, "
            "float norm, str stochasticity")
_PARAMS = "Tensor? mu, Tensor? sigma, Tensor? weight, Tensor? seed"
_SCHEMAS = {
    "pool": f"(Tensor x, {_PARAMS}, Tensor? link_y, Tensor? link_params, {_POOLING}) -> Tensor",
    "pool_backward": f"(Tensor grad_y, Tensor x, {_PARAMS}, Tensor? grad_average, bool wants_x, bool wants_params, {_POOLING})"
                     " -> (Tensor, Tensor, Tensor, Tensor)",
    "guide": f"(Tensor x, Tensor? seed, {_POOLING}) -> (Tensor, Tensor, Tensor)",
}
_DOUBLE_BACKWARD_MESSAGE = ("gausspool: double backward is not supported: the gradient of the pooling was itself to be "
                            "differentiated (create_graph=True and a second backward, as in a gradient penalty). Use the plain "
                            "formulation in PyTorch for such a loss, or detach() the pooling's input")


# ---- On a device ----------------------------------------------------------------------------

def _address(tensor: Optional[Tensor]) -> Optional[int]:
    return None if tensor is None else tensor.data_ptr()


def _any_of(*tensors: Optional[Tensor]) -> Optional[Tensor]:
    return next((tensor for tensor in tensors if tensor is not None), None)


def _pool_on(device, x: Tensor, mu: Optional[Tensor], sigma: Optional[Tensor], weight: Optional[Tensor], seed: Optional[Tensor],
             link_y: Optional[Tensor], link_params: Optional[Tensor], *args) -> Tensor:
    pooling = Pooling(*args)
    device.check(x, {"mu": mu, "sigma": sigma, "weight": weight, "link_y": link_y, "link_params": link_params})
    number, key = device.key(x, seed)
    memory_format = memory_format_of(x)
    x = readable(x, memory_format)
    y = device.empty(output_shape(x, pooling), x, memory_format)
    desc = describe(x, pooling, _any_of(mu, sigma, weight), number, memory_format)
    device.forward(x, desc, x=x.data_ptr(), mu=_address(mu), sigma=_address(sigma), weight=_address(weight), seed=key,
                   y=y.data_ptr())
    return y


def _pool_backward_on(device, grad_y: Tensor, x: Tensor, mu: Optional[Tensor], sigma: Optional[Tensor],
                      weight: Optional[Tensor], seed: Optional[Tensor], grad_average: Optional[Tensor], wants_x: bool,
                      wants_params: bool, *args) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    pooling = Pooling(*args)
    params = {"mu": mu, "sigma": sigma, "weight": weight}
    device.check(x, {"grad_y": grad_y, **params, "grad_average": grad_average})
    number, key = device.key(x, seed)
    memory_format = memory_format_of(x)
    x, grad_y = readable(x, memory_format), readable(grad_y, memory_format)
    grad_average = None if grad_average is None else grad_average.contiguous()
    grad_x = device.empty(x.shape, x, memory_format, brief=True) if wants_x else x.new_empty(0)
    grads = _empty_grads(x, params, wants_params)
    desc = describe(x, pooling, _any_of(mu, sigma, weight), number, memory_format, grad_y)
    device.backward(x, desc, x=x.data_ptr(), mu=_address(mu), sigma=_address(sigma), weight=_address(weight), seed=key,
                    grad_y=grad_y.data_ptr(), grad_average_x=_address(grad_average),
                    grad_x=grad_x.data_ptr() if wants_x else None,
                    **{f"grad_{name}": grad.data_ptr() for name, grad in grads.items() if grad.numel()})
    return grad_x, grads["mu"], grads["sigma"], grads["weight"]


def _empty_grads(x: Tensor, params: Dict[str, Optional[Tensor]], wanted: bool) -> Dict[str, Tensor]:
    """Tensors like the parameters; of no elements where there is no parameter, or none is wanted."""
    return {name: torch.empty_like(param) if wanted and param is not None else x.new_empty(0)
            for name, param in params.items()}


def _links(x: Tensor, pooling: Pooling) -> Tuple[Tensor, Tensor]:
    """One element each, which nobody reads, seen as y's shape and as [parameters][n][c]."""
    params = x.new_empty((), dtype=param_dtype(x.dtype))
    return (x.new_empty(()).expand(output_shape(x, pooling)),
            params.expand((len(pooling.param_names()), x.shape[0], x.shape[1])))


def _guide_on(device, x: Tensor, seed: Optional[Tensor], *args) -> Tuple[Tensor, Tensor, Tensor]:
    device.check(x, {})
    return (device.average(x), *_links(x, Pooling(*args)))


def _kernel(function: Callable, device_type: str) -> Callable:
    return lambda *args: function(DEVICES[device_type], *args)


# ---- Shapes alone ---------------------------------------------------------------------------

def _empty(x: Tensor, shape) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format_of(x))


def _pool_fake(x, mu, sigma, weight, seed, link_y, link_params, *args):
    return _empty(x, output_shape(x, Pooling(*args)))


def _pool_backward_fake(grad_y, x, mu, sigma, weight, seed, grad_average, wants_x, wants_params, *args):
    grads = _empty_grads(x, {"mu": mu, "sigma": sigma, "weight": weight}, wants_params)
    return _empty(x, x.shape) if wants_x else x.new_empty(0), grads["mu"], grads["sigma"], grads["weight"]


def _guide_fake(x, seed, *args):
    return (x.new_empty(x.shape[:2], dtype=param_dtype(x.dtype)), *_links(x, Pooling(*args)))


# ---- Autograd -------------------------------------------------------------------------------

def _pool_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:5])
    ctx.linked, ctx.pooling = inputs[5] is not None, Pooling(*inputs[7:])


def _pool_grad(ctx, grad_y):
    x, mu, sigma, weight, seed = ctx.saved_tensors
    wants_x, wants_params = ctx.needs_input_grad[0] and not ctx.linked, any(ctx.needs_input_grad[1:4])
    grads, links = [None] * 4, [None] * 2
    if wants_x or wants_params:
        grads = torch.ops.gausspool.pool_backward(grad_y, x, mu, sigma, weight, seed, None, wants_x, wants_params,
                                                  *ctx.pooling)
        grads = [grad if wanted else None for grad, wanted in zip(grads, (wants_x, *ctx.needs_input_grad[1:4]))]
    if ctx.linked:
        params = {"mu": mu, "sigma": sigma, "weight": weight}
        links = [grad_y, torch.stack([params[name] for name in ctx.pooling.param_names()])]
    return (*grads, None, *links, *[None] * len(ctx.pooling))


def _guide_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])
    ctx.pooling = Pooling(*inputs[2:])


def _guide_grad(ctx, grad_average, grad_y, params):
    x, seed = ctx.saved_tensors
    found = dict(zip(ctx.pooling.param_names(), params.unbind()))
    grad_x = torch.ops.gausspool.pool_backward(grad_y, x, found.get("mu"), found.get("sigma"), found.get("weight"), seed,
                                               grad_average, True, False, *ctx.pooling)[0]
    return (grad_x, None, *[None] * len(ctx.pooling))


def _refuse_setup(ctx, inputs, output):
    pass


def _refuse_double_backward(ctx, *grads):
    raise RuntimeError(_DOUBLE_BACKWARD_MESSAGE)


# ---- Registration ---------------------------------------------------------------------------

def _below_autograd(op: Callable, args):
    """The same operator without its autograd kernel. The guard of PyTorch 1.13 is not a context manager: it lasts while
    the object does."""
    guard = torch._C._AutoDispatchBelowAutograd()
    try:
        return op(*args)
    finally:
        del guard


def _autograd_kernel(name: str, backward: Callable, setup_context: Callable) -> Callable:
    """What torch.library.register_autograd makes, for versions before 2.4 that do not have it."""
    op = getattr(torch.ops.gausspool, name)

    def forward(ctx, *args):
        output = _below_autograd(op, args)
        setup_context(ctx, args, output)
        return output

    Node = type(f"{name}_autograd", (torch.autograd.Function,),
                {"forward": staticmethod(forward), "backward": staticmethod(backward)})

    def kernel(*args):
        differentiated = any(isinstance(arg, Tensor) and arg.requires_grad for arg in args)
        return Node.apply(*args) if differentiated and torch.is_grad_enabled() else _below_autograd(op, args)

    return kernel


def _register(library: torch.library.Library, name: str, function: Callable, fake: Callable, backward: Callable,
              setup_context: Callable) -> None:
    library.define(name + _SCHEMAS[name])
    library.impl(name, _kernel(function, "cpu"), "CPU")
    library.impl(name, _kernel(function, "cuda"), "CUDA")
    if hasattr(torch.library, "register_autograd"):
        torch.library.register_fake(f"gausspool::{name}", fake, lib=library)
        torch.library.register_autograd(f"gausspool::{name}", backward, setup_context=setup_context, lib=library)
    else:
        library.impl(name, fake, "Meta")
        library.impl(name, _autograd_kernel(name, backward, setup_context), "Autograd")


_operators = torch.library.Library("gausspool", "DEF")  # the registrations last as long as this object
_register(_operators, "pool", _pool_on, _pool_fake, _pool_grad, _pool_setup)
_register(_operators, "pool_backward", _pool_backward_on, _pool_backward_fake, _refuse_double_backward, _refuse_setup)
_register(_operators, "guide", _guide_on, _guide_fake, _guide_grad, _guide_setup)


def _check_device(x: Tensor) -> None:
    if x.device.type not in (*DEVICES, "meta"):
        raise NotImplementedError(f"gausspool: expected a tensor on the CPU or a CUDA device, found {x.device}. Move the pooling's input "
                                  "and parameters there (.cpu())")


def pool(x: Tensor, pooling: Pooling, mu: Optional[Tensor] = None, sigma: Optional[Tensor] = None,
         weight: Optional[Tensor] = None, seed: Optional[Tensor] = None,
         links: Links = (None, None)) -> Tensor:
    """y [n][c][h'][w'] of x [n][c][h][w]. mu, sigma and weight are dense, of param_dtype(x.dtype), shaped as in
    _param_shape()."""
    _check_device(x)
    return torch.ops.gausspool.pool(x, mu, sigma, weight, seed, *links, *pooling)


def guide(x: Tensor, pooling: Pooling, seed: Optional[Tensor] = None) -> Tuple[Tensor, Links]:
    """x's global average [n][c], and the links for pool() with the same pooling and seed."""
    _check_device(x)
    average, link_y, link_params = torch.ops.gausspool.guide(x, seed, *pooling)
    return average, (link_y, link_params)
