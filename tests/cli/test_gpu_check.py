"""scripts/gpu-check and bench/pool_torch_cuda.py without a GPU: a stand-in for nvidia-smi that names one, one for its driver, and the
kernels run on the host. Building is left out."""
import json
import os
import re
import stat
import subprocess
import sys

import pytest

from helpers import BUILD, ROOT, TIMEOUT, environment
from test_bench_cuda import DEVICE, DRIVER, LIBRARY

TESTS = ["test_random_windows", "test_draws_are_the_cpus"]
PEERS = ["torch_naive", "torch_average", "torch_max"]

pytestmark = pytest.mark.skipif(not (DRIVER.is_file() and LIBRARY.is_file()), reason="no stand-in for a GPU was built")


def has_torch():
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    path = tmp_path_factory.mktemp("places") / "tiny.txt"
    path.write_text("a 5 9 8 2 2 2 2 0 0\nb 17 7 9 3 2 2 1 1 0\n")
    return path


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Machine:
    """A folder of programs that comes first on the PATH, and a build folder of links and stand-ins."""

    def __init__(self, folder):
        self.programs, self.build = folder / "bin", folder / "build"
        write_script(self.programs / "nvidia-smi", "echo 'NVIDIA Stand-in, 9.0'\n")
        write_script(self.programs / "compute-sanitizer", 'shift 4\n"$@" && echo "========= ERROR SUMMARY: 0 errors"\n')
        write_script(self.build / "tests" / "unit" / "test_pool_cuda", "echo '[       OK ] test_errors'\n")
        self.device_tests("".join(f"echo '[       OK ] {name}'\n" for name in TESTS))
        (self.build / "src").symlink_to(BUILD / "src")

    def device_tests(self, text):
        write_script(self.build / "tests" / "unit" / "test_pool_cuda_device", text)

    def check(self, places, *arguments, **variables):
        """(exit status, {row: the table's row}, stdout)"""
        command = [sys.executable, ROOT / "scripts" / "gpu-check", "--rehearse", "--build", self.build, "--network", places, "--batch", "2",
                   *map(str, arguments)]
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=self.build,
                                env={**environment(), **DEVICE, "PATH": path, **variables})
        rows = {}
        if (self.build / "gpu-check.json").is_file():
            rows = {row["what"]: row for row in json.loads((self.build / "gpu-check.json").read_text())["table"]}
        return result, rows


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_everything(machine, places):
    result, rows = machine.check(places)
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    assert verdicts["kernels' tests on the device"] == verdicts["kernels' tests on the host"] == verdicts["racecheck"] == "ok", rows
    assert verdicts["draws are the CPU's, bit for bit"] == verdicts["equal to the CPU; same bits twice"] == "ok"
    assert rows["memcheck"]["found"] == "ERROR SUMMARY: 0 errors"
    for name, asked in (("NHWC float32 CN", 80), ("NHWC bfloat16 CN", 80), ("NHWC bfloat16 HWCN", 60), ("NCHW float32 CN", 65)):
        for way in ("forward", "backward"):
            row = rows[f"{name} {way}"]
            assert re.match(r"[0-9.]+ % of copy \([0-9.]+ ms, [0-9.]+ TB/s\); least [0-9.]+ % at [ab]$", row["found"]), row
            assert row["asked"] == f"{asked} % at each place" and row["verdict"] in ("ok", "SHORT")
    # The kernels on the host are no match for memcpy, which is what copies within the stand-in.
    assert verdicts["NHWC float32 CN forward"] == "SHORT" and result.returncode == 1, result.stdout
    if has_torch():
        assert re.match(r"[0-9.]+ times as long, over 2 places$", rows["NCHW bfloat16 PyTorch's naive layer, eager"]["found"])
    table = result.stdout[result.stdout.index("\nNVIDIA Stand-in, compute capability 9.0, batch 2"):].strip().splitlines()[1:]
    assert len(table) == len(rows) and all(line.split()[0] in ("ok", "SHORT", "-") for line in table), result.stdout
    figures = json.loads((machine.build / "gpu-check.json").read_text())["figures"]
    assert {row["dtype"] for row in figures} == {"float32", "bfloat16"}


