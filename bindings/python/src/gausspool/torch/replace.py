"""Swapping the poolings of a net that is there already."""
from __future__ import annotations

import inspect
from fnmatch import fnmatchcase
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple, Type, Union

import torch
from torch import Tensor, nn

from .modules import GaussianPooling2d

__all__ = ["Replacement", "replace_pooling"]

_Select = Union[Type[nn.Module], Tuple[Type[nn.Module], ...], str, Iterable[str], Callable[[str, nn.Module], bool]]

_POOLINGS = (nn.MaxPool2d, nn.AvgPool2d)
# Sides of a picture to try when no example is given: most nets take the first, some have a linear layer made for one size.
_SIDES = (224, 32, 28, 64, 96, 128, 160, 192, 256, 299, 384)


class Replacement(NamedTuple):
    """What :func:`replace_pooling` did."""

    module: nn.Module  # the net; another object than was given only if that itself was a pooling
    names: List[str]  # of the poolings replaced, as in named_modules()


def replace_pooling(module: nn.Module, select: _Select = _POOLINGS, example: Union[None, Tensor, Tuple[Any, ...]] = None,
                    layer: Callable[..., nn.Module] = GaussianPooling2d, **options: Any) -> Replacement:
    """Replaces max and average poolings inside a net, in place, by Gaussian pooling or another layer.

    The new layers keep kernel size, stride, padding, ceil_mode and, of an average pooling, count_include_pad; whether they are in
    training mode; and the device and type of what flows through them. Numbers of channels are seen in a dry run of the net in eval
    mode, which changes nothing in it.

    A pooling that is used in several places, called several times or registered under several names, becomes one layer used in
    the same places, with one set of parameters; all its names are replaced. Its calls must all have the same number
    of channels.

    Hooks on a pooling are not taken over. Optimizers made before do not know of the new parameters: make them after.

    Args:
        module: the net.
        select: which poolings: a type or tuple of types (``torch.nn.MaxPool2d``); a pattern of names or several (``"layer*.pool"``,
            as in :mod:`fnmatch`); or a function of name and module that tells. By default every MaxPool2d and AvgPool2d.
        example: an input for the dry run, (N, C, H, W), or a tuple of arguments. Without it, a picture of zeros for the net's first
            convolution, of the first of some usual sizes that the net takes.
        layer: the new layer's class, or a function of ``(num_features, kernel_size=, stride=, padding=, ceil_mode=, count_include_pad=,
            **options)``; count_include_pad is given only by an average pooling, to a signature that has it.
        options: further arguments of every new layer, such as ``stochasticity="CN"``, or others than the pooling's.

    Returns:
        The net and the names of the poolings replaced.

    Raises:
        ValueError: when nothing is selected, or something that cannot be replaced: dilation, return_indices, divisor_override;
            when a selected pooling is not called in the dry run, or with different numbers of channels; or when no
            input could be made up. The net is then as it was.
        TypeError: when ``select`` or ``module`` is of another type.

    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.AvgPool2d(3, padding=1))
    >>> replace_pooling(net, select=nn.MaxPool2d, stochasticity="CN").names
    ['2']
    >>> net[2].num_features, net(torch.zeros(8, 3, 32, 32)).shape
    (16, torch.Size([8, 32, 5, 5]))
    """
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise TypeError(f"module: expected a torch.nn.Module that is not yet a script, found {type(module).__name__}")
    found = _find(module, select)
    for place in found.values():
        _check_replaceable(place)
    _dry_run(module, found, example)
    replacements = [_make(place, layer, options) for place in found.values()]
    for place, replacement in zip(found.values(), replacements):
        module = _swap(module, place, replacement)
    return Replacement(module, [name for place in found.values() for name in place.names])


# ---- Finding the poolings -------------------------------------------------------------------

class _Place:
    """A pooling module, its names, and what the dry run saw of its outputs."""

    def __init__(self, pooling: nn.Module) -> None:
        self.pooling = pooling
        self.names: List[str] = []
        self.channels: Set[int] = set()
        self.output = torch.empty(0)  # of the type and on the device of its outputs

    def __str__(self) -> str:
        return f"{self.names[0] or 'the module itself'} ({type(self.pooling).__name__})"


