#!/usr/bin/env python3
"""torchvision's ResNet-50 with Gaussian pooling at the paper's five places: made, trained or fine-tuned on a folder of images, exported.

    examples/resnet50.py --data DIR [--weights IMAGENET1K_V2] [--epochs 10] [--device cuda] [--onnx resnet50_gauss.onnx]

DIR holds a folder of images for each class. With --weights a name of torchvision's (downloaded) or a file of a state dict: to start from.
Needs gausspool (pip install . or PYTHONPATH=build/python), PyTorch and torchvision.
"""
import argparse

import torch
from torch import nn
from torchvision import datasets, models, transforms

from gausspool.torch import replace_pooling


def pool_where_it_strides(net):
    """A ResNet that pools where it used to stride: behind the stem, twice, and behind the first block of stages 2 to 4."""
    net.conv1.stride = (1, 1)
    net.maxpool = nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(3, stride=2, padding=1))
    for stage in (net.layer2, net.layer3, net.layer4):
        for module in stage[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        stage[0] = nn.Sequential(stage[0], nn.AvgPool2d(2))
    return net


def make_net(classes, weights=None, **options):
    """Options are GaussianPooling2d's."""
    net = models.resnet50(zero_init_residual=True)
    if weights is not None:
        by_name = hasattr(models.ResNet50_Weights, weights)
        net.load_state_dict(models.ResNet50_Weights[weights].get_state_dict(progress=True) if by_name else
                            torch.load(weights, map_location="cpu"))
    net.fc = nn.Linear(net.fc.in_features, classes)
    return replace_pooling(pool_where_it_strides(net), **options).module


def open_images(folder, side, batch):
    transform = transforms.Compose([
        transforms.RandomResizedCrop(side, scale=(0.5, 1)), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    images = datasets.ImageFolder(folder, transform)
    # Batch norm over a batch of one picture has nothing to go by: the last, smaller batch is left out.
    return images.classes, torch.utils.data.DataLoader(images, batch, shuffle=True, drop_last=len(images) > batch)


def train_epoch(net, images, optimizer):
    """The mean loss."""
    losses, device = [], next(net.parameters()).device
    net.train()
    for x, labels in images:
        x, labels = x.to(device, memory_format=torch.channels_last), labels.to(device)
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())  # .item() would wait for the device in every step
    return torch.stack(losses).mean().item()


def export(net, file, side):
    """Both batch and size of the images stay free."""
    sizes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(net.eval(), torch.zeros(2, 3, side, side), file, input_names=["images"], output_names=["logits"],
                      dynamic_axes={"images": sizes, "logits": {0: "batch"}}, opset_version=13)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--stochasticity", default="CN", help="CN or HWCN: a draw for each channel, or for each output")
    parser.add_argument("--device", default="cpu", help="cuda: a GPU, with a gausspool that was built for it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=224, help="of the images")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", default="resnet50_gauss.pt", help="the trained net's state dict")
    parser.add_argument("--onnx", default="resnet50_gauss.onnx")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    classes, images = open_images(options.data, options.side, options.batch)
    net = make_net(len(classes), options.weights, stochasticity=options.stochasticity)
    net = net.to(options.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), options.lr)  # made after the replacement: it has the new parameters
    for epoch in range(options.epochs):
        print(f"epoch {epoch + 1}: loss {train_epoch(net, images, optimizer):.4f}", flush=True)
    torch.save(net.cpu().state_dict(), options.state)
    export(net, options.onnx, options.side)
    print(f"{options.state}, {options.onnx}")


if __name__ == "__main__":
    main()
