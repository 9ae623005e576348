"""scripts/gpu-check and bench/pool_torch_cuda.py without a GPU: a stand-in for nvidia-smi that names one, one for its driver, and the
kernels run on the host. Building is left out."""
import argparse
import functools
import importlib.machinery
import importlib.util
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
        write_script(self.programs / "compute-sanitizer",
                     'shift 4\n"$@"\nstatus=$?\necho "========= ERROR SUMMARY: 0 errors"\nexit $status\n')
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
        return result, self.rows(self.build / "gpu-check.json")

    @staticmethod
    def rows(path):
        return {row["what"]: row for row in json.loads(path.read_text())["table"]} if path.is_file() else {}

    def bench(self, text):
        """In place of gausspool-cuda-bench."""
        if (self.build / "src").is_symlink():
            (self.build / "src").unlink()
        write_script(self.build / "src" / "bench" / "gausspool-cuda-bench", text)


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
    assert rows["memcheck"]["found"] == "ERROR SUMMARY: 0 errors; the tests: exit status 1"
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


def bench_line(place, share):
    keys = {f"{way}_{name}": value for way in ("forward", "backward")
            for name, value in (("ms", 1.0), ("bytes", 10 ** 9), ("of_copy", share))}
    return json.dumps({"place": place, **keys})


