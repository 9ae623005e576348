"""What only a GPU shows: streams, CUDA graphs, autocast, memory, several devices. Results beside the CPU's are in test_cuda_results.py,
compiled code in test_cuda_compiled.py.

On a bare machine, from the source tree, with libraries built there:

    GAUSSPOOL_LIBRARY=…/libgausspool.so GAUSSPOOL_CUDA_LIBRARY=…/libgausspool_cuda.so python3 -m pytest bindings/python/tests -m cuda
"""
import copy
import gc

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cuda_nets import images, make_net, sampled, step
from gausspool.torch import GaussianPooling2d, functional

LONG = 100_000_000  # cycles, some 50 ms: a call that does not wait for its input comes too early
WARM_UP = 3
CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # of the same draws: the convolutions' algorithms may change, and batch norm magnifies rounding

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("gpu")]


# ---- Draws ----------------------------------------------------------------------------------

def test_manual_seed_governs_the_draws():
    x = images()
    torch.manual_seed(5)
    first, second = sampled(x), sampled(x)
    torch.manual_seed(5)
    assert torch.equal(sampled(x), first) and torch.equal(sampled(x), second) and not torch.equal(first, second)


def test_generators():
    x = images()
    for device in ("cuda", "cpu"):
        results = [sampled(x, generator=torch.Generator(device).manual_seed(seed)) for seed in (1, 1, 2)]
        assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    on_cpu = sampled(x.cpu(), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sampled(x, generator=torch.Generator().manual_seed(1)).cpu(), on_cpu)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_redraws_the_same_noise(use_reentrant):
    net, values, results = make_net(), images(), []
    for run in (net, lambda x: checkpoint(net, x, use_reentrant=use_reentrant)):
        x = values.clone().requires_grad_()
        torch.manual_seed(1)
        y = run(x)
        torch.randn(3, device="cuda")
        y.square().sum().backward()
        results.append(x.grad)
    torch.testing.assert_close(*results, **CLOSE)


# ---- Streams --------------------------------------------------------------------------------

def test_work_is_in_the_streams_order():
    """What x is to hold is written late on a side stream; so is grad_y. A call on another stream would not wait for it."""
    source, x, side = images(8, 16, 64, 64), torch.zeros(8, 16, 64, 64, device="cuda"), torch.cuda.Stream()
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = functional.soft_pool2d(source.detach().requires_grad_(), 2)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(LONG)
        with torch.no_grad():
            x.copy_(source)
        y = functional.soft_pool2d(x, 2)
        grad_y = torch.zeros_like(y)
        torch.cuda._sleep(LONG)
        grad_y.fill_(1)
        (grad,) = torch.autograd.grad(y, x, grad_y)
    side.synchronize()
    assert torch.equal(y, expected)
    wanted = source.detach().requires_grad_()
    assert torch.equal(grad, torch.autograd.grad(functional.soft_pool2d(wanted, 2).sum(), wanted)[0])


