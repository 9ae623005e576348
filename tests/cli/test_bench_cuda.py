"""`gausspool bench pool --device cuda`, and the same as a program of its own, without a GPU: on a stand-in for the driver
(tests/fake_cuda_driver.c), with the kernels run on the host."""
import json
import re
import shutil
import subprocess

import pytest

from helpers import BUILD, PROGRAM, ROOT, TIMEOUT, environment, gausspool

DRIVER = BUILD / "tests" / "libfake_cuda_driver.so"
LIBRARY = BUILD / "tests" / "unit" / "libgausspool_cuda_host.so"
ALONE = BUILD / "src" / "bench" / "gausspool-cuda-bench"
DEVICE = {"GAUSSPOOL_CUDA_DRIVER": str(DRIVER), "GAUSSPOOL_CUDA_LIBRARY": str(LIBRARY)}
KEYS = ["place", "kind", "stochasticity", "layout", "dtype", "batch", "forward_ms", "backward_ms", "inference_ms", "forward_bytes",
        "backward_bytes", "forward_copy_gb_per_s", "backward_copy_gb_per_s", "forward_of_copy", "backward_of_copy",
        "inference_of_copy", "device", "device_is"]
KINDS = ["isp_gaussian", "weighted", "average", "max", "gaussian", "half_gaussian", "max_entropy", "softpool", "stochastic",
         "mixed", "gated", "lp"]
X, Y = 2 * 5 * 9 * 8, 2 * 5 * 4 * 4

pytestmark = pytest.mark.skipif(not (DRIVER.is_file() and LIBRARY.is_file()), reason="no stand-in for a GPU was built")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    path = tmp_path_factory.mktemp("places") / "tiny.txt"
    path.write_text('a\\"  5  9 8  2 2  2 2  0 0\nb 17  7 9  3 2  2 1  1 0\n')
    return path


def in_program(*arguments, **variables):
    return gausspool("bench", "pool", "--device", "cuda", *arguments, variables={**DEVICE, **variables})


def alone(*arguments, **variables):
    return subprocess.run([ALONE, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT, cwd=ROOT,
                          env={**environment(), **DEVICE, **variables})


BOTH = pytest.mark.parametrize("run", [in_program, alone])


def refused(result, status, *texts):
    assert result.returncode == status, result.stderr
    assert len(result.stderr.splitlines()) == 1 and not result.stdout, result.stderr
    for text in texts:
        assert str(text) in result.stderr, f"{text} is not in: {result.stderr}"


@BOTH
@pytest.mark.parametrize("layout, dtype, size", [("nhwc", "float32", 4), ("nchw", "bfloat16", 2), ("nhwc", "float16", 2),
                                                 ("nchw", "float64", 8)])
def test_json(places, run, layout, dtype, size):
    result = run("--network", places, "--batch", 2, "--repeat", 1, "--kind", "all", "--layout", layout, "--dtype", dtype, "--json")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["place"], row["kind"]) for row in rows] == [(place, kind) for place in ('a\\"', "b") for kind in KINDS]
    for row in rows:
        assert list(row) == KEYS
        assert (row["layout"], row["dtype"], row["batch"], row["device"]) == (layout, dtype, 2, "cuda:0")
        assert "stand-in 0" in row["device_is"] and "132 multiprocessors" in row["device_is"]
        for name in ("forward", "backward"):
            assert row[f"{name}_ms"] > 0
            share = row[f"{name}_bytes"] / (1e6 * row[f"{name}_ms"]) / row[f"{name}_copy_gb_per_s"]
            assert row[f"{name}_of_copy"] == pytest.approx(share, rel=1e-3)
    first = rows[0]
    assert (first["forward_bytes"], first["backward_bytes"]) == (size * (X + Y), size * (2 * X + Y))


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_copies_move_what_passes_must(places, run, dtype):
    """On a device whose events know nothing but its copies' speed."""
    result = run("--network", places, "--batch", 2, "--repeat", 2, "--dtype", dtype, "--json", FAKE_CUDA_COPY="1000000")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 2, result.stderr
    for row in rows:
        for name in ("forward", "backward"):
            assert row[f"{name}_copy_gb_per_s"] == pytest.approx(0.001, rel=1e-3)
            assert row[f"{name}_ms"] < 0.001 * row[f"{name}_bytes"], "not a call's time, but that of several"


NOTE = "note: calls of less than 20 us are among these"


@BOTH
def test_table(places, run):
    result = run("--network", places, "--batch", 2, "--repeat", 3, "--stochasticity", "HWCN", "--device", "cuda:0",
                 FAKE_CUDA_COPY="1000000000")
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and "batch 2, nhwc, float32, stand-in 0" in lines[0], result.stderr
    head = next(i for i, line in enumerate(lines) if line.startswith("place"))
    assert re.sub(" +", " ", lines[head]) == "place kind draw pass median ms min ms max ms MB GB/s ratio copy GB/s of copy"
    rows = [line.split() for line in lines[head + 1:head + 10]]
    assert [row[:4] for row in rows] == [[place, "isp_gaussian", "HWCN", name] for place in ('a\\"', "b", "sum")
                                         for name in ("forward", "backward", "inference")]
    assert all(len(row) == 12 and float(row[5]) <= float(row[4]) <= float(row[6]) for row in rows)
    # On a device whose events know nothing but its copies' speed, a call takes no time.
    assert lines[head + 10] == "" and lines[head + 11].startswith(NOTE) and len(lines) == head + 12