@pytest.fixture
def script():
    """scripts/gpu-check as a module."""
    loader = importlib.machinery.SourceFileLoader("gpu_check", str(ROOT / "scripts" / "gpu-check"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def make_check(script, build, seconds, json=None):
    return script.Check(argparse.Namespace(build=build, seconds=seconds, rehearse=False, json=json, network="resnet50", batch=1))


def rows_of(check):
    return {row["what"]: row for row in check.rows}


def test_what_was_measured_counts(machine, script):
    """Of programs that were stopped: its places, and tests that had ended."""
    machine.bench(f"echo '{bench_line('a', 0.9)}'\necho '{bench_line('b', 0.1)[:40]}'\nsleep 1000\n")
    check = make_check(script, machine.build, 3)
    check.bench("nhwc", "float32", "CN", 0.8)
    rows = rows_of(check)
    assert rows["NHWC float32 CN"]["found"].startswith("no end after ") and rows["NHWC float32 CN"]["verdict"] == "FAILED"
    row = rows["NHWC float32 CN forward"]
    assert row["found"].startswith("90.0 % of copy") and row["found"].endswith("at a; 1 of the places only"), row
    assert row["verdict"] == ""
    machine.device_tests(f"echo '[       OK ] {TESTS[0]}'\necho '[  FAILED  ] {TESTS[1]}' >&2\nsleep 1000\n")
    check = make_check(script, machine.build, 3)
    check.kernel_tests("device", 10)
    rows = rows_of(check)
    assert rows["kernels' tests on the device, until then"]["found"] == "1 passed, 1 failed"
    assert rows["draws are the CPU's, bit for bit"]["verdict"] == "FAILED"


def test_results_that_cannot_be_read(machine, script, capfd):
    """Lines that are none, and a file of results that cannot be written, do not take the table along."""
    machine.bench(f"echo '{bench_line('a', 0.9)}'\necho '{{\"place\": \"b\", \"forward_ms\": nan}}'\n")
    file = machine.build / "new" / "folder" / "results.json"
    check = make_check(script, machine.build, 60, file)
    bench = functools.partial(check.bench, "nhwc", "float32", "CN", 0.8)
    check.step(16, 0, bench)
    rows = machine.rows(file)
    assert "no JSON" in rows["NHWC float32 CN"]["found"] and rows["NHWC float32 CN forward"]["verdict"] == "ok", rows
    machine.bench("echo '{\"place\": \"a\"}'\n")
    check = make_check(script, machine.build, 60, "/dev/null/results.json")
    check.step(16, 0, functools.partial(check.bench, "nhwc", "float32", "CN", 0.8))
    assert check.finish() == 1
    told = capfd.readouterr()
    assert "expected to write /dev/null/results.json" in told.err and "KeyError: 'forward_ms'" in told.out, told


def test_a_sanitizer_that_does_not_know_the_device(machine, script, monkeypatch):
    def row():
        check = make_check(script, machine.build, 60)
        check.sanitizer("memcheck", 1)
        return check.rows[0]["found"], check.rows[0]["verdict"]
    monkeypatch.setenv("PATH", f"{machine.programs}{os.pathsep}{os.environ['PATH']}")
    write_script(machine.programs / "compute-sanitizer", 'echo "========= Error: Device not supported"\nexit 1\n')
    assert row() == ("skipped: Error: Device not supported", "")
    write_script(machine.programs / "compute-sanitizer", 'echo "========= ERROR SUMMARY: 3 errors"\nexit $4\n')
    assert row() == ("ERROR SUMMARY: 3 errors", "FAILED")


def test_layer_tests_are_counted_as_they_end(machine, script, tmp_path, monkeypatch):
    """By a stand-in for pytest, which the folder of the layer's sources leaves on the path."""
    (tmp_path / "modules" / "pytest").mkdir(parents=True)
    (tmp_path / "modules" / "pytest" / "__init__.py").touch()
    (tmp_path / "modules" / "pytest" / "__main__.py").write_text("""import time
for name, end in (("a", "PASSED"), ("b[x y]", "FAILED"), ("c", "SKIPPED (no GPU)"), ("d", "PASSED")):
    print(f"tests/test_cuda.py::test_{name} {end} [ 10%]")
time.sleep(1000)
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    check = make_check(script, machine.build, 3)
    monkeypatch.setattr(check, "has_modules", lambda *names: True)
    check.layer_tests("cuda")
    rows = rows_of(check)
    assert rows["PyTorch layer's tests, cuda"]["found"].startswith("no end after ")
    assert rows["PyTorch layer's tests, cuda, until then"]["found"] == "2 passed, 1 failed, 1 skipped", rows


def test_limits(script, tmp_path):
    """All but the build's leave it 110 s and nvidia-smi 10 of nine minutes; what a step saves goes to those after it."""
    check = make_check(script, tmp_path, 540)
    steps = script.plan(check, "90")
    assert [limit for limit, _ in steps[:2]] == [60, 150]
    assert sum(limit for limit, _ in steps[2:]) + 110 + 10 < 540
    check.limit, check.ahead = 45, 100
    assert 439 < check.time_for_step() <= 440, "what is left for nobody else"
    check.ahead = 530
    assert check.time_for_step() == 45, "its own, where others will have less"
    check.end -= 520
    assert 0 < check.time_for_step() <= 20, "no more than there is"


def test_tools_beside_the_compiler(script, tmp_path, monkeypatch):
    for name in ("nvcc", "compute-sanitizer"):
        write_script(tmp_path / "toolkit" / "bin" / name, "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").symlink_to(tmp_path / "toolkit" / "bin" / "nvcc")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert script.find_tool("compute-sanitizer") == str(tmp_path / "toolkit" / "bin" / "compute-sanitizer")
    assert script.find_tool("no-such-tool") is None


# ---- bench/pool_torch_cuda.py ---------------------------------------------------------------

NEWEST = ROOT / "build" / "venv-newest"


def peers(*arguments, python=sys.executable):
    return subprocess.run([python, ROOT / "bench" / "pool_torch_cuda.py", *map(str, arguments)], capture_output=True, text=True,
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


@pytest.fixture(scope="module")
def compiling_python():
    """One whose PyTorch has torch.compile."""
    for python in ([str(NEWEST / "bin" / "python")] if (NEWEST / "complete.txt").is_file() else []) + [sys.executable]:
        finds = "import sys, torch; sys.exit(not hasattr(torch, 'compile'))"
        if subprocess.run([python, "-c", finds], capture_output=True, timeout=TIMEOUT).returncode == 0:
            return python
    pytest.skip("no PyTorch with torch.compile, 2.0 or newer: scripts/get-python newest")


def test_compiled_peer(compiling_python, tmp_path):
    place = tmp_path / "place.txt"
    place.write_text("a 8 8 8 2 2 2 2 0 0\n")
    result = peers("--rehearse", "--network", place, "--batch", 2, "--repeat", 1, "--json", "--dtype", "float32", "--layout", "nhwc",
                   "--stochasticity", "CN", python=compiling_python)
    assert result.returncode == 0, result.stderr
    row = next(row for row in map(json.loads, result.stdout.splitlines()) if row["kind"] == "torch_compiled")
    assert row["forward_ms"] > 0 and row["step_ms"] > 0 and row["inference_ms"] is None


def test_peers_table(needs_torch, places):
    text = peers("--rehearse", "--network", places, "--batch", 1, "--repeat", 1, "--no-compile", "--dtype", "bfloat16").stdout
    assert len(re.findall(r"^PyTorch, naive +bfloat16 +n\w+ +(CN|HWCN)( +[0-9.]+){4}$", text, re.M)) == 4, text


def test_peers_without_a_gpu(needs_torch):
    import torch
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = peers()
    assert result.returncode == 77 and "expected a GPU" in result.stderr
