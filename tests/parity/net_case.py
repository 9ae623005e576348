"""One comparison of a net with PyTorch: the same weights, images, labels and draws go to parity_net and to the net of
reference_nets.py; what each computed is kept side by side."""
import subprocess
import zlib
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

import operator_reference
import philox
import reference_nets
import safetensors_io
from operator_binding import BUILD
from reference_poolings import drawing_poolings

PROGRAM = BUILD / "tests" / "parity" / "parity_net"
STATE_PROGRAM = BUILD / "tests" / "parity" / "net_state"
# With one thread, which is its choice on two hyperthreads of one core, PyTorch takes a convolution that needs seven times as long.
torch.set_num_threads(max(2, torch.get_num_threads()))
SEED = 11
# A bias in front of a batch norm has no effect: its gradient is rounding alone.
BIASES_WITHOUT_EFFECT = ("ToHidden.1.bias", "ToMean.0.bias", "ToSigma.0.bias", "ToParam.1.bias", "ToParam.4.bias")


def case_name(settings):
    return "-".join(str(value) for value in settings.values())


def make_case(steps, **settings):
    """A net with random state, and data for some steps.

    Some settings keep deep nets well conditioned, so that rounding does not grow into a difference: `residual` scales the
    last batch norm of each residual branch; `contrast` makes the images differ in brightness and contrast, so that the batch
    norms of guiding heads, which see one value for each image, have a spread to divide by; `shift` is added to the biases of
    batch norms, so that fewer activations lie where a ReLU decides.
    """
    defaults = dict(image=(1, 28, 28), classes=10, batch=8, lr=0.002, momentum=0.9, weight_decay=1e-4, label_smoothing=0.0,
                    nesterov=False, residual=1.0, contrast=0.0, shift=0.0, lean=False, bfloat16=False)
    case = SimpleNamespace(**{**defaults, **settings}, steps=steps)
    torch.manual_seed(zlib.crc32(case_name(settings).encode()))
    case.net = reference_nets.make_net(case.arch, case.pool, case.image[0], case.classes)
    for name, module in case.net.named_modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):  # away from the ones and zeros that hide a mix-up
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, case.shift, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked += 3
        elif isinstance(case.net, reference_nets.VGG) and isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)  # its own small weights let hardly anything through
            nn.init.normal_(module.bias, 0, 0.1)
    for block in case.net.modules():
        if isinstance(block, reference_nets.Block):
            getattr(block, "bn3", block.bn2).weight.data.mul_(case.residual)
    case.state = {name: value.clone() for name, value in case.net.state_dict().items()}
    case.patterns = torch.randn(case.classes, *case.image)
    case.labels = torch.randint(case.classes, (case.batch * steps,))
    case.images = draw_images(case, case.labels)
    case.streams = streams(case)
    return case


def draw_images(case, labels):
    images = torch.randn(len(labels), *case.image) + 0.7 * case.patterns[labels]
    gain = torch.exp(case.contrast * torch.empty(len(labels), 1, 1, 1).uniform_(-1, 1))
    return gain * images + case.contrast * torch.randn(len(labels), case.image[0], 1, 1)


