"""A net with both layers on a GPU, and what the tests there do with it."""
import torch
from torch import nn

from gausspool.torch import GaussianPooling2d, MaxEntPooling2d, functional


def make_net(**options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), GaussianPooling2d(8, 3, 2, 1, **options), nn.Conv2d(8, 8, 1),
                        MaxEntPooling2d(8, 2))
    return net.cuda().to(memory_format=torch.channels_last)


def images(*shape):
    return torch.randn(*(shape or (4, 3, 16, 16)), device="cuda").contiguous(memory_format=torch.channels_last)


def sampled(x, **options):
    mu, sigma = (torch.full(x.shape[:2], value, device=x.device) for value in (0.5, 0.3))
    return functional.sampled_gaussian_pool2d(x, mu, sigma, 2, **options)


def step(net, x):
    """y and every gradient."""
    net.zero_grad(set_to_none=True)
    y = net(x)
    y.float().square().sum().backward()
    return [y.detach(), *(parameter.grad for parameter in net.parameters() if parameter.grad is not None)]
