"""The references checked against known values and against PyTorch's own layers, before anything is checked against them."""
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import philox
import reference
import safetensors_io

GEOMETRIES = [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)), ((3, 2), (2, 3), (1, 0)), ((4, 4), (4, 4), (2, 2)),
              ((1, 1), (1, 1), (0, 0)), ((5, 3), (1, 2), (2, 1)), ((2, 3), (3, 2), (1, 1))]


# The known-answer vectors published with Random123.
@pytest.mark.parametrize("counter, key, expected", [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, 0xFFFFFFFFFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822,
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])
def test_philox_known_answers(counter, key, expected):
    assert tuple(int(word) for word in philox.philox(key, *counter)) == expected


def test_normals_are_standard():
    draws = philox.draws_hwcn(7, 3, 0, 16, 8, 33, 31)
    count = draws.size
    assert abs(draws.mean()) < 4 / count**0.5
    assert abs(draws.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((draws**4).mean() - 3) < 4 * (96 / count) ** 0.5


@pytest.mark.parametrize("kernel, stride, padding", GEOMETRIES)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_windows_mean_is_avg_pool2d(kernel, stride, padding, ceil_mode, count_include_pad):
    for side in (5, 8, 11):
        x = torch.randn(2, 3, side, side + 2, dtype=torch.float64)
        expected = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad)
        actual = reference.Windows(x, kernel, stride, padding, ceil_mode, count_include_pad).mean()
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kernel, stride, padding", GEOMETRIES)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_windows_max_is_max_pool2d(kernel, stride, padding, ceil_mode):
    x = torch.randn(2, 3, 9, 10, dtype=torch.float64)
    expected = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    assert torch.equal(reference.Windows(x, kernel, stride, padding, ceil_mode).max(), expected)


def test_layer_is_the_operator():
    """The layer's E[x²] - m² form against the windows' form."""
    torch.manual_seed(0)
    layer = reference.GaussianPooling2d(6, "HWCN").double()
    draws = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    layer.draw = lambda shape: draws.reshape(shape)
    x = torch.randn(4, 6, 10, 10, dtype=torch.float64)
    hidden = layer.ToHidden(x)
    weight = reference.isp_weight(layer.ToMean(hidden), layer.ToSigma(hidden), draws)
    expected = reference.gaussian_pool(reference.Windows(x, (2, 2), (2, 2)), weight)
    torch.testing.assert_close(layer(x), expected, rtol=1e-7, atol=1e-7)


def test_safetensors_round_trip(tmp_path):
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(5, np.int64), "c": np.zeros((0, 2))}
    safetensors_io.save(tmp_path / "t.safetensors", tensors, {"note": "x"})
    loaded, metadata = safetensors_io.load(tmp_path / "t.safetensors")
    assert metadata == {"note": "x"} and list(loaded) == list(tensors)
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype and np.array_equal(loaded[name], array)
        assert loaded[name].shape == array.shape