def streams(case):
    """{pooling: number of its node, which keys its draws}"""
    arguments = [case.arch, case.pool, case.image[0], max(case.image[1:]), case.classes]
    result = subprocess.run([STATE_PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=True)
    rows = [line.split() for line in result.stdout.splitlines()]
    return {row[2]: int(row[1]) for row in rows if row[0] == "pool"}


def run_program(case, folder):
    safetensors_io.save(folder / "state.safetensors", {name: value.numpy() for name, value in case.state.items()})
    safetensors_io.save(folder / "inputs.safetensors",
                        {"images": case.images.numpy(), "labels": case.labels.numpy().astype(np.int32)})
    arguments = [folder / "state.safetensors", folder / "inputs.safetensors", folder / "output.safetensors",
                 f"arch={case.arch}", f"pool={case.pool}", f"classes={case.classes}", f"batch={case.batch}",
                 f"steps={case.steps}", f"lr={case.lr}", f"momentum={case.momentum}", f"weight-decay={case.weight_decay}",
                 f"label-smoothing={case.label_smoothing}", f"nesterov={int(case.nesterov)}", f"seed={SEED}",
                 f"lean={int(case.lean)}", f"bfloat16={int(case.bfloat16)}"]
    result = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    case.output, _ = safetensors_io.load(folder / "output.safetensors")
    for file in folder.glob("*.safetensors"):
        file.unlink()


def feed_draws(net, step, streams):
    """Puts the draws of one step, made in NumPy, into every pooling that draws; each has a key of its own."""
    names = {module: name for name, module in net.named_modules()}
    for layer in drawing_poolings(net):
        def draw(shape, key=philox.mix_seed(SEED, streams[names[layer]]), uniform=getattr(layer, "uniform", False)):
            if shape[2:] == (1, 1) and layer.stochasticity == "CN":
                make = operator_reference.uniform_cn if uniform else philox.draws_cn
                return torch.from_numpy(make(key, step, 0, *shape[:2]).reshape(tuple(shape)))
            make = operator_reference.uniform_hwcn if uniform else philox.draws_hwcn
            return torch.from_numpy(make(key, step, 0, *shape))
        layer.draw = draw


def to_numpy(tensor):
    """NumPy has no bfloat16."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


def run_torch(case, dtype):
    """The same in PyTorch: inference, then the steps."""
    net = case.net.to(dtype)
    net.load_state_dict(case.state)
    net.train()
    images = case.images.to(dtype)
    loss_function = nn.CrossEntropyLoss(label_smoothing=case.label_smoothing)
    optimizer = torch.optim.SGD(net.parameters(), case.lr, case.momentum, weight_decay=case.weight_decay,
                                nesterov=case.nesterov)
    run = SimpleNamespace(losses=[])
    with torch.no_grad():
        feed_draws(net, case.steps - 1, case.streams)
        run.logits_without_steps = to_numpy(net(images[-case.batch:]))
        net.load_state_dict(case.state)
        net.eval()
        run.inference_logits = to_numpy(net(images[:case.batch]))
        net.train()
    for step in range(case.steps):
        feed_draws(net, step, case.streams)
        batch = slice(step * case.batch, (step + 1) * case.batch)
        logits = net(images[batch])
        loss = loss_function(logits, case.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            run.logits = to_numpy(logits)
            run.gradients = {name: value.grad.clone().numpy() for name, value in net.named_parameters()}
        optimizer.step()
        run.last_logits = to_numpy(logits)
        run.losses.append(loss.item())
    if not case.lean:
        run.state = {name: value.clone().numpy() for name, value in net.state_dict().items()}
    return run


def relative_error(actual, expected):
    return np.linalg.norm(actual.astype(np.float64) - expected) / np.linalg.norm(expected)


def gradient_errors(case, run):
    """Relative errors of the whole gradient, and {layer: of its gradient}. Weight and bias count together: what a layer's bias
    does may be undone by a batch norm behind it, and its gradient is then rounding alone; so is that of a whole layer which is
    below a hundred-thousandth of the largest."""
    prefix = "gradient."
    found = {name[len(prefix):]: value for name, value in case.output.items() if name.startswith(prefix)}
    assert sorted(found) == sorted(run.gradients)
    pairs = {}
    for name, value in run.gradients.items():
        pairs.setdefault(name.rpartition(".")[0], []).append((found[name].ravel() - value.ravel().astype(np.float64), value.ravel()))
    norms = {layer: [np.linalg.norm(np.concatenate(side)) for side in zip(*parts)] for layer, parts in pairs.items()}
    least = 1e-5 * max(norm for _, norm in norms.values())
    differences, lengths = np.array(list(norms.values())).T
    return np.linalg.norm(differences) / np.linalg.norm(lengths), {
        layer: difference / max(norm, least) for layer, (difference, norm) in norms.items()}
