"""A net of each family in bfloat16, beside PyTorch in float32 and under its autocast, which stores and multiplies in bfloat16
as this engine does: rounding may take ours no farther from float32 than it takes PyTorch's."""
import numpy as np
import pytest
import torch

import net_case
from net_case import PROGRAM, gradient_errors, relative_error
from test_families import DEEP, SMALL

STEPS = 3
SLACK = 1.5  # on PyTorch's distance from float32; two ways of rounding are not equally lucky
LOGITS, LOSSES, GRADIENTS = 2**-7, 2**-7, 2**-4  # what is allowed in any case, relative

pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason=f"no {PROGRAM}: cmake --build --preset release")

CASES = [dict(SMALL, arch=arch, pool=pool) for arch, pool in
         (("resnet20", "gauss_HWCN"), ("resnet18", "gauss_CN"), ("vgg11bow_bn", "max"))]
CASES += [dict(DEEP, arch="densenet121", pool="gauss_CN")]


def run_program(case, folder):
    try:
        net_case.run_program(case, folder)
    except AssertionError as error:
        if "precision bfloat16" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case['arch']}-{case['pool']}")
def case(request, tmp_path_factory):
    case = net_case.make_case(STEPS, bfloat16=True, **request.param)
    run_program(case, tmp_path_factory.mktemp("parity"))
    case.run = net_case.run_torch(case, torch.float32)
    # Its cache of weights would keep those of the steps before, and from inference ones without gradients.
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        case.autocast = net_case.run_torch(case, torch.float32)
    return case


def test_logits(case):
    for ours, theirs, exact in ((case.output["inference_logits"], case.autocast.inference_logits, case.run.inference_logits),
                                (case.output["logits"], case.autocast.logits, case.run.logits)):
        assert 0 < relative_error(ours, exact) < max(LOGITS, SLACK * relative_error(theirs.astype(np.float32), exact))


def test_gradients(case):
    """Of the whole net, and in the mean of its layers."""
    whole, errors = gradient_errors(case, case.run)
    found = {"gradient." + name: value for name, value in case.autocast.gradients.items()}
    of_torch, errors_of_torch = gradient_errors(net_case.SimpleNamespace(output=found), case.run)
    assert whole < max(GRADIENTS, SLACK * of_torch)
    assert np.median(list(errors.values())) < max(GRADIENTS, SLACK * np.median(list(errors_of_torch.values())))


def test_losses(case):
    errors, errors_of_torch = (np.abs(np.array(losses) / case.run.losses - 1).max()
                               for losses in (case.output["losses"], case.autocast.losses))
    assert errors < max(LOSSES, SLACK * errors_of_torch)