def _selector(select: _Select) -> Callable[[str, nn.Module], bool]:
    types = (select,) if isinstance(select, type) else select
    if isinstance(types, tuple) and types and all(isinstance(item, type) for item in types):
        for item in types:
            if not issubclass(item, _POOLINGS):
                raise TypeError(f"select: expected torch.nn.MaxPool2d, torch.nn.AvgPool2d or a subclass, found {item.__name__}")
        return lambda name, module: isinstance(module, types)
    if callable(select) and not isinstance(select, type):
        return select
    patterns: List[Any] = [select] if isinstance(select, str) else list(select) if isinstance(select, Iterable) else []
    if not patterns or not all(isinstance(item, str) for item in patterns):
        raise TypeError(f"select: expected types, patterns of names, or a function of name and module, found {select!r}")
    return lambda name, module: any(fnmatchcase(name, pattern) for pattern in patterns)


def _find(module: nn.Module, select: _Select) -> Dict[nn.Module, _Place]:
    """The poolings selected under any of their names, each with all of them."""
    wanted = _selector(select)
    poolings: Dict[nn.Module, _Place] = {}
    chosen = set()
    for name, child in module.named_modules(remove_duplicate=False):
        if isinstance(child, _POOLINGS):
            poolings.setdefault(child, _Place(child)).names.append(name)
            if wanted(name, child):
                chosen.add(child)
    if not chosen:
        there = ", ".join(map(str, poolings.values())) or "none"
        raise ValueError(f"select: found no pooling to replace; the net's MaxPool2d and AvgPool2d: {there}")
    return {pooling: place for pooling, place in poolings.items() if pooling in chosen}


def _check_replaceable(place: _Place) -> None:
    for option, plain in (("dilation", (1, (1, 1))), ("return_indices", (False,)), ("divisor_override", (None,))):
        value = getattr(place.pooling, option, plain[0])
        if value not in plain:
            raise ValueError(f"{place}: {option}={value} has no counterpart; leave this pooling out by `select`")


# ---- The dry run ----------------------------------------------------------------------------

def _dry_run(module: nn.Module, found: Dict[nn.Module, _Place], example: Union[None, Tensor, Tuple[Any, ...]]) -> None:
    def watch(pooling: nn.Module, inputs: Tuple[Any, ...], output: Tensor) -> None:
        found[pooling].channels.add(output.shape[-3])
        found[pooling].output = output.new_empty(0)

    modes = [(child, child.training) for child in module.modules()]
    handles = [pooling.register_forward_hook(watch) for pooling in found]
    try:
        module.eval()
        with torch.no_grad():
            if example is None:
                _run_on_zeros(module)
            else:
                module(*(example if isinstance(example, tuple) else (example,)))
    finally:
        for handle in handles:
            handle.remove()
        for child, training in modes:
            child.training = training
    for place in found.values():
        if not place.channels:
            raise ValueError(f"{place}: was not called in the dry run; leave it out by `select`, or pass an `example` with which "
                             "it is")
        if len(place.channels) > 1:
            counts = " and ".join(map(str, sorted(place.channels)))
            raise ValueError(f"{place}: was called with {counts} channels; one layer has one number of channels, so give each "
                             "place a pooling of its own")


def _run_on_zeros(module: nn.Module) -> None:
    first = next((child for child in module.modules() if isinstance(child, nn.Conv2d)), None)
    if first is None:
        raise ValueError("example: found no Conv2d to make up an input for; pass an `example`")
    failures = []
    for side in _SIDES:
        try:
            module(first.weight.new_zeros(1, first.in_channels, side, side))
            return
        except Exception as error:  # a net may refuse an input in any way
            failures.append(f"{side}x{side}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    raise ValueError(f"example: the net took no made-up input of shape (1, {first.in_channels}, H, W); pass an `example`. "
                     f"Found {failures[0]}")


# ---- The new layers -------------------------------------------------------------------------

def _make(place: _Place, layer: Callable[..., nn.Module], options: Dict[str, Any]) -> nn.Module:
    pooling = place.pooling
    arguments = {name: getattr(pooling, name) for name in ("kernel_size", "stride", "padding", "ceil_mode")}
    taken = inspect.signature(layer).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    if isinstance(pooling, nn.AvgPool2d) and (takes_all or "count_include_pad" in taken):
        arguments["count_include_pad"] = pooling.count_include_pad
    (channels,) = place.channels
    replacement = layer(channels, **{**arguments, **options})
    return replacement.to(device=place.output.device, dtype=place.output.dtype).train(pooling.training)


def _swap(module: nn.Module, place: _Place, replacement: nn.Module) -> nn.Module:
    for name in place.names:
        if not name:
            return replacement
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, replacement)
    return module
