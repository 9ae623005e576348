"""The nets, written in plain PyTorch from spec.md, section 4: short, and independent of the C code."""
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from reference_poolings import make_pool


def conv_norm(inner, outer, kernel, stride=1, groups=1):
    return (nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outer))


# ---- Residual nets --------------------------------------------------------------------------

class Block(nn.Module):
    """What blocks have in common: a shortcut, and what halves the sides, a stride or a pooling at the end."""

    def __init__(self, inner, outer, pool):
        super().__init__()
        self.stride = 2 if pool == "skip" else 1
        self.shape = inner, outer
        self.pool = pool

    def finish(self):
        inner, outer = self.shape
        self.downsample = None
        if self.stride != 1 or inner != outer:
            self.downsample = nn.Sequential(*conv_norm(inner, outer, 1, self.stride))
        self.last_relu = nn.ReLU()
        self.pooling = None if self.pool in (None, "skip") else make_pool(self.pool, outer)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.last_relu(self.branch(x) + shortcut)
        return y if self.pooling is None else self.pooling(y)


class BasicBlock(Block):
    expansion = 1

    def __init__(self, inner, width, pool=None, groups=1, group_width=64):
        super().__init__(inner, width, pool)
        self.conv1, self.bn1 = conv_norm(inner, width, 3, self.stride)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = conv_norm(width, width, 3)
        self.finish()

    def branch(self, x):
        return self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))


class Bottleneck(Block):
    expansion = 4

    def __init__(self, inner, width, pool=None, groups=1, group_width=64):
        super().__init__(inner, 4 * width, pool)
        narrow = width * group_width // 64 * groups
        self.conv1, self.bn1 = conv_norm(inner, narrow, 1)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = conv_norm(narrow, narrow, 3, self.stride, groups)
        self.relu2 = nn.ReLU()
        self.conv3, self.bn3 = conv_norm(narrow, 4 * width, 1)
        self.finish()

    def branch(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(x)))))


class ResNet(nn.Module):
    def __init__(self, pool, channels, classes, block, blocks, stem, width=64, **groups):
        super().__init__()
        self.conv1, self.bn1 = {"small": lambda: conv_norm(channels, width, 3),
                                "usual": lambda: conv_norm(channels, width, 7, 2 if pool == "skip" else 1),
                                "patch": lambda: conv_norm(channels, width, 7, 4 if pool == "skip" else 1)}[stem]()
        self.relu = nn.ReLU()
        self.pool1 = self.pool = None
        if stem == "usual" and pool == "skip":
            self.pool = nn.MaxPool2d(3, 2, 1)
        elif stem == "usual":
            self.pool1 = make_pool(pool, width, 2, 2)
            self.pool = make_pool(pool, width, 3, 2, 1)
        elif stem == "patch" and pool != "skip":
            self.pool = make_pool(pool, width, 4, 4)
        inner = width
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                layers.append(block(inner, width << stage, pool if stage > 0 and i == 0 else None, **groups))
                inner = block.expansion * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.stages = len(blocks)
        self.fc = nn.Linear(inner, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        for pool in (self.pool1, self.pool):
            x = x if pool is None else pool(x)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


# ---- VGG ------------------------------------------------------------------------------------

class VGG(nn.Module):
    def __init__(self, pool, channels, classes, counts, bow, norm):
        super().__init__()
        if pool == "skip":
            raise ValueError("VGG has no strided convolution")
        layers, inner = [], channels
        for stage, count in enumerate(counts):
            outer = min(64 << stage, 512)
            for _ in range(count):
                layers += self._layer(nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d, norm)
                inner = outer
            if bow and stage == 4:
                layers += self._layer(nn.Conv2d(inner, 4096, 1), nn.BatchNorm2d, norm)
            else:
                layers.append(make_pool(pool, inner))
        self.features = nn.Sequential(*layers)
        self.cells = 1 if bow else 7
        first = self._layer(nn.Linear(4096 if bow else 512 * 49, 4096), nn.BatchNorm1d, norm)
        second = [] if bow else self._layer(nn.Linear(4096, 4096), nn.BatchNorm1d, norm)
        self.classifier = nn.Sequential(*first, *second, nn.Linear(4096, classes))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    @staticmethod
    def _layer(linear, norm_class, norm):
        outer = linear.weight.shape[0]
        return [linear, *([norm_class(outer, eps=1e-4)] if norm else []), nn.ReLU()]

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.features(x), self.cells)
        return self.classifier(x.flatten(1))


