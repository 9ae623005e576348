"""Output that cannot be written: said in one line, and what was there before stays."""
import os
import re
import shutil

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


@pytest.mark.parametrize("foreseen", [True, False], ids=["foreseen", "met"])
def test_full_disk(data, small_disk, foreseen):
    out = small_disk / "out"
    succeeds(*train_arguments(data, out, epochs=1))
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    last = checkpoints(out)[-1]
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - 100_000))
    more = {} if foreseen else {"no_space_check": True}
    result = gausspool(*train_arguments(data, out, epochs=2, resume=last, **more))
    assert ("batch 1/" not in result.stdout) == foreseen, result.stdout
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and str(out) in lines[0] and "space" in lines[0], result.stderr
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before
    # With room again the run goes on from that checkpoint.
    (small_disk / "filler").unlink()
    succeeds(*train_arguments(data, out, epochs=2, resume=last))


def test_what_a_run_needs_is_told(data, tmp_path):
    """Once, before the first step; as much disk as is then taken, and not much more."""
    result = succeeds(*train_arguments(data, tmp_path, epochs=3))
    lines = result.stdout.splitlines()
    told = [line for line in lines if line.startswith("needs ")]
    assert len(told) == 1 and lines.index(told[0]) < next(i for i, line in enumerate(lines) if "batch 1/" in line)
    number, unit, count = re.search(r"and (\S+) (\SiB) of disk \((\d+) x", told[0]).groups()
    needed = float(number) * {"K": 1 << 10, "M": 1 << 20}[unit[0]]
    taken = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert count == "4" and taken <= needed <= 2.5 * taken, (needed, taken)


def test_more_checkpoints_than_the_disk_has_room_for(data, small_disk):
    """Refused before anything is written; with room for the last one alone it goes."""
    arguments = train_arguments(data, small_disk / "out", epochs=100, max_steps=0)
    result = fails(*arguments, names=["not enough disk space", small_disk / "out", "--save-last-checkpoint"])
    assert "batch 1/" not in result.stdout and not list((small_disk / "out").glob("*.safetensors"))
    succeeds(*train_arguments(data, small_disk / "out", epochs=100, max_steps=2))
    shutil.rmtree(small_disk / "out")
    succeeds(*train_arguments(data, small_disk / "out", epochs=2, save_last_checkpoint=True))
