"""The library as others get it: installed, moved elsewhere, linked into the example in every way, its symbols and header."""
import filecmp
import os
import re
import shutil
import subprocess
from math import exp, log1p, sqrt
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GAUSSPOOL_BUILD", ROOT / "build" / "release")).resolve()
EXAMPLE = ROOT / "examples"
TIMEOUT = 600
C = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
CXX = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wold-style-cast", "-Werror"]
# What would lead a compiler or linker to another copy of the library.
ELSEWHERE = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH",
             "PKG_CONFIG_LIBDIR", "CMAKE_PREFIX_PATH", "CFLAGS", "CXXFLAGS", "LDFLAGS", "DESTDIR")


def run(*command, **variables):
    """Runs a command that must succeed, with these environment variables besides the usual ones; gives its output."""
    result = attempt(*command, **variables)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def attempt(*command, **variables):
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT, env={**kept, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "2", **variables})


def cached(name):
    """A variable of the build folder's CMake cache."""
    found = re.search(rf"^{name}:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)
    assert found, name
    return found[1]


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def needs(tool):
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")


@pytest.fixture(scope="module")
def libdir():
    return cached("CMAKE_INSTALL_LIBDIR")


@pytest.fixture(scope="module")
def version():
    return cached("CMAKE_PROJECT_VERSION")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The whole, installed into one folder and then moved to another."""
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--prefix", folder / "first")
    return (folder / "first").rename(folder / "moved")


@pytest.fixture(scope="module")
def shared(installed, libdir):
    return installed / libdir / "libgausspool.so"


@pytest.fixture(scope="module")
def archive(installed, libdir):
    return installed / libdir / "libgausspool.a"


# ---- What lies where ------------------------------------------------------------------------

def test_components(installed, libdir, version, tmp_path):
    for component in ("runtime", "devel", "program", "cuda"):
        (tmp_path / component).mkdir()
        run("cmake", "--install", BUILD, "--prefix", tmp_path / component, "--component", component)
    assert files(tmp_path / "runtime") == {f"{libdir}/libgausspool.so.0", f"{libdir}/libgausspool.so.{version}"}
    package = f"{libdir}/cmake/gausspool/gausspool"
    assert files(tmp_path / "devel") == {
        "include/gausspool/gausspool.h", "include/gausspool/gausspool_cuda.h", f"{libdir}/libgausspool.so", f"{libdir}/libgausspool.a",
        f"{libdir}/pkgconfig/gausspool.pc", f"{package}Config.cmake", f"{package}ConfigVersion.cmake",
        f"{package}Targets.cmake", f"{package}Targets-{(cached('CMAKE_BUILD_TYPE') or 'Release').lower()}.cmake"}
    assert all(name.startswith(("bin/", "share/")) for name in files(tmp_path / "program"))
    # Built where there is nvcc.
    cuda = f"{libdir}/libgausspool_cuda.so"
    assert files(tmp_path / "cuda") in (set(), {cuda, f"{cuda}.0", f"{cuda}.{version}"})
    assert files(installed) == set().union(*(files(tmp_path / name) for name in ("runtime", "devel", "program", "cuda")))


def test_destdir_holds_the_same_bytes(installed, tmp_path):
    run("cmake", "--install", BUILD, "--prefix", "/opt/pool", DESTDIR=str(tmp_path))
    staged = tmp_path / "opt" / "pool"
    assert files(staged) == files(installed)
    differing = filecmp.cmpfiles(staged, installed, files(installed), shallow=False)[1:]
    assert differing == ([], [])


def test_no_file_of_the_library_names_a_folder(installed):
    names = [str(path).encode() for path in (ROOT, BUILD, installed, installed.parent)]
    for file in files(installed):
        content = (installed / file).read_bytes()
        assert file.startswith(("bin/", "share/")) or not any(name in content for name in names), file


def test_shared_library_needs_only_the_system(shared):
    dynamic = run("readelf", "-d", shared)
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libgausspool.so.0"]
    assert not re.search(r"\(R(UN)?PATH\)", dynamic)
    needed = set(re.findall(r"\(NEEDED\).*\[([a-z0-9-]+)\..*\]", dynamic))
    assert needed <= {"libc", "libm", "libgomp", "libomp", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}, needed


def test_library_alone_needs_a_compiler_and_cmake(tmp_path):
    """With no other program on the path, and no package looked for but OpenMP."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("cmake", "ninja", "cc", "as", "ld", "ar", "ranlib"):
        (tools / name).symlink_to(shutil.which(name))
    build = tmp_path / "build"
    run(tools / "cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DGAUSSPOOL_PROGRAM=OFF", "-DGAUSSPOOL_TESTS=OFF",
        "-DGAUSSPOOL_CUDA=OFF",  # asks for nvcc and a C++ compiler
        "-DCMAKE_C_FLAGS_RELEASE=-Og", PATH=str(tools))  # compiles the kernels fastest
    run(tools / "cmake", "--build", build, "-j2", PATH=str(tools))
    found = re.findall(r"^FIND_PACKAGE_MESSAGE_DETAILS_(\w+):", (build / "CMakeCache.txt").read_text(), re.MULTILINE)
    assert set(found) <= {"OpenMP", "OpenMP_C", "Threads"}
    run(tools / "cmake", "--install", build, "--prefix", tmp_path / "installed")
    assert (tmp_path / "installed" / "include" / "gausspool" / "gausspool.h").is_file()


# ---- Symbols --------------------------------------------------------------------------------

def defined(library, *options):
    output = run("nm", "--defined-only", "--extern-only", "--format=posix", *options, library)
    return {line.split()[0] for line in output.splitlines() if line and not line.endswith(":")}


def test_shared_library_exports_what_the_header_declares(installed, shared):
    header = "".join(path.read_text() for path in sorted((installed / "include" / "gausspool").glob("*.h")))
    code = re.sub(r"/\*.*?\*/|^ *#.*?$", "", header, flags=re.DOTALL | re.MULTILINE)
    declared = set(re.findall(r"\bGP_API\b[^;{}]*?\b(\w+)\(", code))
    assert len(declared) >= 10 and len(declared) == code.count("GP_API")
    assert all(name.startswith("gp_") for name in declared)
    assert defined(shared, "--dynamic") == declared


def test_symbols_of_the_static_library_have_its_prefix(archive):
    names = defined(archive)
    assert len(names) >= 10
    assert [name for name in names if not name.startswith("gp_")] == []


# ---- Header ---------------------------------------------------------------------------------

@pytest.mark.parametrize("compiler, options, suffix", [("gcc", C, "c"), ("clang", C, "c"), ("g++", CXX, "cc"),
                                                       ("clang++", CXX, "cc")], ids=["gcc", "clang", "g++", "clang++"])
def test_header_compiles_alone(installed, compiler, options, suffix, tmp_path):
    needs(compiler)
    source = tmp_path / f"alone.{suffix}"
    source.write_text("#include <gausspool/gausspool.h>\n#include <gausspool/gausspool.h>\n")
    run(compiler, *options, "-fsyntax-only", f"-I{installed / 'include'}", source)


# ---- The example, linked in every way -------------------------------------------------------

def values(output):
    """The numbers of the example's output by their names, whose lists may take several lines."""
    numbers = {}
    for line in output.splitlines():
        words = line.split()
        if not line.startswith(" "):
            name = words.pop(0)
        numbers.setdefault(name, []).extend(map(float, words))
    return numbers


def check_output(output):
    """Compares with the formulas, from the draws that the program shows."""
    got = values(output)
    assert len(got["x"]) == 32 and len(set(got["draws"])) == 2
    mu, sigma = (0.0, 0.5), (1.0, 0.5)
    y, grad_x, grad_mu, grad_sigma = [], [0.0] * 32, [0.0, 0.0], [0.0, 0.0]
    for window in range(8):
        channel, row, column = window // 4, window // 2 % 2, window % 2
        at = [16 * channel + 4 * (2 * row + i) + 2 * column + j for i in (0, 1) for j in (0, 1)]
        x = [got["x"][i] for i in at]
        draw = got["draws"][channel]
        mean = sum(x) / 4
        deviation = sqrt(sum((value - mean) ** 2 for value in x) / 4)
        a = mu[channel] + sigma[channel] * draw
        weight = log1p(exp(a))
        y.append(mean + weight * deviation)
        for i, value in zip(at, x):
            grad_x[i] = (1 + weight * (value - mean) / deviation) / 4
        grad_a = deviation / (1 + exp(-a))
        grad_mu[channel] += grad_a
        grad_sigma[channel] += grad_a * draw
    for name, wanted in (("y", y), ("grad_x", grad_x), ("grad_mu", grad_mu), ("grad_sigma", grad_sigma)):
        assert got[name] == pytest.approx(wanted, abs=2e-4), name


def pkg_config(installed, libdir, *options):
    return run("pkg-config", *options, "gausspool", PKG_CONFIG_PATH=str(installed / libdir / "pkgconfig")).split()


def links_shared(program):
    return "libgausspool.so.0" in run("readelf", "-d", program)


@pytest.fixture(scope="module")
def example_output(installed, libdir, tmp_path_factory):
    """What the example prints when linked with the shared library by pkg-config."""
    program = tmp_path_factory.mktemp("example") / "pool"
    run("cc", *C, EXAMPLE / "pool.c", *pkg_config(installed, libdir, "--cflags", "--libs"), "-o", program)
    assert links_shared(program)
    return run(program, LD_LIBRARY_PATH=str(installed / libdir))


def test_example_by_pkg_config(example_output):
    check_output(example_output)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_example_by_pkg_config_static(installed, libdir, example_output, compiler, tmp_path):
    needs(compiler)
    program = tmp_path / "pool"
    flags = pkg_config(installed, libdir, "--static", "--cflags", "--libs")
    run(compiler, *C, "-static", EXAMPLE / "pool.c", *flags, "-o", program)
    assert "NEEDED" not in run("readelf", "-d", program)
    assert run(program) == example_output


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_example_by_cmake(installed, example_output, static, tmp_path):
    run("cmake", "-S", EXAMPLE, "-B", tmp_path, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={installed}", f"-DSTATIC={static}")
    run("cmake", "--build", tmp_path)
    assert links_shared(tmp_path / "pool") != static
    assert run(tmp_path / "pool") == example_output


def test_example_reports_a_failure(installed, libdir, tmp_path):
    source = (EXAMPLE / "pool.c").read_text()
    broken = source.replace("pool.kernel[0] = 2", "pool.kernel[0] = -2")
    assert broken != source
    (tmp_path / "pool.c").write_text(broken)
    run("cc", *C, tmp_path / "pool.c", *pkg_config(installed, libdir, "--cflags", "--libs"), "-o", tmp_path / "pool")
    result = attempt(tmp_path / "pool", LD_LIBRARY_PATH=str(installed / libdir))
    assert result.returncode == 1 and result.stdout == ""
    assert re.fullmatch(r"pool: invalid argument: .*kernel.*-2.*\n", result.stderr), result.stderr


def test_page_shows_what_the_example_prints(example_output):
    page = (ROOT / "docs" / "library.md").read_text()
    assert "".join(f"    {line}\n" for line in example_output.splitlines()) in page


# ---- The CMake package ----------------------------------------------------------------------

def project(folder, lines):
    (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.22)\n" + lines)
    return folder


@pytest.mark.parametrize("target", ["gausspool", "gausspool_static"])
def test_cpp_project_without_c(installed, libdir, version, target, tmp_path):
    needs("c++")
    (tmp_path / "main.cc").write_text("#include <gausspool/gausspool.h>\n#include <cstdio>\n"
                                      "int main() { return std::puts(gp_version()) < 0; }\n")
    project(tmp_path, f"""project(user LANGUAGES CXX)
find_package(gausspool REQUIRED)
add_executable(main main.cc)
target_link_libraries(main gausspool::{target})
""")
    build = tmp_path / "build"
    run("cmake", "-S", tmp_path, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", build)
    assert run(build / "main").strip() == version
    assert pkg_config(installed, libdir, "--modversion") == [version]


@pytest.mark.parametrize("request_, wanted", [("0.1", ""), ("0.2", "version"), ("1.0", "version"),
                                              ("COMPONENTS engine", "gausspool_FOUND to FALSE")])
def test_package_refuses_what_it_is_not(installed, request_, wanted, tmp_path):
    project(tmp_path, f"project(user LANGUAGES NONE)\nfind_package(gausspool {request_} REQUIRED)\n")
    result = attempt("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={installed}")
    assert (result.returncode == 0) == (wanted == ""), result.stderr
    assert wanted in result.stderr