def test_memory_is_not_reused_too_early():
    """Many calls on two streams at once, their workspaces freed as soon as they return."""
    x, streams = images(4, 16, 33, 35), [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    call = lambda: torch.autograd.grad(functional.soft_pool2d(leaf, (3, 2)).square().sum(), leaf)[0]
    leaf = x.detach().requires_grad_()
    expected = call()
    torch.cuda.synchronize()
    found = []
    for _ in range(50):
        for stream in streams:
            with torch.cuda.stream(stream):
                found.append(call())
    torch.cuda.synchronize()
    assert all(torch.equal(grad, expected) for grad in found)


def test_nothing_waits():
    net, x = make_net(), images()
    step(net, x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(net, x)
        for stochasticity in ("HWCN", "CN"):
            sampled(x, stochasticity=stochasticity)
        functional.stochastic_pool2d(x, 3, 2, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_does_not_grow():
    net, x, held = make_net(), images(), []
    gc.collect()  # what other tests left in circles would go in between
    for _ in range(8):
        step(net, x)
        torch.cuda.synchronize()
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert all(last <= early for last, early in zip(held[-1], held[2])), held


# ---- CUDA graphs ----------------------------------------------------------------------------

def captured(function):
    """A graph of the function, and what it returned while it was captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()
    return graph, output


def replayed(graph, output, seed, times=2):
    torch.cuda.manual_seed(seed)
    results = []
    for _ in range(times):
        graph.replay()
        results.append([tensor.clone() for tensor in output])
    return results


@pytest.mark.parametrize("stochasticity", ["HWCN", "CN"])
def test_graph_draws_anew_at_each_replay(stochasticity):
    x = images()
    graph, output = captured(lambda: [sampled(x, stochasticity=stochasticity)])
    first, second = replayed(graph, output, 3)
    assert not torch.equal(first[0], second[0])
    again = replayed(graph, output, 3)
    assert torch.equal(again[0][0], first[0]) and torch.equal(again[1][0], second[0])
    torch.cuda.manual_seed(3)
    assert torch.equal(sampled(x, stochasticity=stochasticity), first[0])  # and as without a graph


def test_graph_of_a_training_step():
    """Forward and backward draw the same; new input is read at each replay."""
    net, x = make_net(), images()
    graph, output = captured(lambda: step(net, x))
    with torch.no_grad():
        x.normal_()
    (found,) = replayed(graph, output, 7, times=1)
    torch.cuda.manual_seed(7)
    other = copy.deepcopy(net)
    for value, wanted in zip(found, step(other, x)):
        torch.testing.assert_close(value, wanted, **CLOSE)


def test_graphed_callable():
    net, x = make_net(), images().requires_grad_()
    graphed = torch.cuda.make_graphed_callables(copy.deepcopy(net), (x.detach().requires_grad_(),))
    results = []
    for each in (graphed, net):
        torch.cuda.manual_seed(7)
        y = each(x)
        results.append([y.detach().clone(), *(grad.clone() for grad in torch.autograd.grad(y.square().sum(), [x, *each.parameters()]))])
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, **CLOSE)


def test_key_of_the_cpu_is_refused_in_a_graph():
    x, generator = images(), torch.Generator()
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="cannot be captured into a CUDA graph"):
        with torch.cuda.graph(graph):
            sampled(x, generator=generator)
    torch.cuda.synchronize()
    sampled(x, generator=generator)


# ---- As other layers ------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype):
    net, x, seen = make_net(stochasticity=None), images(), []
    expected = net(x)
    net[1].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    with torch.autocast("cuda", dtype=dtype):
        y = net(x)
        assert sampled(x).dtype == torch.float32
    assert seen == [(dtype, dtype)]
    assert (y.float() - expected).abs().mean() < 0.05 * expected.abs().mean() + 0.02
    y.float().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_same_bits_again(memory_format):
    layer, x = GaussianPooling2d(64, 3, 2, 1).cuda(), torch.randn(8, 64, 31, 30, device="cuda").contiguous(memory_format=memory_format)
    results = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            torch.manual_seed(3)
            results.append(step(layer, x))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *results))


def test_tensors_on_other_devices_are_refused():
    x, there = torch.zeros(2, 4, 6, 6), torch.zeros(2, 4, device="cuda")
    for input, weight in ((x, there), (x.cuda(), there.cpu())):
        with pytest.raises(ValueError, match="weight: expected it on the input's device"):
            functional.gaussian_pool2d(input, weight, 2)
    pooling = ("weighted", [2, 2], [2, 2], [0, 0], False, True, 1e-6, 2.0, "none")
    with pytest.raises(ValueError, match="weight: expected it on the input's device cpu, found cuda:0"):
        torch.ops.gausspool.pool(x, None, None, there, None, None, None, *pooling)


# ---- Several devices ------------------------------------------------------------------------

@pytest.fixture
def two_devices():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")


def test_the_inputs_device_is_used_not_the_current_one(two_devices):
    x = images().to("cuda:1")
    y = sampled(x, generator=torch.Generator().manual_seed(1))
    assert y.device == x.device and torch.cuda.current_device() == 0
    torch.testing.assert_close(y.cpu(), sampled(x.cpu(), generator=torch.Generator().manual_seed(1)))


def test_data_parallel(two_devices):
    net, x = make_net(stochasticity=None).eval(), images(8, 3, 16, 16)
    torch.testing.assert_close(nn.DataParallel(net, [0, 1])(x), net(x), **CLOSE)
