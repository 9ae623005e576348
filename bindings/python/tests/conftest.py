"""Where the tests find the package and the formulas they compare with."""
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# An installed or built package (PYTHONPATH=build/python) comes first; in a bare checkout the sources and the release build do.
sys.path.append(str(ROOT / "bindings" / "python" / "src"))
if (ROOT / "build" / "release" / "src" / "libgausspool.so").is_file():
    os.environ.setdefault("GAUSSPOOL_LIBRARY", str(ROOT / "build" / "release" / "src" / "libgausspool.so"))
sys.path.append(str(ROOT / "tests" / "parity"))

try:
    import torch
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