# ---- DenseNet -------------------------------------------------------------------------------

class DenseLayer(nn.Sequential):
    def __init__(self, inner, growth):
        super().__init__(OrderedDict(
            norm1=nn.BatchNorm2d(inner), relu1=nn.ReLU(), conv1=nn.Conv2d(inner, 4 * growth, 1, bias=False),
            norm2=nn.BatchNorm2d(4 * growth), relu2=nn.ReLU(), conv2=nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)))

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class DenseNet(nn.Module):
    def __init__(self, pool, channels, classes, layers, width=64, growth=32):
        super().__init__()
        stride = {"skip": 4, "avg": 2}.get(pool, 1)
        parts = OrderedDict(conv0=nn.Conv2d(channels, width, 7, stride, 3, bias=False), norm0=nn.BatchNorm2d(width),
                            relu0=nn.ReLU())
        if pool == "avg":
            parts["pool0"] = nn.MaxPool2d(3, 2, 1)
        elif pool != "skip":
            parts["pool00"] = make_pool(pool, width, 2, 2)
            parts["pool0"] = make_pool(pool, width, 3, 2, 1)
        for number, count in enumerate(layers, start=1):
            block = OrderedDict()
            for i in range(1, count + 1):
                block[f"denselayer{i}"] = DenseLayer(width, growth)
                width += growth
            parts[f"denseblock{number}"] = nn.Sequential(block)
            if number < len(layers):
                parts[f"transition{number}"] = self._transition(pool, width)
                width //= 2
        parts["norm5"] = nn.BatchNorm2d(width)
        parts["relu5"] = nn.ReLU()
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    @staticmethod
    def _transition(pool, width):
        stride = 2 if pool == "skip" else 1
        parts = OrderedDict(norm=nn.BatchNorm2d(width), relu=nn.ReLU(),
                            conv=nn.Conv2d(width, width // 2, 1, stride, bias=False))
        if pool != "skip":
            parts.update(norm2=nn.BatchNorm2d(width // 2), relu2=nn.ReLU(), pool=make_pool(pool, width // 2))
        return nn.Sequential(parts)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


# ---- By name --------------------------------------------------------------------------------

def _residual(depth):
    block = BasicBlock if depth < 50 else Bottleneck
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    return dict(block=block, blocks=blocks)


_SMALL = {f"resnet{depth}": dict(block=BasicBlock, blocks=((depth - 2) // 6,) * 3, stem="small", width=16)
          for depth in (8, 20, 32, 44, 56)}
_RESIDUAL = {f"resnet{letter}{depth}": dict(_residual(depth), stem=stem)
             for letter, stem in (("", "usual"), ("p", "patch")) for depth in (18, 34, 50, 101, 152)}
_RESIDUAL.update({f"resnext{letter}{depth}_32x{width}d": dict(_residual(depth), stem=stem, groups=32, group_width=width)
                  for letter, stem in (("", "usual"), ("p", "patch")) for depth, width in ((50, 4), (101, 8))})
_VGG = {f"vgg{depth}{form}{suffix}": dict(counts=counts, bow=form == "bow", norm=suffix == "_bn")
        for depth, counts in ((11, (1, 1, 2, 2, 2)), (13, (2, 2, 2, 2, 2)), (16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4)))
        for form in ("orig", "bow") for suffix in ("", "_bn")}
_DENSE = {"densenet121": dict(layers=(6, 12, 24, 16)), "densenet169": dict(layers=(6, 12, 32, 32)),
          "densenet201": dict(layers=(6, 12, 48, 32)), "densenet161": dict(layers=(6, 12, 36, 24), width=96, growth=48)}
_FAMILIES = [(ResNet, _SMALL, 10), (ResNet, _RESIDUAL, 1000), (VGG, _VGG, 1000), (DenseNet, _DENSE, 1000)]
NAMES = [name for _, table, _ in _FAMILIES for name in table]


def make_net(arch, pool, channels=3, classes=None):
    """The net of spec.md, section 4, by its name; as many classes as published unless told."""
    for family, table, usual in _FAMILIES:
        if arch in table:
            return family(pool, channels, usual if classes is None else classes, **table[arch])
    raise ValueError(f"unknown net {arch!r}")
