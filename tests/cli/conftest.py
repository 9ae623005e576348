"""The program under test, a small data set made here, and a net trained on it."""
import subprocess
from types import SimpleNamespace

import pytest

from helpers import PROGRAM, succeeds, train_arguments, write_data


def pytest_configure(config):
    config.addinivalue_line("markers", "bad_input: broken files and wrong arguments; also run under AddressSanitizer")
    config.addinivalue_line("markers", "full: each of many cases, where else some are picked")


def pytest_collection_modifyitems(config, items):
    if not PROGRAM.is_file():
        raise pytest.UsageError(f"no program {PROGRAM}: cmake --build --preset release")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with 256 training and 64 test images in IDX files."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A finished training: out (folder), model (file), stdout."""
    out = tmp_path_factory.mktemp("trained") / "out"
    result = succeeds(*train_arguments(data, out))
    return SimpleNamespace(out=out, model=out / "model_best.safetensors", stdout=result.stdout)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB, mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
