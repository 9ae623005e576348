"""The package as others get it: the wheel and what is in it, fresh environments, docstrings."""
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gausspool

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "bindings" / "python" / "src" / "gausspool"
TIMEOUT = 600


def run(*command, **variables):
    """Runs a command that must succeed, with nothing of this process's search paths; gives its output."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH", "GAUSSPOOL_LIBRARY")}
    result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=TIMEOUT, env={**kept, **variables})
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}"
    return result.stdout


# ---- The wheel ------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("scikit_build_core")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
        "--config-settings", f"build-dir={ROOT / 'build' / 'wheel-test'}",  # kept: what has not changed is not compiled again
        "--config-settings", "cmake.define.CMAKE_C_FLAGS_RELEASE=-Og -DNDEBUG",  # compiles the kernels fastest
        "--config-settings", "install.strip=true")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_wheel_is_for_any_python(wheel):
    version = re.search(r"project\(gausspool VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert re.fullmatch(rf"gausspool-{re.escape(version)}-py3-none-linux_\w+\.whl", wheel.name)


def test_wheel_holds_the_sources_and_one_library(unpacked):
    package = files(unpacked / "gausspool")
    assert package == files(SOURCES) | {"lib/libgausspool.so.0"}
    assert {"py.typed", "torch/replace.py", "torch/onnx.py"} <= package
    assert all(name.startswith("gausspool/") or ".dist-info/" in name for name in files(unpacked))


def test_metadata(unpacked):
    (path,) = unpacked.glob("*.dist-info/METADATA")
    text = path.read_text()
    assert "Name: gausspool\n" in text and "License-Expression: MIT\n" in text
    assert not re.search(r"^Requires-Dist: (?!.*extra ==)", text, re.MULTILINE)
    assert (path.parent / "licenses" / "LICENSE").is_file()


def test_library_needs_only_the_system(unpacked):
    if not shutil.which("readelf"):
        pytest.skip("no readelf here")
    dynamic = run("readelf", "-d", unpacked / "gausspool" / "lib" / "libgausspool.so.0")
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libgausspool.so.0"]
    assert not re.search(r"\(R(UN)?PATH\)", dynamic)
    needed = set(re.findall(r"\(NEEDED\).*\[([a-z0-9-]+)\..*\]", dynamic))
    assert needed <= {"libc", "libm", "libgomp", "libomp", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}, needed


def test_no_file_names_a_folder_of_this_machine(unpacked):
    for name in files(unpacked):
        assert str(ROOT).encode() not in (unpacked / name).read_bytes(), name


def test_cuda_is_not_left_out_where_it_was_asked_for(tmp_path):
    """As scikit-build-core configures it; the number stands for a search for nvcc that found nothing."""
    if not shutil.which("cmake"):
        pytest.skip("no cmake here")
    options = {"SKBUILD": 2, "GAUSSPOOL_PROGRAM": "OFF", "GAUSSPOOL_TESTS": "OFF", "GAUSSPOOL_CUDA": "ON", "GAUSSPOOL_NVCC": 0}
    command = ["cmake", "-S", ROOT, "-B", tmp_path, *(f"-D{name}={value}" for name, value in options.items())]
    variables = {name: value for name, value in os.environ.items() if name != "CUDACXX"}
    done = subprocess.run([str(word) for word in command], env=variables, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode != 0 and "a wheel with CUDA was asked for" in done.stderr and "nvcc" in done.stderr


# ---- Fresh environments ---------------------------------------------------------------------

def environment(folder, wheel, *options):
    """A Python that has the wheel and, with "--system-site-packages", what the system has."""
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", *options, folder)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    return python


def test_imports_without_any_other_package(wheel, tmp_path):
    python = environment(tmp_path / "bare", wheel)
    code = ("import gausspool; print(gausspool.library_path()); gausspool.cpu_isa(); "
            "print(*(line.split()[-1] for line in open('/proc/self/maps') if '.so' in line))")
    path, loaded = run(python, "-c", code).splitlines()
    assert Path(path).parent.is_relative_to(tmp_path)
    assert not re.search(r"cuda|sleef|dnnl|torch", loaded)


def test_layer_in_a_fresh_environment(wheel, tmp_path):
    torch = pytest.importorskip("torch")
    python = environment(tmp_path / "fresh", wheel, "--system-site-packages")
    # An environment's own packages are no part of one that is made from it.
    above = str(Path(torch.__file__).resolve().parents[1])
    code = ("import torch, gausspool; from gausspool.torch import GaussianPooling2d; x = torch.rand(4, 8, 9, 9, requires_grad=True); "
            "y = GaussianPooling2d(8, 3, 2, 1)(x); y.sum().backward(); print(gausspool.__file__, tuple(y.shape), x.grad.isfinite().all().item())")
    found = run(python, "-c", f"import sys; sys.path.append({above!r}); {code}")
    assert found.startswith(str(tmp_path)) and found.endswith("(4, 8, 5, 5) True\n")


# ---- Docstrings -----------------------------------------------------------------------------

def modules():
    pytest.importorskip("torch")
    names = [info.name for info in pkgutil.walk_packages(gausspool.__path__, "gausspool.")]
    return [gausspool, *map(importlib.import_module, names)]


def test_examples_run():
    """Every docstring's, from the same seed."""
    import torch
    found = modules()
    assert len(found) > 5
    attempted = 0
    for module in found:
        torch.manual_seed(0)
        names = {"torch": torch, **{name: getattr(module, name) for name in dir(module) if not name.startswith("__")}}
        result = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
        assert result.failed == 0, module.__name__
        attempted += result.attempted
    assert attempted > 20


def test_all_that_is_public_has_an_example():
    import gausspool.torch as package
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            text = inspect.getdoc(value) or ""
            assert ">>> " in text or issubclass(value, tuple), name


def test_versions_agree():
    assert gausspool.__version__ == re.search(r"VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text().split("project(")[1])[1]


# ---- The page ----------------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(tmp_path, monkeypatch):
    """docs/pytorch.md from top to bottom; without weights, which would be downloaded."""
    pytest.importorskip("torchvision")
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "pytorch.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block.replace('weights="IMAGENET1K_V2"', ""), "docs/pytorch.md", "exec"), names)
    assert tuple(names["y"].shape) == (8, 64, 28, 28)
    assert {"resnet50_gauss.pt", "resnet50_gauss.onnx"} <= files(tmp_path)


def test_the_page_shows_the_example():
    page, example = ((ROOT / name).read_text() for name in ("docs/pytorch.md", "examples/resnet50.py"))
    function = re.search(r"^def pool_where_it_strides.*?^    return net\n", page, re.DOTALL | re.MULTILINE)[0]
    assert function in example
