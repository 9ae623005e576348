"""Help, wrong options and missing files."""
import pytest

from helpers import fails, gausspool, run_in_shell, succeeds, train_arguments

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
@pytest.mark.parametrize("arguments, names", [
    (["--samples", "64"], ("samples", "64", "63")),
    (["--samples", "0-64"], ("samples", "63")),
    (["--samples", "9-3"], ("samples", "9-3")),
    (["--samples", "0-9223372036854775807"], "samples"),
    (["--samples", "0,0-9223372036854775806"], "samples"),
    (["--samples", "three"], ("samples", "three")),
    (["--samples", "1,"], "samples"),
    (["--samples", ""], "samples"),
    (["--samples", "1", "x.png"], ("samples", "both")),
    (["x.png"], ("data", "samples")),
    (["--dataset", "fashion-mnist", "x.png"], ("dataset", "samples")),
])
def test_wrong_samples(data, trained, arguments, names):
    fails("predict", "--model-file", trained.model, "--data", data, *arguments, status=2, names=names)


@pytest.mark.bad_input
@pytest.mark.parametrize("settings, names", [
    (dict(arch="resnet9"), ("resnet9", "resnet8")),
    (dict(arch="vgg16_bn"), ("no net 'vgg16_bn'", "vgg16orig_bn is", "batch norms in place of")),
    (dict(pool="sieve"), ("sieve", "gauss_CN")),
])
def test_unknown_net(data, tmp_path, settings, names):
    result = gausspool(*train_arguments(data, tmp_path / "out", **settings))
    assert result.returncode in (1, 2) and len(result.stderr.splitlines()) == 1
    for name in names:
        assert name in result.stderr


@pytest.mark.bad_input
@pytest.mark.parametrize("settings, names", [
    (dict(mean="1,2"), ("mean", "1 channels", "1,2")),
    (dict(std="0.1,0.2,0.3"), ("std", "1 channels")),
    (dict(mean="1,2,3,4"), ("mean", "1,2,3,4")),
])
def test_numbers_for_other_channels(data, tmp_path, settings, names):
    fails(*train_arguments(data, tmp_path / "out", **settings), status=2, names=names)


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
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_closed_output(redirection):
    """A reader that goes away is an error, not a success, and no crash."""
    for form in ([], ["--json"]):
        result = run_in_shell(f'exec "$@" {redirection}', "info", "--arch", "resnet8", "--pool", "gauss_CN", *form)
        assert result.returncode == 1 and "Sanitizer" not in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.bad_input
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_stay_out_of_the_files(data, tmp_path, redirection):
    """What is printed must not go into a file that got the number of a closed stream."""
    result = run_in_shell(f'exec "$@" {redirection}', *train_arguments(data, tmp_path / "out", epochs=1))
    assert result.returncode == (1 if " >&-" in f" {redirection}" else 0), result.stderr
    lines = (tmp_path / "out" / "log.csv").read_text().splitlines()
    assert len(lines) == 2 and len({line.count(",") for line in lines}) == 1, lines
    for path in (tmp_path / "out").iterdir():
        assert b"epoch 1/1" not in path.read_bytes(), path.name


@pytest.mark.bad_input
def test_file_size_limit(data, trained, tmp_path):
    """The limit shows as a write that fails, with its message, in every command."""
    result = run_in_shell('ulimit -f 1; exec "$@"', "test", "--model-file", trained.model, "--data", data, "--logits-out",
                          tmp_path / "logits.npy")
    assert result.returncode == 1 and "logits.npy" in result.stderr, result.stderr


def test_bench_table():
    """Head and rows stand in the same columns."""
    rows = succeeds("bench", "net", "--arch", "resnet8", "--batch", 2, "--steps", 1).stdout.splitlines()
    assert len(rows) == 3 and len(set(map(len, rows))) == 1, rows
