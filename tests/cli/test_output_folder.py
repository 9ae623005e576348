"""Output that cannot be written: said in one line, and what was there before stays."""
import os
import shutil
import subprocess

import pytest

from helpers import checkpoints, fails, gausspool, succeeds, train_arguments

pytestmark = pytest.mark.bad_input


def test_folder_below_a_file(data, tmp_path):
    (tmp_path / "file").write_text("x")
    fails(*train_arguments(data, tmp_path / "file" / "out"), names=tmp_path / "file")


def test_folder_is_a_file(data, tmp_path):
    (tmp_path / "file").write_text("x")
    fails(*train_arguments(data, tmp_path / "file"), names=tmp_path / "file")


def test_folder_without_permission(data, tmp_path):
    """Root may write anywhere, so root tries where the kernel itself refuses."""
    if os.geteuid() == 0:
        folder = "/proc/self/fd"
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o555)
    fails(*train_arguments(data, f"{folder}/out"), names=folder)


def test_logits_file_cannot_be_written(data, trained, tmp_path):
    fails("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data, "--logits-out",
          tmp_path / "none" / "x.npy", names=tmp_path / "none")


def limited(size):
    """A limit on the size of files, for the child; the program sees it as a failing write."""
    import resource
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_file_size_limit(data, tmp_path):
    """No privilege needed: writes past 100 kB fail. The earlier checkpoints stay, no half-written file is left."""
    out = tmp_path / "out"
    succeeds(*train_arguments(data, out, epochs=1))
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    last = checkpoints(out)[-1]
    result = gausspool(*train_arguments(data, out, epochs=2, resume=last), preexec_fn=limited(100_000))
    assert result.returncode == 1, result.stdout + result.stderr
    assert len(result.stderr.splitlines()) == 1 and str(out) in result.stderr
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before
    assert not [path.name for path in out.iterdir() if "tmp" in path.name]


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


def test_full_disk(data, small_disk):
    out = small_disk / "out"
    succeeds(*train_arguments(data, out, epochs=1))
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    last = checkpoints(out)[-1]
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - 100_000))
    result = gausspool(*train_arguments(data, out, epochs=2, resume=last))
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and str(out) in lines[0] and "space" in lines[0], result.stderr
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before
    # With room again the run goes on from that checkpoint.
    (small_disk / "filler").unlink()
    succeeds(*train_arguments(data, out, epochs=2, resume=last))
