"""Special values, empty batches, memory without copies, and what wrong arguments are told."""
import pytest
import torch

import plain
from gausspool.torch import GaussianPooling2d, _describe, functional

FORMATS = [torch.contiguous_format, torch.channels_last]
SIXTEEN_BIT = [torch.bfloat16, torch.float16]
ALL_DTYPES = [torch.float32, torch.float64, *SIXTEEN_BIT]


def sampled(x, kernel_size=2, **options):
    mu, sigma = torch.full(x.shape[:2], 0.5), torch.full(x.shape[:2], 0.3)
    return functional.sampled_gaussian_pool2d(x, mu, sigma, kernel_size, **options)


def gradient(function, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("value", [0.0, 3.0, -1e4])
def test_constant_windows(dtype, value):
    x = torch.full((2, 3, 6, 6), value, dtype=dtype)
    expected = value + (0.7 * torch.tensor(1e-6).sqrt())
    torch.testing.assert_close(functional.gaussian_pool2d(x, 0.7, 2), torch.full((2, 3, 3, 3), float(expected), dtype=dtype))
    grad = gradient(lambda x: functional.gaussian_pool2d(x, 0.7, 2), x)
    assert torch.equal(grad, torch.full_like(x, 0.25))  # none through the clamped deviation
    assert torch.isfinite(gradient(sampled, x)).all()


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_windows_of_one_element(dtype):
    x = torch.randn(2, 3, 4, 5).to(dtype)
    torch.testing.assert_close(functional.gaussian_pool2d(x, 1.0, 1), (x.float() + 1e-3).to(dtype))
    assert torch.equal(gradient(lambda x: functional.gaussian_pool2d(x, 1.0, 1), x), torch.ones_like(x))
    corner = functional.gaussian_pool2d(x, 0.0, 2, stride=1, padding=1, count_include_pad=False)[:, :, 0, 0]
    assert torch.equal(corner, x[:, :, 0, 0])


@pytest.mark.parametrize("memory_format", FORMATS)
def test_float16_does_not_overflow(memory_format):
    x = torch.full((2, 8, 6, 6), 6e4, dtype=torch.float16).contiguous(memory_format=memory_format)
    x[:, :, ::2] = -6e4
    y = functional.gaussian_pool2d(x, 1.0, 2)
    assert torch.equal(y, torch.full_like(y, 6e4))
    assert torch.isfinite(gradient(lambda x: functional.gaussian_pool2d(x, 1.0, 2), x)).all()
    assert torch.isfinite(GaussianPooling2d(8, 2)(x.abs())).all()


def test_small_deviation_beside_a_large_mean():
    """E[x²] − E[x]² in float32 would have no digit of it."""
    noise = torch.randn(2, 3, 6, 6) * 0.1
    x = 1e4 + noise
    expected = plain.pool(x.double(), _pooling("weighted"), weight=torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(functional.gaussian_pool2d(x, 1.0, 2).double() - 1e4, expected - 1e4, rtol=0, atol=1e-3)


def _pooling(kind):
    return _describe.Pooling(kind, (2, 2), (2, 2), (0, 0), False, True, 1e-6, 2.0, "none")


@pytest.mark.parametrize("memory_format", FORMATS)
def test_nan_and_infinity_stay_where_they_are(memory_format):
    x = torch.zeros(1, 2, 4, 4).contiguous(memory_format=memory_format)
    x[0, 0, 0, 0], x[0, 1, 3, 3] = float("nan"), float("inf")
    for y in (sampled(x), functional.avg_pool2d(x, 2), functional.soft_pool2d(x, 2)):
        assert y[0, 0, 0, 0].isnan() and not y[0, 1, 1, 1].isfinite()
        assert y.isfinite().sum() == 6


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_empty_batch(memory_format, dtype):
    x = torch.empty(0, 3, 6, 6, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.ones(3, requires_grad=True)
    y = functional.gaussian_pool2d(x, weight, 2)
    y.sum().backward()
    assert y.shape == (0, 3, 3, 3) and x.grad.shape == x.shape
    assert torch.equal(weight.grad, torch.zeros(3))
    layer = GaussianPooling2d(3, 2).eval()
    assert layer(x).shape == (0, 3, 3, 3)


# ---- Memory ---------------------------------------------------------------------------------

@pytest.mark.parametrize("arrangement, copied", [("contiguous", False), ("channels_last", False), ("sliced", False),
                                                 ("channels_last_sliced", False), ("transposed", True), ("strided", True)])
def test_read_in_place(arrangement, copied):
    x = plain.arrange(torch.randn(2, 8, 6, 7), arrangement)
    memory_format = _describe.memory_format_of(x)
    assert (_describe.readable(x, memory_format).data_ptr() != x.data_ptr()) == copied


@pytest.mark.parametrize("memory_format", FORMATS)
def test_outputs_have_the_inputs_order(memory_format):
    x = torch.randn(2, 8, 6, 7).contiguous(memory_format=memory_format).requires_grad_()
    y = sampled(x)
    assert y.is_contiguous(memory_format=memory_format)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert grad.is_contiguous(memory_format=memory_format)
    y = GaussianPooling2d(8, 2)(x)
    assert y.is_contiguous(memory_format=memory_format)
    expected = torch.nn.functional.avg_pool2d(x, 2)
    assert y.stride() == expected.stride()


def test_memory_around_a_slice_is_left_alone():
    frame = torch.full((3, 6, 9, 9), float("nan"))
    x = frame[1:2, 1:5, 2:8, 1:8]
    x.copy_(torch.randn(x.shape))
    before = frame.clone()
    y = sampled(x)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(frame, before, equal_nan=True, rtol=0, atol=0)


def test_value_expanded_along_every_axis():
    x = torch.tensor(2.0).expand(2, 3, 4, 4)
    assert torch.equal(functional.avg_pool2d(x, 2), torch.full((2, 3, 2, 2), 2.0))
    narrow = torch.tensor(2.0).expand(2, 3, 4, 1)
    assert torch.equal(functional.avg_pool2d(narrow, (2, 1)), torch.full((2, 3, 2, 1), 2.0))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_large_outputs(memory_format):
    """Those whose memory is asked for in large pages; the result does not depend on the number of threads."""
    threads = torch.get_num_threads()
    x = torch.randn(2, 8, 520, 510).contiguous(memory_format=memory_format)
    assert x.numel() * 4 > 8 << 20
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(1)
            leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
            y = sampled(leaf, 3, stride=2, padding=1)
            results.append((y.detach(), torch.autograd.grad(y.square().sum(), leaf)[0]))
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *results))
    expected = torch.nn.functional.avg_pool2d(x, 3, 2, 1)
    torch.testing.assert_close(functional.avg_pool2d(x, 3, 2, 1), expected)


# ---- Wrong arguments ------------------------------------------------------------------------

X = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize("call, error, message", [
    (lambda: functional.avg_pool2d([1.0], 2), TypeError, "input: expected a tensor, found list"),
    (lambda: functional.avg_pool2d(X.long(), 2), TypeError, "input: expected one of .*found torch.int64"),
    (lambda: functional.avg_pool2d(X.to_sparse(), 2), TypeError, "input: expected a dense tensor, found torch.sparse_coo"),
    (lambda: functional.avg_pool2d(X[0, 0], 2), ValueError, r"input: expected \(N, C, H, W\) or \(C, H, W\), found \(4, 4\)"),
    (lambda: functional.avg_pool2d(X[:, :0], 2), ValueError, "at least one channel, row and column"),
    (lambda: functional.avg_pool2d(X, 5), ValueError, r"kernel_size \(5, 5\) fits into .*found \(4, 4\)"),
    (lambda: functional.avg_pool2d(X, "2"), TypeError, "kernel_size: expected an integer or two of them, found '2'"),
    (lambda: functional.avg_pool2d(X, 2, stride=0), ValueError, "stride: expected at least 1, found 0"),
    (lambda: functional.avg_pool2d(X, 2, padding=-1), ValueError, "padding: expected at least 0, found -1"),
    (lambda: functional.max_pool2d(X, 2, dilation=2), ValueError, "dilation: expected 1, found 2"),
    (lambda: functional.lp_pool2d(X, 0.5, 2), ValueError, "norm_type: expected a finite number at least 1, found 0.5"),
    (lambda: functional.lp_pool2d(X, "2", 2), TypeError, "norm_type: expected a number, found '2'"),
    (lambda: functional.gaussian_pool2d(X, torch.zeros(5), 2), ValueError, "weight: expected .*C = 3, found .*5"),
    (lambda: functional.gaussian_pool2d(X, torch.zeros(2, 3, 5, 5), 2), ValueError, r"weight: .*found \(2, 3, 5, 5\)"),
    (lambda: functional.gaussian_pool2d(X, "1", 2), TypeError, "weight: expected a number or a tensor, found '1'"),
    (lambda: functional.gaussian_pool2d(X, torch.zeros(3, dtype=torch.long), 2), TypeError, "weight: expected floating point"),
    (lambda: functional.gaussian_pool2d(X, torch.zeros(3, device="meta"), 2), ValueError, "weight: expected it on the input's"),
    (lambda: functional.sampled_gaussian_pool2d(X, torch.zeros(2, 3, 2, 2), 1.0, 2), ValueError, "mu: expected no rows"),
    (lambda: functional.sampled_gaussian_pool2d(X, None, 1.0, 2), TypeError, "mu: isp_gaussian needs it, found None"),
    (lambda: functional.sampled_gaussian_pool2d(X, 1.0, None, 2), TypeError, "sigma: isp_gaussian needs it, found None"),
    (lambda: functional.sampled_gaussian_pool2d(X, 1.0, 1.0, 2, kind="normal"), ValueError, "kind: expected one of"),
    (lambda: functional.sampled_gaussian_pool2d(X, 1.0, 1.0, 2, stochasticity="HW", training=False), ValueError, "stochasticity"),
    (lambda: functional.gated_pool2d(X, torch.zeros(3, 3), 2), ValueError, r"mask: expected \(2, 2\) or \(C, 2, 2\)"),
    (lambda: functional.gated_pool2d(X, 1.0, 2), TypeError, "mask: expected a tensor, found float"),
])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
