"""The operator and its layer, stated in plain PyTorch from the paper's formulas: slow, short, and independent of the C code.

Window sums are made by gathering every window, so the variance is (1/|R|) sum (x - m)^2 itself.
"""
import torch
from torch import nn
from torch.nn import functional as F


# ---- The operator ---------------------------------------------------------------------------

def output_size(size, kernel, stride, padding, ceil_mode):
    """Length of one axis, as torch.nn.AvgPool2d and MaxPool2d have it."""
    span = size + 2 * padding - kernel
    length = (span + stride - 1) // stride + 1 if ceil_mode else span // stride + 1
    if ceil_mode and (length - 1) * stride >= size + padding:
        length -= 1  # the last window must start inside the image or its left padding
    return length


def _axis(size, kernel, stride, padding, ceil_mode):
    """Positions that each window of one axis covers, whether each lies in the image, and the padded length of each window."""
    start = torch.arange(output_size(size, kernel, stride, padding, ceil_mode)) * stride - padding
    position = start[:, None] + torch.arange(kernel)
    inside = (position >= 0) & (position < size)
    padded = (position < size + padding).sum(1)
    return position.clamp(0, size - 1), inside, padded


class Windows:
    """Every window of x [n][c][h][w]: values [n][c][h'][w'][kernel], inside [h'][w'][kernel], divisor [h'][w']."""

    def __init__(self, x, kernel, stride, padding=(0, 0), ceil_mode=False, count_include_pad=True):
        rows, rows_inside, rows_padded = _axis(x.shape[2], kernel[0], stride[0], padding[0], ceil_mode)
        columns, columns_inside, columns_padded = _axis(x.shape[3], kernel[1], stride[1], padding[1], ceil_mode)
        self.values = x[:, :, rows[:, None, :, None], columns[None, :, None, :]].flatten(4)
        self.inside = (rows_inside[:, None, :, None] & columns_inside[None, :, None, :]).flatten(2)
        self.divisor = (rows_padded[:, None] * columns_padded[None, :] if count_include_pad
                        else self.inside.sum(-1)).to(x.dtype)

    def mean(self):
        return torch.where(self.inside, self.values, torch.zeros_like(self.values)).sum(-1) / self.divisor

    def variance(self, mean):
        """Positions of the padding that count in the divisor are zeros, so each adds mean^2."""
        square = (self.values - mean[..., None]) ** 2
        inner = torch.where(self.inside, square, torch.zeros_like(square)).sum(-1)
        return (inner + (self.divisor - self.inside.sum(-1)) * mean**2) / self.divisor

    def max(self):
        outside = torch.full_like(self.values, -float("inf"))
        return torch.where(self.inside, self.values, outside).max(-1).values


def gaussian_pool(windows, weight, eps=1e-6):
    """y = m + W s, s = sqrt(max(v, eps)); clamp's gradient is 0 below eps."""
    mean = windows.mean()
    return mean + weight * windows.variance(mean).clamp(min=eps).sqrt()


def isp_weight(mu, sigma=None, draws=None):
    """softplus(mu + sigma e), without the switch to the identity that F.softplus makes at 20."""
    a = mu if draws is None else mu + sigma * draws
    return torch.logaddexp(a, torch.zeros_like(a))


# ---- The layer with global feature guided parameters ----------------------------------------

class GaussianPooling2d(nn.Module):
    """Gaussian pooling, 2x2 stride 2 unless told. `draw(shape)` gives the normals in training; by default PyTorch's own."""

    def __init__(self, channels, stochasticity, kernel=2, stride=2, padding=0):
        super().__init__()
        hidden = channels // 2
        self.kernel, self.stride, self.padding, self.stochasticity = kernel, stride, padding, stochasticity
        self.draw = torch.randn
        self.ToHidden = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden),
                                      nn.ReLU())
        self.ToMean = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels))
        self.ToSigma = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels), nn.Sigmoid())

    def forward(self, x):
        mean = F.avg_pool2d(x, self.kernel, self.stride, self.padding)
        square = F.avg_pool2d(x * x, self.kernel, self.stride, self.padding)
        hidden = self.ToHidden(x)
        a = self.ToMean(hidden)
        if self.training and self.stochasticity != "none":
            shape = mean.shape if self.stochasticity == "HWCN" else mean.shape[:2] + (1, 1)
            draws = self.draw(shape).to(device=x.device, dtype=x.dtype)
            a = a + self.ToSigma(hidden) * draws
        deviation = (square - mean * mean).clamp(min=1e-6).sqrt()
        return mean + F.softplus(a) * deviation