@BOTH
def test_note_of_short_calls(places, run):
    arguments = ("--network", places, "--batch", 1, "--repeat", 1, "--json")
    result = run(*arguments, FAKE_CUDA_COPY="1000000000")
    assert NOTE in result.stderr and len(result.stdout.splitlines()) == 2
    assert not gausspool("bench", "pool", *arguments).stderr, "the processors queue nothing"


@BOTH
@pytest.mark.parametrize("form, lines", [(["--json"], 1), ([], 6)])
def test_a_place_is_printed_when_it_is_measured(tmp_path, run, form, lines):
    """The second one fails."""
    path = tmp_path / "places.txt"
    path.write_text("a 5 9 8 2 2 2 2 0 0\nlarge 4096 1024 1024 2 2 2 2 0 0\n")
    result = run("--network", path, "--batch", 2, "--repeat", 1, *form, FAKE_CUDA_MEMORY="1000000")
    assert result.returncode == 1 and "large, batch 2" in result.stderr, result.stderr
    printed = [line for line in result.stdout.splitlines() if line]
    assert len(printed) == lines and '"place": "a"' in printed[0] if form else printed[-1].startswith("a "), result.stdout


def test_found_in_a_build(places, tmp_path):
    """Where a build has it: one folder above both programs' folders."""
    for program in (PROGRAM, ALONE):
        copy = tmp_path / "src" / program.parent.name / program.name
        copy.parent.mkdir(parents=True)
        shutil.copy2(program, copy)
        command = [copy, *(["bench", "pool"] if program == PROGRAM else []), "--device", "cuda", "--network", places, "--repeat", "1",
                   "--batch", "1", "--json"]
        run = lambda: subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT,
                                     env={**environment(), "GAUSSPOOL_CUDA_DRIVER": str(DRIVER)})
        (tmp_path / "src" / "libgausspool_cuda.so.0").unlink(missing_ok=True)
        assert run().returncode == 1 and "pooling on CUDA needs libgausspool_cuda.so.0" in run().stderr
        shutil.copy2(LIBRARY, tmp_path / "src" / "libgausspool_cuda.so.0")
        result = run()
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 2, result.stderr


def test_batch_of_a_gpu(tmp_path):
    path = tmp_path / "places.txt"
    path.write_text("a 1 2 2 2 2 2 2 0 0\n")
    batch = lambda *arguments, **options: json.loads(gausspool("bench", "pool", "--network", path, "--repeat", 1, "--json", *arguments,
                                                               **options).stdout.splitlines()[0])["batch"]
    assert batch() == 16 and batch("--device", "cuda", variables=DEVICE) == 256 and batch("--batch", 3) == 3


@BOTH
@pytest.mark.parametrize("variables, texts", [
    ({"GAUSSPOOL_CUDA_DRIVER": "/nowhere/libcuda.so.1"}, ("NVIDIA's driver", "/nowhere/libcuda.so.1", "GAUSSPOOL_CUDA_DRIVER")),
    ({"GAUSSPOOL_CUDA_DRIVER": "libm.so.6"}, ("libm.so.6", "without cuInit")),
    ({"FAKE_CUDA_DEVICES": "0"}, ("cuInit", "CUDA_ERROR_NO_DEVICE", "nvidia-smi")),
    ({"GAUSSPOOL_CUDA_LIBRARY": "/nowhere/lib.so"}, ("libgausspool_cuda.so.0", "/nowhere/lib.so")),
    ({"FAKE_CUDA_MEMORY": "65536"}, ("batch 16", "--batch", "1.0 MiB", "the GPU has free 0.1 MiB")),
    ({"FAKE_CUDA_FAIL": "cuEventSynchronize"}, ("batch 16", "cuEventSynchronize", "compute-sanitizer")),
])
def test_what_is_missing(tmp_path, run, variables, texts):
    path = tmp_path / "places.txt"
    path.write_text("a 16 16 26 2 2 2 2 0 0\n")
    refused(run("--network", path, "--batch", 16, **variables), 1, *texts)


@BOTH
@pytest.mark.parametrize("device, status, text", [("cuda:1", 1, "from 0 to 0, found 1"), ("cuda:x", 2, "cuda:x"),
                                                  ("cuda:-1", 2, "cuda:-1"), ("gpu", 2, "gpu"), ("cuda:", 2, "cuda:N")])
def test_devices(places, run, device, status, text):
    refused(run("--network", places, "--device", device), status, text)


def test_list_is_of_the_processors(places):
    refused(in_program("--list"), 2, "--list", "--device cuda")


@pytest.mark.parametrize("arguments, texts", [
    (["--batch", "0"], ("--batch", "from 1")), (["--batch", "2x"], ("--batch", "2x")), (["--layout", "nwhc"], ("--layout", "nhwc")),
    (["--kind", "sieve"], ("--kind", "sieve")), (["--device", "cpu"], ("cuda:N", "gausspool bench pool")), (["--depth"], ("--depth",)),
    (["stray"], ("stray",)), (["--dtype"], ("--dtype",)),
])
def test_wrong_usage_alone(arguments, texts):
    refused(alone(*arguments), 2, *texts)


def test_help_alone():
    result = alone("--help")
    assert result.returncode == 0 and "--stochasticity" in result.stdout and not result.stderr
