"""torch.compile and torch.export on a GPU; apart from test_cuda.py, since compiling takes a minute: pytest -m cuda_compiled."""
import pytest
import torch

from cuda_nets import images, make_net, step

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
CLOSE = {"rtol": 1e-3, "atol": 1e-3}
STEPS = 5  # compiled, captured, replayed

pytestmark = [pytest.mark.cuda_compiled, pytest.mark.usefixtures("gpu")]


@pytest.mark.skipif(VERSION < (2, 3), reason=f"compiling is tested from PyTorch 2.3 on, found {torch.__version__}")
@pytest.mark.parametrize("options", [{}, {"mode": "reduce-overhead"}])
@pytest.mark.parametrize("stochasticity", [None, "HWCN"])
def test_compile_without_graph_break(options, stochasticity):
    pytest.importorskip("triton")
    torch._dynamo.reset()
    net, x = make_net(stochasticity=stochasticity), images()
    compiled, results = torch.compile(net, fullgraph=True, **options), []
    for _ in range(STEPS):
        torch.cuda.manual_seed(1)
        results.append([value.clone() for value in step(compiled, x)])
    for before, last in zip(results[-2], results[-1]):
        torch.testing.assert_close(before, last, **CLOSE)
    if stochasticity is not None:
        assert not torch.allclose(step(compiled, x)[0], results[-1][0], **CLOSE)  # other draws in the next step
        return
    for found, expected in zip(results[-1], step(net, x)):
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.skipif(VERSION < (2, 4), reason=f"torch.export is tested from PyTorch 2.4 on, found {torch.__version__}")
def test_exported():
    net, x = make_net().eval(), images()
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))


@pytest.mark.skipif(not hasattr(torch.library, "opcheck"), reason=f"torch.library.opcheck came with PyTorch 2.4, found {torch.__version__}")
def test_registration_by_opcheck():
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    mu, sigma = (torch.randn(2, 3, dtype=torch.float64, device="cuda", requires_grad=True) for _ in range(2))
    pooling = ("isp_gaussian", [2, 3], [2, 2], [1, 1], True, False, 1e-6, 2.0, "HWCN")
    torch.library.opcheck(torch.ops.gausspool.pool.default, (x, mu, sigma, None, torch.tensor([7], device="cuda"), None, None, *pooling))