def test_failures_stop_nothing_else(machine, places):
    """One test fails, one program is missing, one tool finds something."""
    machine.device_tests("echo '[       OK ] test_random_windows'\necho '[  FAILED  ] test_draws_are_the_cpus' >&2\nexit 1\n")
    (machine.build / "src").unlink()
    result, rows = machine.check(places, "--json", machine.build / "gpu-check.json")
    assert result.returncode == 1
    assert rows["kernels' tests on the device"]["found"] == "1 passed, 1 failed"
    assert rows["draws are the CPU's, bit for bit"]["verdict"] == rows["memcheck"]["verdict"] == "FAILED"
    assert rows["equal to the CPU; same bits twice"]["verdict"] == rows["kernels' tests on the host"]["verdict"] == "ok"
    assert rows["NHWC float32 CN"]["found"] == "skipped: it was not built"
    assert "test_draws_are_the_cpus" in result.stdout, "the end of a failed step's log is shown"


def test_time_is_kept(machine, places):
    """A step that does not end is stopped with all that it started, and the others go without."""
    machine.device_tests(f"sleep 1000 & echo $! > {machine.build}/started\nwait\n")
    result, rows = machine.check(places, "--seconds", 3)
    assert rows, result.stdout + result.stderr
    assert rows["kernels' tests on the device"]["found"].startswith("no end after ") and result.returncode == 1
    assert rows["NHWC float32 CN"]["found"] == rows["kernels' tests on the host"]["found"] == "skipped: the time is spent"
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int((machine.build / "started").read_text()), 0)
            subprocess.run(["sleep", "0.1"], check=True)


def test_without_a_gpu(machine, places):
    write_script(machine.programs / "nvidia-smi", "echo 'No devices were found'\nexit 6\n")
    result, rows = machine.check(places)
    assert result.returncode == 77 and "nvidia-smi" in result.stderr and not rows


def test_limits_are_below_nine_minutes():
    """Those of the script's steps, and 10 s for nvidia-smi."""
    text = (ROOT / "scripts" / "gpu-check").read_text()
    numbers = [int(n) for n in re.findall(r'(?:self\.run\([^,]+|_tests\("\w+"|peers\("[^"]+"), (\d+)', text)]
    assert len(numbers) == 10, numbers  # configure, build, bench, sanitizers; the kernels' tests, the layer's, peers, twice each
    bench = int(re.search(r"self\.run\(name, (\d+), \[program, \*self\.sizes", text)[1])
    sanitizer = int(re.search(r"self\.run\(tool, (\d+),", text)[1])
    assert sum(numbers) + 5 * bench + 2 * sanitizer + 10 < 540, numbers


# ---- bench/pool_torch_cuda.py ---------------------------------------------------------------

def peers(*arguments):
    return subprocess.run([sys.executable, ROOT / "bench" / "pool_torch_cuda.py", *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIMEOUT, env={**environment(), **DEVICE, "GAUSSPOOL_BUILD": str(BUILD)})


@pytest.fixture
def needs_torch():
    if not has_torch():
        pytest.skip("no PyTorch")


def test_peers(needs_torch, places):
    """Compares the operator with the naive layer, too, before it measures."""
    result = peers("--rehearse", "--network", places, "--batch", 2, "--repeat", 1, "--no-compile", "--json", "--dtype", "float32", "bfloat16")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(row["place"], row["layout"], row["dtype"], row["kind"], row["stochasticity"]) for row in rows} == {
        (place, layout, dtype, kind, draws) for place in "ab" for layout in ("nchw", "nhwc") for dtype in ("float32", "bfloat16")
        for kind, draws in [("isp_gaussian", "CN"), ("isp_gaussian", "HWCN"), ("torch_naive", "CN"), ("torch_naive", "HWCN"),
                            ("torch_average", "none"), ("torch_max", "none")]}
    assert all(row[f"{name}_ms"] > 0 for row in rows for name in ("forward", "step", "inference"))


def test_peers_table(needs_torch, places):
    text = peers("--rehearse", "--network", places, "--batch", 1, "--repeat", 1, "--no-compile", "--dtype", "bfloat16").stdout
    assert len(re.findall(r"^PyTorch, naive +bfloat16 +n\w+ +(CN|HWCN)( +[0-9.]+){4}$", text, re.M)) == 4, text


def test_peers_without_a_gpu(needs_torch):
    import torch
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = peers()
    assert result.returncode == 77 and "expected a GPU" in result.stderr
