"""Small nets against PyTorch, closely: state, logits, loss, gradients, ten steps of SGD, with every pooling."""
import copy

import numpy as np
import pytest
import torch
from torch import nn

import net_case
import reference
from net_case import PROGRAM, case_name, feed_draws, gradient_errors, relative_error

STEPS = 10
POOLS = ["skip", "max", "avg", "gauss_CN", "gauss_HWCN"]
OTHER_POOLS = ["gaussian_CN", "gaussian_HWCN", "half_gauss_CN", "half_gauss_HWCN", "max_ent", "softpool", "stochastic", "mixed",
               "gated", "lp"]
LOGITS, GRADIENTS, LOSSES = 1e-4, 1e-3, 1e-3  # relative
MARGIN = 4e-6  # the forward passes' rounding, some times over

pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason=f"no {PROGRAM}: cmake --build --preset release")

CASES = [dict(arch="resnet8", pool=pool) for pool in POOLS] + [
    dict(arch="resnet20", pool="gauss_CN", image=(1, 12, 12)),
    dict(arch="resnet8", pool="gauss_HWCN", image=(3, 18, 14), classes=7, batch=13),
    dict(arch="resnet8", pool="gauss_CN", label_smoothing=0.1, nesterov=True, weight_decay=0.01),
] + [dict(arch="resnet8", pool=pool, image=(3, 16, 16)) for pool in OTHER_POOLS]


def least_margin(net, images):
    """How near any ReLU comes to its corner, and the two largest elements of any maximum to each other."""
    margins = []

    def at_relu(module, inputs):
        margins.append(inputs[0].abs().min().item())

    def at_max(module, inputs):
        windows = reference.Windows(inputs[0], (2, 2), (2, 2)).values
        first, second = windows.topk(2, -1).values.unbind(-1)
        margins.append((first - second)[first > 0].min().item())

    hooks = [module.register_forward_pre_hook(at_relu if isinstance(module, nn.ReLU) else at_max)
             for module in net.modules() if isinstance(module, (nn.ReLU, nn.MaxPool2d))]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return min(margins)


def settle_decisions(case):
    """Draws the first batch again until rounding cannot decide a ReLU or a maximum in it.

    Among a million activations one or two lie within rounding of zero, and each that falls on the other side changes
    gradients by some 1e-3: true of any two programs, and nothing that a comparison of gradients should see.
    """
    net = copy.deepcopy(case.net).double().train()
    feed_draws(net, 0, case.streams)
    for _ in range(200):
        if least_margin(net, case.images[:case.batch].double()) > MARGIN:
            return
        case.images[:case.batch] = net_case.draw_images(case, case.labels[:case.batch])
    raise AssertionError("no first batch found that keeps clear of every decision")


@pytest.fixture(scope="module", params=CASES, ids=case_name)
def case(request, tmp_path_factory):
    """One net with random state, data for ten steps, and what parity_net made of them."""
    case = net_case.make_case(STEPS, **request.param)
    settle_decisions(case)
    net_case.run_program(case, tmp_path_factory.mktemp("parity"))
    return case


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def torch_run(case, request):
    return net_case.run_torch(case, request.param)


def test_state_dict_comes_back_unchanged(case):
    names = [name for name in case.output if name.startswith("loaded.")]
    assert sorted(name[len("loaded."):] for name in names) == sorted(case.state)
    for name, value in case.state.items():
        found = case.output["loaded." + name]
        assert found.dtype == value.numpy().dtype and found.shape == tuple(value.shape), name
        assert found.tobytes() == value.numpy().tobytes(), name
    case.net.to(torch.float32).load_state_dict({name[len("loaded."):]: torch.from_numpy(case.output[name]) for name in names})


def test_inference_logits(case, torch_run):
    assert relative_error(case.output["inference_logits"], torch_run.inference_logits) < LOGITS


def test_training_logits(case, torch_run):
    assert relative_error(case.output["logits"], torch_run.logits) < LOGITS


def test_gradients(case, torch_run):
    _, errors = gradient_errors(case, torch_run)
    assert max(errors.values()) < GRADIENTS, sorted((error, name) for name, error in errors.items())[-4:]


def test_losses_of_ten_steps(case, torch_run):
    np.testing.assert_allclose(case.output["losses"], torch_run.losses, rtol=LOSSES)
    assert max(torch_run.losses) > 1.02 * min(torch_run.losses)  # the steps do something


def test_state_after_ten_steps(case, torch_run):
    """Weights and running statistics; rounding has had ten steps to grow."""
    for name, expected in torch_run.state.items():
        found = case.output["state." + name]
        if name.endswith("num_batches_tracked"):
            assert found == expected == 3 + STEPS
        elif not name.endswith(net_case.BIASES_WITHOUT_EFFECT):
            assert relative_error(found, expected) < 1e-2, name
