"""Every call that works on files fails once: one line says which file, and what the run had written before goes on working."""
import re
import shutil

import pytest

from helpers import BUILD, checkpoints, gausspool, succeeds, train_arguments

LIBRARY = BUILD / "tests" / "cli" / "libfailing_calls.so"
STEP = 5  # every so-manieth call, but for `full`

pytestmark = pytest.mark.skipif(not LIBRARY.is_file(), reason=f"no {LIBRARY}: not built with sanitizers")


def run_with_failure(number, report, *arguments):
    """The program's result, and which call it was; the number of calls if there were fewer."""
    made = gausspool(*arguments, variables={"LD_PRELOAD": str(LIBRARY), "FAIL_AT": str(number), "FAIL_REPORT": str(report)})
    return made, report.read_text()


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    """A run of two steps."""
    out = tmp_path_factory.mktemp("begun") / "out"
    succeeds(*train_arguments(data, out, epochs=1, max_steps=2, tensorboard=True, workers=0))
    return out


def go_on(data, out):
    return ["train", "--resume", out, "--data", data, "--max-steps", 4, "--workers", 0]


@pytest.fixture(scope="module")
def expected(data, begun, tmp_path_factory):
    """The last checkpoint of one that went on for two more, and how many calls that took."""
    out = tmp_path_factory.mktemp("expected") / "out"
    shutil.copytree(begun, out)
    result, calls = run_with_failure(0, out.parent / "report", *go_on(data, out))
    assert result.returncode == 0, result.stderr
    return checkpoints(out)[-1].read_bytes(), int(calls)


def may_fail(call):
    """What the machine is like, curves, and making folders that are there: nothing that a run needs."""
    return re.search(r"^mkdir | (/proc/|/sys/|/dev/|pipe:)|/train_epochs\.", call) is not None


@pytest.mark.parametrize("step", [STEP, pytest.param(1, marks=pytest.mark.full)])
def test_calls_that_fail(data, begun, expected, tmp_path, step):
    content, calls = expected
    assert calls > 50
    for number in range(1, calls + 1, step):
        out = tmp_path / str(number)
        shutil.copytree(begun, out)
        result, call = run_with_failure(number, tmp_path / "report", *go_on(data, out))
        lines, report = result.stderr.splitlines(), f"call {number}, {call}: {result.returncode}, {result.stderr}"
        assert " " in call, report
        if result.returncode == 0:
            curves = number > calls - 20 and call in (f"open {out}", f"fsync {out}")  # their folder, at the end
            assert not lines and (may_fail(call) or curves), report
        else:
            assert result.returncode == 1 and len(lines) == 1, report
            assert re.match(r"gausspool: .*/.*: \w", lines[0]), report  # a path, and why
        assert not list(out.glob("*.tmp")), report
        succeeds(*go_on(data, out))
        assert checkpoints(out)[-1].read_bytes() == content, report
        shutil.rmtree(out)
