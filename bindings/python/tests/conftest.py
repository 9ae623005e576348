"""Where the tests find the package and the formulas they compare with; where the operators for CUDA are run."""
import contextlib
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# An installed or built package (PYTHONPATH=build/python) comes first; in a bare checkout the sources and the release build do.
sys.path.append(str(ROOT / "bindings" / "python" / "src"))
if (ROOT / "build" / "release" / "src" / "libgausspool.so").is_file():
    os.environ.setdefault("GAUSSPOOL_LIBRARY", str(ROOT / "build" / "release" / "src" / "libgausspool.so"))
sys.path.append(str(ROOT / "tests" / "parity"))

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch.use_deterministic_algorithms asks of users
HOST_LIBRARY = ROOT / "build" / "release" / "tests" / "unit" / "libgausspool_cuda_host.so"

try:
    import torch
    if not torch.cuda.is_available() and HOST_LIBRARY.is_file():
        os.environ.setdefault("GAUSSPOOL_CUDA_LIBRARY", str(HOST_LIBRARY))
    torch.set_num_threads(1)  # threads would only wait for each other over such small tensors, long on a loaded machine
    MISSING = None
except ImportError as error:
    MISSING = f"no PyTorch: {error}"

collect_ignore_glob = [] if MISSING is None else ["test_*.py"]


def pytest_report_header(config):
    if MISSING is not None:
        return MISSING
    import gausspool
    return f"torch {torch.__version__}, gausspool {gausspool.__version__} on {gausspool.cpu_isa()}"


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: needs an NVIDIA GPU, and libgausspool_cuda (GAUSSPOOL_CUDA_LIBRARY, or beside libgausspool)")
    config.addinivalue_line("markers", "cuda_compiled: as cuda; takes a minute")


# ---- Where CUDA's operators are run ---------------------------------------------------------

class OnHost:
    """The code for CUDA tensors, on the CPU's: the kernels are those of libgausspool_cuda_host, which run there."""

    device = "cpu"

    @contextlib.contextmanager
    def __call__(self):
        """CPU tensors are taken for CUDA's meanwhile."""
        from gausspool.torch import _devices

        class Host(_devices.Cuda):
            def key(self, x, seed):
                return 0, None if seed is None else seed.data_ptr()

            def stream(self, x):
                return None

        before = _devices.DEVICES["cpu"]
        _devices.DEVICES["cpu"] = Host()
        try:
            yield
        finally:
            _devices.DEVICES["cpu"] = before


class OnDevice:
    device = "cuda"

    @contextlib.contextmanager
    def __call__(self):
        yield


def skip_without_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    import gausspool
    if not gausspool.cuda_available() and "GAUSSPOOL_CUDA_LIBRARY" not in os.environ:
        pytest.skip("no libgausspool_cuda here: built where nvcc is found")


@pytest.fixture(params=["host", pytest.param("device", marks=pytest.mark.cuda)])
def cuda(request):
    """`with cuda():` tensors on cuda.device are pooled by the operators for CUDA: on the host, and where there is one on a GPU."""
    if request.param == "device":
        skip_without_gpu()
        return OnDevice()
    if os.environ.get("GAUSSPOOL_CUDA_LIBRARY") != str(HOST_LIBRARY):
        pytest.skip("a real libgausspool_cuda is in use, or libgausspool_cuda_host is not built")
    return OnHost()


@pytest.fixture
def gpu():
    """No TF32, and the same state for every test."""
    skip_without_gpu()
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    yield
    torch.backends.cudnn.allow_tf32 = before
    torch.cuda.synchronize()
