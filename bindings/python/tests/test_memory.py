"""Memory that outlives its tensor: large outputs lie in blocks that later ones use again."""
import gc
import mmap
import os
import signal
import threading

import pytest
import torch
from torch import nn

from gausspool.torch import GaussianPooling2d, _memory, avg_pool2d, empty_cache

pytestmark = pytest.mark.skipif(not _memory._SUPPORTED, reason="this system has no MADV_FREE: PyTorch's own memory is used")

MIB = 1 << 20
LIKE = torch.empty(0)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(_memory, "_blocks", _memory._Blocks())


def make(mebibytes, brief=False, memory_format=torch.contiguous_format):
    return _memory.empty((mebibytes, 16, 128, 128), LIKE, memory_format, brief)  # 1 MiB each of the first


def kept():
    return [len(block) for block in _memory._blocks._free]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_as_torch_empty(dtype, memory_format):
    like = torch.empty(0, dtype=dtype)
    found = _memory.empty((12, 16, 128, 128), like, memory_format)
    expected = torch.empty((12, 16, 128, 128), dtype=dtype, memory_format=memory_format)
    assert found.dtype == dtype and found.shape == expected.shape and found.stride() == expected.stride()
    assert found.is_contiguous(memory_format=memory_format) and not found.requires_grad
    found.fill_(1)
    assert found.sum(dtype=torch.float64) == found.numel()


def test_small_tensors_are_pytorchs():
    make(1)
    assert kept() == []


def test_a_block_is_used_again_once_nothing_sees_it():
    tensor = make(16).fill_(3)
    part, address = tensor[3:], tensor.data_ptr()
    del tensor
    gc.collect()
    assert kept() == [] and float(part.min()) == 3.0
    del part
    gc.collect()
    assert len(kept()) == 1
    again = make(16)
    assert again.data_ptr() == address and kept() == []
    assert make(16).data_ptr() != address  # in use


def test_large_blocks_only_for_what_is_brief():
    tensor = make(64)
    address = tensor.data_ptr()
    del tensor
    lasting = make(16)
    assert lasting.data_ptr() != address and make(16, brief=True).data_ptr() == address


def test_what_is_kept_is_bounded():
    tensors = [make(size) for size in (64, 32, 16, 16, 32)]
    del tensors
    gc.collect()
    assert sum(kept()) <= 1.5 * (64 + 2) * MIB and max(kept()) == (64 + 2) * MIB
    empty_cache()
    assert kept() == []


def test_without_memory_for_a_block_pytorchs_is_used(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no memory")
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert make(16).fill_(1).sum() == 16 * MIB / 4


def test_results_do_not_depend_on_what_was_in_a_block():
    x = torch.randn(8, 64, 96, 96).contiguous(memory_format=torch.channels_last)  # 18 MiB
    layer = GaussianPooling2d(64, 2, stochasticity="HWCN")

    def step():
        torch.manual_seed(3)
        entry = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(entry)
        y.sum().backward()
        return y.detach().clone(), entry.grad.clone()

    first = step()
    for fill in (float("nan"), 7.0):
        tensors = [make(18, brief=True).fill_(fill), make(10).fill_(fill)]
        del tensors
        assert all(map(torch.equal, step(), first))


def test_gradients_outlive_the_step():
    """What is kept by the user is not written to by the next step."""
    x = torch.randn(8, 64, 96, 96, requires_grad=True)
    avg_pool2d(x, 2).sum().backward()
    held, value = x.grad, x.grad.clone()
    x.grad = None
    avg_pool2d(2 * x, 2).mul(5).sum().backward()
    assert torch.equal(held, value) and not torch.equal(x.grad, held)


def test_many_threads():
    def work(number):
        for turn in range(20):
            tensor = make(8 + (number + turn) % 5, brief=True).fill_(number)
            if float(tensor.max()) != number or float(tensor.min()) != number:
                failures.append(number)

    failures = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("after", [lambda y: torch.relu_(y), lambda y: y.add_(1), lambda y: y.detach_(),
                                   lambda y: nn.functional.dropout(y, 0.5, inplace=True)])
def test_large_outputs_can_be_changed_in_place(after):
    x = torch.randn(8, 64, 192, 192).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = after(avg_pool2d(x, 2))
    if y.requires_grad:
        y.sum().backward()
        assert x.grad.shape == x.shape
    net = nn.Sequential(GaussianPooling2d(64, 2), nn.ReLU(inplace=True))
    net(x).sum().backward()


def test_a_refused_request_changes_no_bound():
    assert _memory._blocks.take(1 << 60, None) is None
    tensors = [make(16) for _ in range(6)]
    del tensors
    gc.collect()
    assert sum(kept()) <= 1.5 * (16 + 2) * MIB


def test_what_is_kept_gives_way(monkeypatch):
    tensor = make(64)
    del tensor
    real, calls = mmap.mmap, []

    def refuse_while_kept(*args, **kwargs):
        calls.append(kept())
        if kept():
            raise OSError("no address space")
        return real(*args, **kwargs)
    monkeypatch.setattr(mmap, "mmap", refuse_while_kept)
    assert make(96).fill_(1).numel() and len(calls) == 2


def test_a_forked_process_does_not_wait_for_its_parents_threads():
    held, done = threading.Event(), threading.Event()

    def hold():
        with _memory._blocks._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends a child that waits
        make(16)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0
