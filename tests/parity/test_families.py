"""Every family of nets against PyTorch at 64x64: a small and a published-size net each, float32 on both sides. Every pooling of
the published sizes takes minutes: those are marked `full`, and `scripts/check --full` runs them.

What remains of a difference is a matter of single ReLUs: of some million activations a few lie so near zero that the two
programs' rounding puts them on different sides, and in a deep net each changes gradients by up to 1e-2. test_net.py keeps
clear of them by choosing the images; here the nets are kept in a state where they are few.
"""
import numpy as np
import pytest
import torch

import net_case
from net_case import PROGRAM, case_name, gradient_errors, relative_error

STEPS = 5
LOGITS, GRADIENTS, LOSSES = 1e-3, 1e-2, 1e-3  # relative
POOLS = ["skip", "max", "avg", "gauss_CN", "gauss_HWCN"]

pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason=f"no {PROGRAM}: cmake --build --preset release")


# What keeps each net well conditioned (net_case.make_case).
SMALL = dict(image=(3, 64, 64), batch=8, lr=3e-4, residual=0.25, contrast=1.0, shift=1.0)
LARGE = dict(SMALL, batch=4, lr=1e-4, shift=2.0)
DEEP = dict(SMALL, lr=1e-4, shift=2.0)
PLAIN = dict(SMALL, lr=2e-5)


def cases():
    table = [("resnet20", POOLS, SMALL), ("resnet56", ["gauss_HWCN"], SMALL),
             ("resnet18", POOLS, SMALL), ("resnet50", ["skip", "gauss_CN"], LARGE),
             ("resnext50_32x4d", ["gauss_CN"], LARGE),
             ("resnetp18", POOLS, SMALL), ("resnetp50", ["gauss_HWCN"], LARGE),
             ("vgg11bow", POOLS[1:], PLAIN), ("vgg16bow_bn", ["gauss_CN"], dict(DEEP, lr=2e-4)),
             ("densenet121", POOLS, DEEP), ("densenet169", ["gauss_CN"], DEEP)]
    made = [dict(arch=arch, pool=pool, **settings) for arch, pools, settings in table for pool in pools]
    # 133 million parameters, and a map of 2x2 that is spread over 7x7 cells.
    return made + [dict(arch="vgg11orig_bn", pool="gauss_CN", **LARGE, lean=True)]


def full_cases():
    """The published sizes with the poolings that cases() leaves out."""
    table = [("resnet50", POOLS, LARGE), ("resnext50_32x4d", POOLS, LARGE), ("resnetp50", POOLS, LARGE),
             ("vgg16orig_bn", POOLS[1:], dict(DEEP, lr=2e-5)), ("vgg16bow_bn", POOLS[1:], dict(DEEP, lr=2e-4)),
             ("densenet169", POOLS, DEEP)]
    usual = [(case["arch"], case["pool"]) for case in cases()]
    return [dict(arch=arch, pool=pool, **settings) for arch, pools, settings in table for pool in pools
            if (arch, pool) not in usual]


def case_id(case):
    return f"{case['arch']}-{case['pool']}"


@pytest.fixture(scope="module", ids=case_id,
                params=cases() + [pytest.param(case, marks=pytest.mark.full) for case in full_cases()])
def case(request, tmp_path_factory):
    case = net_case.make_case(STEPS, **request.param)
    case.lean = True  # loaded and final state are test_net.py's matter
    net_case.run_program(case, tmp_path_factory.mktemp("parity"))
    case.run = net_case.run_torch(case, torch.float32)
    del case.net, case.state  # of 138 million parameters each
    return case


def test_logits(case, record_property):
    """Each test's figure is in the JUnit file."""
    errors = [relative_error(case.output[name], getattr(case.run, name)) for name in ("inference_logits", "logits")]
    record_property("worst", max(errors))
    assert max(errors) < LOGITS, errors


def test_gradients(case, record_property):
    """Of the whole, and of each layer; one ReLU may carry single layers a little further."""
    whole, errors = gradient_errors(case, case.run)
    record_property("whole", whole)
    assert whole < GRADIENTS
    worst = sorted((error, name) for name, error in errors.items())[-4:]
    record_property("worst", worst[-1][0])
    assert worst[-1][0] < 3 * GRADIENTS, worst
    assert np.quantile(list(errors.values()), 0.95) < GRADIENTS, worst


def test_losses(case, record_property):
    record_property("worst", np.max(np.abs(case.output["losses"] / case.run.losses - 1)))
    np.testing.assert_allclose(case.output["losses"], case.run.losses, rtol=LOSSES)
    # The last loss is one that the steps before it have made.
    assert relative_error(case.run.last_logits, case.run.logits_without_steps) > 5 * LOGITS
