"""How libgausspool is found, and that the structs here are those of its header."""
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gausspool
from conftest import ROOT
from gausspool import _library

STRUCTS = {"gp_strides": _library.Strides, "gp_pool_desc": _library.PoolDesc, "gp_pool_forward_args": _library.ForwardArgs,
           "gp_pool_backward_args": _library.BackwardArgs}
ENUMS = {"GP_FLOAT32": _library.FLOAT32, "GP_FLOAT64": _library.FLOAT64, "GP_BFLOAT16": _library.BFLOAT16,
         "GP_FLOAT16": _library.FLOAT16, "GP_ERROR_NOT_FOUND": _library._NOT_FOUND, "GP_NCHW": _library.NCHW, "GP_NHWC": _library.NHWC, "GP_COUNT_INCLUDE_PAD": 0,
         "GP_COUNT_EXCLUDE_PAD": 1,
         **{f"GP_STOCHASTIC_{name.upper()}": value for name, value in _library.STOCHASTICITIES.items()},
         **{f"GP_SHAPE_{name}": value for name, value in _library.PARAM_SHAPES.items()},
         **{f"GP_POOL_{name.upper()}": value for name, value in _library.KINDS.items()}}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the package needs none, but this comparison does")
def test_structs_are_the_headers(tmp_path):
    lines = [f'printf("{name} %zu\\n", sizeof({name}));' for name in STRUCTS]
    lines += [f'printf("{name}.{field[0]} %zu %zu\\n", offsetof({name}, {field[0]}), sizeof((({name} *)0)->{field[0]}));'
              for name, struct in STRUCTS.items() for field in struct._fields_]
    lines += [f'printf("{name} %d\\n", (int){name});' for name in ENUMS]
    source = tmp_path / "layout.c"
    source.write_text('#include "gausspool/gausspool.h"\n#include <stdio.h>\nint main(void) {\n' + "\n".join(lines) + "\n}\n")
    program = str(tmp_path / "layout")
    subprocess.run(["cc", "-std=c11", "-I", str(ROOT / "include"), str(source), "-o", program], check=True)
    found = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    expected = [f"{name} {ctypes.sizeof(struct)}" for name, struct in STRUCTS.items()]
    for name, struct in STRUCTS.items():
        expected += [f"{name}.{field[0]} {getattr(struct, field[0]).offset} {getattr(struct, field[0]).size}"
                     for field in struct._fields_]
    expected += [f"{name} {value}" for name, value in ENUMS.items()]
    assert found == expected


def run_python(code, package=Path(gausspool.__file__).parent, **environment):
    """What a fresh interpreter prints that knows only the package."""
    variables = {name: value for name, value in os.environ.items() if name != "GAUSSPOOL_LIBRARY"}
    variables.update(PYTHONPATH=str(package.parent), PYTHONDONTWRITEBYTECODE="1", **environment)
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)


def test_found_by_environment(tmp_path):
    bare = tmp_path / "gausspool"
    shutil.copytree(Path(gausspool.__file__).parent, bare, ignore=shutil.ignore_patterns("lib", "__pycache__"))
    path = Path(gausspool.library_path()).resolve()
    code = "import gausspool; print(gausspool.library_path())"
    assert run_python(code, bare, GAUSSPOOL_LIBRARY=str(path)).stdout.strip() == str(path)
    missing = run_python(code, bare, GAUSSPOOL_LIBRARY=str(tmp_path / "none.so"))
    if missing.returncode != 0:  # unless the system has one installed
        assert "ImportError: gausspool: no libgausspool.so could be loaded" in missing.stderr
        assert "none.so" in missing.stderr and "set GAUSSPOOL_LIBRARY" in missing.stderr
    (bare / "lib").mkdir()
    shutil.copy(path, bare / "lib" / "libgausspool.so.0")
    beside = run_python(code, bare, GAUSSPOOL_LIBRARY=str(tmp_path / "none.so"))
    assert beside.stdout.strip() == str(bare / "lib" / "libgausspool.so.0")


def test_another_library_is_refused():
    libm = ctypes.util.find_library("m")
    with pytest.raises(ImportError, match="needs libgausspool 0.1.x, found 7.0.0 at there"):
        _library._check_version("7.0.0", "there")
    assert libm is not None
    with pytest.raises(AttributeError):
        _library._declare(ctypes.CDLL(libm))


def test_status_becomes_an_exception():
    desc = _library.PoolDesc(kind=-1, batch=1, channels=1, height=2, width=2)
    with pytest.raises(ValueError, match="gausspool: "):
        _library.backward_workspace(desc)


def test_version():
    assert gausspool.__version__ == gausspool.library_version()
    assert gausspool.cpu_isa() in ("baseline", "avx2", "avx512", "neon", "reference")
