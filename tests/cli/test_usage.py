"""Help, wrong options and missing files."""
import pytest

from helpers import fails, gausspool, succeeds, train_arguments

COMMANDS = ["train", "test", "predict", "info", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_command(command):
    result = succeeds(command, "--help")
    assert "usage" in result.stdout.lower() and command in result.stdout
    assert "--" in result.stdout and not result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 120


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(arguments):
    result = succeeds(*arguments)
    for command in COMMANDS:
        assert command in result.stdout


def test_train_help_names_its_options():
    text = succeeds("train", "--help").stdout
    for option in ("dataset", "data", "arch", "pool", "config-name", "out-dir", "resume", "evaluate", "seed", "workers",
                   "print-freq", "start-epoch", "save-last-checkpoint", "pdf-filename", "device", "batch-size", "epochs",
                   "lr", "momentum", "weight-decay", "max-steps", "checkpoint-every", "label-smoothing"):
        assert f"--{option}" in text or f"--[no-]{option}" in text, option


def test_version():
    assert "0.1.0" in succeeds("--version").stdout


@pytest.mark.bad_input
def test_no_command():
    assert gausspool().returncode == 2


@pytest.mark.bad_input
@pytest.mark.parametrize("arguments, names", [
    (["fly"], "fly"),
    (["train", "--no-such-option", "1"], "no-such-option"),
    (["test", "--no-such-option"], "no-such-option"),
    (["predict", "--no-such-option"], "no-such-option"),
    (["info", "--no-such-option"], "no-such-option"),
    (["train", "--epoch"], "epoch"),
    (["train", "--batch-size", "many"], ("batch-size", "many")),
    (["train", "--batch-size", "0"], ("batch-size", "0")),
    (["train", "--batch-size", "-4"], ("batch-size", "-4")),
    (["train", "--batch-size", "99999999999999999999"], "batch-size"),
    (["train", "--lr", "nan"], ("lr", "nan")),
    (["train", "--lr", "0.1x"], ("lr", "0.1x")),
    (["train", "--schedule", "zigzag"], ("schedule", "zigzag", "cosine")),
    (["train", "--dataset", "no-such-set"], ("no-such-set", "fashion-mnist")),
    (["train", "--device", "abacus"], ("device", "abacus")),
    (["train", "--epochs"], "epochs"),
    (["train", "stray"], "stray"),
    (["test"], "model-file"),
    (["predict"], "model-file"),
])
def test_wrong_usage(arguments, names):
    fails(*arguments, status=2, names=names)


@pytest.mark.bad_input
@pytest.mark.parametrize("settings, names", [
    (dict(arch="resnet9"), ("resnet9", "resnet8")),
    (dict(pool="sieve"), ("sieve", "gauss_CN")),
])
def test_unknown_net(data, tmp_path, settings, names):
    result = gausspool(*train_arguments(data, tmp_path / "out", **settings))
    assert result.returncode in (1, 2) and len(result.stderr.splitlines()) == 1
    for name in names:
        assert name in result.stderr


@pytest.mark.bad_input
def test_missing_files(data, trained, tmp_path):
    none = tmp_path / "none"
    fails(*train_arguments(none, tmp_path / "out"), names=none)
    fails(*train_arguments(data, tmp_path / "out", resume=none / "c.safetensors"), names=none)
    fails("test", "--model-file", none / "m.safetensors", "--dataset", "fashion-mnist", "--data", data, names=none)
    fails("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", none, names=none)
    fails("predict", "--model-file", trained.model, none / "x.png", names=none)
    fails("train", "--config-name", none / "recipe.ini", "--out-dir", tmp_path / "out", names="recipe.ini")


@pytest.mark.bad_input
def test_missing_data_names_the_file(data, tmp_path):
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        folder = tmp_path / name
        folder.mkdir()
        for path in data.iterdir():
            if path.name != name:
                (folder / path.name).write_bytes(path.read_bytes())
        fails(*train_arguments(folder, tmp_path / "out"), names=(name, folder))


@pytest.mark.bad_input
def test_closed_output():
    """A reader that goes away is an error, not a success, and no crash."""
    import subprocess

    from helpers import PROGRAM, ROOT, environment
    with open("/dev/full", "w") as full:
        result = subprocess.run([PROGRAM, "info", "--arch", "resnet8", "--pool", "gauss_CN"], stdout=full, text=True,
                                stderr=subprocess.PIPE, env=environment(), cwd=ROOT, timeout=60)
    assert result.returncode == 1 and "Sanitizer" not in result.stderr and len(result.stderr.splitlines()) == 1
