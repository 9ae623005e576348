"""What users do with PyTorch's modules goes on working: seeds, copies, checkpointing, autocast, tracing, compiling, parallel training."""
import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gausspool.torch import GaussianPooling2d, MaxEntPooling2d, functional

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
needs_compile = pytest.mark.skipif(VERSION < (2, 3), reason=f"compiling is tested from PyTorch 2.3 on, found {torch.__version__}")
needs_opcheck = pytest.mark.skipif(not hasattr(torch.library, "opcheck"),
                                   reason=f"torch.library.opcheck came with PyTorch 2.4, found {torch.__version__}")


def make_net(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), GaussianPooling2d(8, 2, **options), nn.Conv2d(8, 8, 1), MaxEntPooling2d(8, 2))


def sampled(x, **options):
    mu, sigma = torch.full(x.shape[:2], 0.5), torch.full(x.shape[:2], 0.3)
    return functional.sampled_gaussian_pool2d(x, mu, sigma, 2, **options)


# ---- Draws ----------------------------------------------------------------------------------

@pytest.mark.parametrize("stochasticity", ["HWCN", "CN"])
def test_manual_seed_governs_the_draws(stochasticity):
    x = torch.randn(2, 3, 8, 8)
    first, second = (sampled(x, stochasticity=stochasticity) for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    first, second = (sampled(x, stochasticity=stochasticity) for _ in range(2))
    torch.manual_seed(5)
    assert torch.equal(first, sampled(x, stochasticity=stochasticity))
    assert torch.equal(second, sampled(x, stochasticity=stochasticity))
    assert torch.equal(sampled(x, stochasticity=None), sampled(x, training=False))


def test_generator():
    x, state = torch.rand(2, 3, 8, 8), torch.get_rng_state()
    results = [sampled(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    results += [functional.stochastic_pool2d(x, 2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert torch.equal(results[3], results[4]) and not torch.equal(results[3], results[5])
    assert torch.equal(state, torch.get_rng_state())


def test_draws_do_not_depend_on_memory_order():
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.manual_seed(1)
    expected = sampled(x)
    torch.manual_seed(1)
    torch.testing.assert_close(sampled(x.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_redraws_the_same_noise(use_reentrant):
    layer, x = GaussianPooling2d(4, 2), torch.randn(2, 4, 6, 6, requires_grad=True)
    leaves, grads = [x, *layer.parameters()], []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=use_reentrant)):
        torch.manual_seed(1)
        y = run(x)
        torch.randn(3)  # the recomputation has to go back to its own place in the stream
        y.square().sum().backward()  # the reentrant kind does not work with torch.autograd.grad
        grads.append([y.detach(), *(leaf.grad.clone() for leaf in leaves)])
        for leaf in leaves:
            leaf.grad = None
    for found, expected in zip(grads[1], grads[0]):
        assert torch.equal(found, expected)


# ---- Copies ---------------------------------------------------------------------------------

def test_deepcopy_and_pickle():
    net, x = make_net(), torch.randn(2, 3, 12, 12)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        results = []
        for each in (net, other):
            torch.manual_seed(1)
            results.append(each(x))
        assert torch.equal(*results)
        assert repr(other) == repr(net)
        assert other[1].ToMean[0].weight.data_ptr() != net[1].ToMean[0].weight.data_ptr()


def test_module_of_another_type():
    net = make_net().half().float().double()
    assert net(torch.randn(2, 3, 12, 12, dtype=torch.float64)).dtype == torch.float64


def test_loaders_workers_can_use_it():
    """An operator first called in the parent goes on working in a forked child."""
    x = torch.randn(4, 3, 40, 40)
    expected = functional.avg_pool2d(x, 2)
    loader = torch.utils.data.DataLoader(Pooled(x), batch_size=4, num_workers=1, multiprocessing_context="fork")
    assert torch.equal(next(iter(loader)), expected)


class Pooled(torch.utils.data.Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return functional.avg_pool2d(self.x[index], 2)


# ---- Types ----------------------------------------------------------------------------------

def test_autocast_keeps_the_inputs_type():
    net, x = make_net(), torch.randn(2, 3, 12, 12)
    seen = []
    net[1].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
        assert sampled(x).dtype == torch.float32
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    y.float().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())
    assert net[1].ToMean[0].weight.grad.abs().sum() > 0


def test_autocast_is_near_float32():
    net, x = make_net(stochasticity=None), torch.randn(8, 3, 20, 20)
    expected = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(x)
    assert (found.float() - expected).abs().mean() < 0.05 * expected.abs().mean() + 0.02


# ---- Autograd -------------------------------------------------------------------------------

@pytest.mark.parametrize("call", [lambda x: functional.gaussian_pool2d(x, 0.5, 2), GaussianPooling2d(3, 2),
                                  MaxEntPooling2d(3, 2)])
def test_double_backward_is_refused(call):
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="gausspool: double backward is not supported"):
        grad.square().sum().backward()


def test_backward_twice_over_a_kept_graph():
    layer, x = GaussianPooling2d(3, 2), torch.randn(2, 3, 6, 6, requires_grad=True)
    y = layer(x).square().sum()
    first = torch.autograd.grad(y, x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(y, x)[0], first)


def test_input_changed_in_place_is_noticed():
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    inner = x * 1
    y = functional.soft_pool2d(inner, 2)
    inner.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_gradient_of_one_output_element():
    """grad_y comes in any strides: here expanded, and with zeros."""
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(functional.avg_pool2d(x, 2)[0, 0, 0, 0], x)
    assert grad.count_nonzero() == 4
    (grad,) = torch.autograd.grad(functional.avg_pool2d(x, 2).transpose(2, 3).square().sum(), x)
    assert torch.isfinite(grad).all()


def test_deterministic_algorithms():
    results = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            net = make_net()
            torch.manual_seed(3)
            x = torch.randn(2, 3, 12, 12)
            net(x).square().sum().backward()
            results.append([parameter.grad for parameter in net.parameters()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *results))


def test_anomaly_mode():
    with torch.autograd.set_detect_anomaly(True):
        make_net()(torch.randn(2, 3, 12, 12)).sum().backward()


# ---- Tracing, compiling ---------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_trace_in_eval():
    net = make_net().eval()
    with torch.no_grad():
        traced = torch.jit.trace(net, torch.randn(2, 3, 12, 12))
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)
        x = torch.randn(4, 3, 15, 14)  # another size than that traced
        expected = net(x)
        for found in (traced(x), loaded(x)):  # the trace has the heads' layers as convolutions
            torch.testing.assert_close(found, expected)


def test_fx_keeps_the_layers_whole():
    net, x = make_net().eval(), torch.randn(2, 3, 12, 12)
    traced = torch.fx.symbolic_trace(net)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["0", "1", "2", "3"]
    assert torch.equal(traced(x), net(x))


def test_meta_tensors():
    net = make_net().to("meta")
    assert net(torch.empty(2, 3, 12, 12, device="meta")).shape == (2, 8, 2, 2)


@needs_compile
@pytest.mark.parametrize("backend, memory_format", [
    ("aot_eager", torch.contiguous_format), ("aot_eager", torch.channels_last), ("inductor", torch.channels_last)])
def test_compile_without_graph_break(backend, memory_format):
    torch._dynamo.reset()
    net, x = make_net(stochasticity=None), torch.randn(2, 3, 12, 12).contiguous(memory_format=memory_format)
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    results = []
    for each in (net, compiled):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = each(leaf)
        results.append([y, *torch.autograd.grad(y.square().sum(), [leaf, *net.parameters()], allow_unused=True)])
    for found, expected in zip(results[1], results[0]):
        assert (found is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_compile
def test_compiled_draws():
    torch._dynamo.reset()
    layer, x = GaussianPooling2d(4, 2), torch.randn(2, 4, 6, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    first = compiled(x)
    assert not torch.equal(compiled(x), first)  # a new draw in each call
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        results.append(compiled(x))
    assert torch.equal(*results)


@needs_opcheck
def test_registration_by_opcheck():
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    mu, sigma = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    pooling = ("isp_gaussian", [2, 3], [2, 2], [1, 1], True, False, 1e-6, 2.0, "HWCN")
    seed = torch.tensor([7])
    for inner in (x, x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()):
        torch.library.opcheck(torch.ops.gausspool.pool.default, (inner, mu, sigma, None, seed, None, None, *pooling))
        torch.library.opcheck(torch.ops.gausspool.guide.default, (inner, seed, *pooling),
                              test_utils=["test_schema", "test_autograd_registration", "test_faketensor"])


@needs_compile
def test_compiled_for_any_size():
    """Also in the other memory order than the first call's: shapes and strides of what is compiled follow the input."""
    torch._dynamo.reset()
    layer = GaussianPooling2d(4, 3, 2, 1).eval()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((3, 4, 9, 8), (5, 4, 7, 12)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape).contiguous(memory_format=memory_format).requires_grad_()
            y = compiled(x)
            assert y.is_contiguous(memory_format=memory_format)
            torch.testing.assert_close(y, layer(x))
            assert torch.autograd.grad(y.sum(), x)[0].is_contiguous(memory_format=memory_format)


@pytest.mark.skipif(VERSION < (2, 4), reason=f"torch.export with dynamic sizes is tested from PyTorch 2.4 on, found {torch.__version__}")
def test_exported_for_any_size():
    layer = GaussianPooling2d(4, 3, 2, 1).eval()
    sizes = {0: torch.export.Dim("n", max=64), 2: torch.export.Dim("h", min=4, max=99), 3: torch.export.Dim("w", min=4, max=99)}
    exported = torch.export.export(layer, (torch.randn(3, 4, 9, 8),), dynamic_shapes=(sizes,)).module()
    for shape in ((3, 4, 9, 8), (1, 4, 7, 12)):
        x = torch.randn(shape)
        torch.testing.assert_close(exported(x), layer(x))


# ---- Parallel training ----------------------------------------------------------------------

def replicate(module):
    """A replica as DataParallel makes it: its parameters are attributes, no longer in parameters()."""
    replica = module._replicate_for_data_parallel()
    for name, child in module._modules.items():
        replica._modules[name] = replicate(child)
    for name, parameter in module._parameters.items():
        setattr(replica, name, parameter.view_as(parameter))
    return replica


def test_data_parallel():
    net, x = make_net(), torch.randn(4, 3, 12, 12)
    replica = replicate(net)
    assert not list(replica.parameters())
    results = []
    for each in (net, nn.DataParallel(net), replica):  # without a GPU DataParallel is the module itself
        torch.manual_seed(1)
        results.append(each(x))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_replicas_in_threads():
    """As DataParallel runs them: shallow copies, forward in a thread each, backward from one."""
    net, x = make_net(stochasticity=None).eval(), torch.randn(8, 3, 12, 12)
    outputs = [None] * 4

    def work(index):
        outputs[index] = net(x[2 * index:2 * index + 2])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = torch.cat(outputs)
    torch.testing.assert_close(found, net(x))
    grads = torch.autograd.grad(found.square().sum(), list(net.parameters()), allow_unused=True)
    expected = torch.autograd.grad(net(x).square().sum(), list(net.parameters()), allow_unused=True)
    for grad, wanted in zip(grads, expected):
        assert grad is wanted is None or torch.allclose(grad, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        net, x = make_net(), torch.randn(2, 3, 12, 12)
        torch.manual_seed(1)
        nn.parallel.DistributedDataParallel(copy.deepcopy(net))(x).sum().backward()
        parallel = nn.parallel.DistributedDataParallel(net)
        torch.manual_seed(1)
        parallel(x).sum().backward()
        grads = [parameter.grad.clone() for parameter in net.parameters()]
        net.zero_grad()
        torch.manual_seed(1)
        net(x).sum().backward()
        for grad, parameter in zip(grads, net.parameters()):
            torch.testing.assert_close(grad, parameter.grad)
    finally:
        torch.distributed.destroy_process_group()
