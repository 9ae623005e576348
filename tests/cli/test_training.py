"""What a training leaves behind, and that it can be repeated and resumed bit for bit."""
import csv
import json
import random
import re
import signal
import subprocess
import time

import pytest
from PIL import Image

from helpers import PROGRAM, ROOT, checkpoints, environment, fails, run_in_shell, succeeds, train_arguments

EPOCHS, STEPS_PER_EPOCH = 2, 8


# ---- Results --------------------------------------------------------------------------------

def test_learns(trained):
    with open(trained.out / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows]
    assert losses[-1] < losses[0] < 4


def test_log_csv(trained):
    with open(trained.out / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    for row in rows:
        for name in ("lr", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5"):
            assert float(row[name]) >= 0
        assert float(row["val_top5"]) <= float(row["val_top1"]) <= 100


def test_log_jsonl(trained):
    with open(trained.out / "log.jsonl") as file:
        records = [json.loads(line) for line in file]
    assert len(records) == EPOCHS * STEPS_PER_EPOCH + EPOCHS


def test_curves(trained):
    with Image.open(trained.out / "train_epochs.png") as image:
        assert image.width >= 600 and image.height >= 400 and image.convert("L").getextrema()[0] < 100
    assert (trained.out / "train_epochs.pdf").read_bytes().startswith(b"%PDF-")
    assert (trained.out / "train_epochs.gp").is_file() and (trained.out / "train_epochs.dat").is_file()


def test_curves_under_another_name(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=1, pdf_filename="curves.pdf"))
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF-") and (tmp_path / "curves.png").is_file()


def test_plain_lines_without_a_terminal(trained):
    assert "\r" not in trained.stdout and "\x1b" not in trained.stdout
    assert "resnet8" in trained.stdout and "gauss_CN" in trained.stdout


def test_saved_recipe_repeats_the_run(data, trained, tmp_path):
    recipes = list(trained.out.glob("*.ini"))
    assert len(recipes) == 1
    out = tmp_path / "out"
    succeeds("train", "--config-name", recipes[0], "--data", data, "--dataset", "fashion-mnist", "--arch", "resnet8", "--pool",
             "gauss_CN", "--seed", "3", "--threads", "2", "--out-dir", out)
    assert (out / "model_best.safetensors").read_bytes() == trained.model.read_bytes()


def test_tells_which_recipe(data, tmp_path):
    """The data set's, the one that was asked for, none; and that there is none of a data set's name."""
    def recipe(**options):
        lines = succeeds(*train_arguments(data, tmp_path, epochs=1, **options)).stdout.splitlines()
        return next(line.removeprefix("recipe: ") for line in lines if line.startswith("recipe: "))

    assert recipe(config_name=None).endswith("configs/fashion-mnist.ini")
    assert recipe(config_name="none") == "none"
    assert recipe(config_name=None, dataset="mnist").startswith("none, there is no configs/mnist.ini")


def test_save_last_checkpoint(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=3, save_last_checkpoint=True))
    assert len(checkpoints(tmp_path)) == 1


def rename_pool(path, name):
    """Stores the pooling of a model file under another name."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + size])
    header["__metadata__"]["pool"] = name
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size:])


def test_a_pooling_of_two_names(data, tmp_path):
    """It is the same net under both, in files of this program and in those of earlier ones, which kept the other name."""
    out, model = tmp_path / "out", tmp_path / "out" / "model_best.safetensors"
    succeeds(*train_arguments(data, out, pool="gauss_cuda_CN", max_steps=1))
    assert "gauss_cuda" not in (out / "config.ini").read_text() and b"gauss_cuda" not in model.read_bytes()
    for stored in ("gauss_CN", "gauss_cuda_CN"):
        rename_pool(model, stored)
        rename_pool(checkpoints(out)[-1], stored)
        for pool in ("gauss_CN", "gauss_cuda_CN"):
            succeeds("test", "--model-file", model, "--data", data, "--pool", pool)
            resumed = succeeds("train", "--resume", checkpoints(out)[-1], "--data", data, "--out-dir", tmp_path / "on",
                               "--pool", pool, "--max-steps", 2)
            assert "(was gauss" not in resumed.stdout
    fails("test", "--model-file", model, "--data", data, "--pool", "gauss_HWCN", names="gauss_HWCN")


def test_most_steps(data, tmp_path):
    """As many steps as there are need what no limit on them needs."""
    needs = []
    for steps in (2**63 - 1, 0):
        result = succeeds(*train_arguments(data, tmp_path / str(steps), epochs=1, pool="avg", max_steps=steps))
        needs += re.findall(r"(\S+ \S+) of disk", result.stdout)
    assert len(needs) == 2 and needs[0] == needs[1]


def test_max_steps(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=5, max_steps=3))
    with open(tmp_path / "log.jsonl") as file:
        steps = [record["step"] for record in map(json.loads, file) if record["kind"] == "step"]
    assert max(steps) == 3


def test_evaluate_trains_nothing(data, trained, tmp_path):
    before = trained.model.read_bytes()
    result = succeeds(*train_arguments(data, tmp_path / "out", resume=trained.model, evaluate=True))
    assert "top-1" in result.stdout
    assert trained.model.read_bytes() == before and not list((tmp_path / "out").glob("*.safetensors"))


def test_every_pooling_trains(data, tmp_path):
    for pool in ("skip", "max", "avg", "gauss_CN", "gauss_HWCN"):
        succeeds(*train_arguments(data, tmp_path / pool, pool=pool, epochs=1, max_steps=2))
        assert (tmp_path / pool / "model_best.safetensors").is_file(), pool


def test_memory_that_cannot_be_had(data, tmp_path):
    """Told before it is taken. The limit leaves room for the program and the net, not for 1 GB of activations."""
    arguments = train_arguments(data, tmp_path / "out", arch="resnet56", pool="avg", batch_size=256, epochs=1, max_steps=1)
    result = run_in_shell('ulimit -v 900000; exec "$@"', *arguments)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "of memory" in result.stderr and "--accumulate" in result.stderr and len(result.stderr.splitlines()) == 1
    assert "batch 1/" not in result.stdout and not list((tmp_path / "out").glob("*.safetensors"))
    result = run_in_shell('ulimit -v 900000; exec "$@"', *arguments, "--test-batch-size", 2**19)
    assert result.returncode == 1 and "the batches that are prepared ahead need 1.5 GiB" in result.stderr, result.stderr
    result = run_in_shell('ulimit -v 900000; exec "$@"', *arguments, "--accumulate", "16")
    assert result.returncode == 0, result.stdout + result.stderr


# ---- Repeating ------------------------------------------------------------------------------

@pytest.mark.parametrize("pool", ["gauss_CN", "gauss_HWCN"])
@pytest.mark.parametrize("change", [{}, {"workers": 4}], ids=str)
def test_same_seed_same_bytes(data, tmp_path, pool, change):
    for name, settings in (("a", {}), ("b", change)):
        succeeds(*train_arguments(data, tmp_path / name, pool=pool, **settings))
    one, other = ((tmp_path / name / "model_best.safetensors").read_bytes() for name in "ab")
    assert one == other


def test_another_seed_other_bytes(data, trained, tmp_path):
    succeeds(*train_arguments(data, tmp_path, seed=4))
    assert (tmp_path / "model_best.safetensors").read_bytes() != trained.model.read_bytes()


# ---- Stopping and resuming ------------------------------------------------------------------

SETTINGS = {"epochs": 4, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    """A run to its end: final files by name, and the seconds it took."""
    out = tmp_path_factory.mktemp("uninterrupted")
    began = time.monotonic()
    succeeds(*train_arguments(data, out, **SETTINGS))
    return final_files(out), time.monotonic() - began


def final_files(out):
    """The best model and the last checkpoint; wall-clock times are in the logs alone."""
    return {"best": (out / "model_best.safetensors").read_bytes(), "last": checkpoints(out)[-1].read_bytes()}


def log_without_times(out):
    with open(out / "log.csv", newline="") as file:
        return [{name: value for name, value in row.items() if "second" not in name} for row in csv.DictReader(file)]


def start(*arguments):
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)


def resume_to_the_end(data, out):
    """Goes on from the last checkpoint, or from the beginning if the run was stopped before the first."""
    found = checkpoints(out)
    more = {"resume": found[-1]} if found else {}
    return succeeds(*train_arguments(data, out, **SETTINGS, **more))


@pytest.mark.parametrize("kill", range(5))
def test_kill_and_resume(data, tmp_path, uninterrupted, kill):
    expected, seconds = uninterrupted
    out = tmp_path / "out"
    delay = random.Random(f"kill {kill}").uniform(0.1, 0.95) * seconds
    process = start(*train_arguments(data, out, **SETTINGS))
    time.sleep(delay)
    process.kill()
    process.communicate()
    resume_to_the_end(data, out)
    assert final_files(out) == expected, f"killed after {delay:.2f} s of {seconds:.2f} s"


def test_resume_beside_a_file_that_was_being_written(data, tmp_path, uninterrupted):
    """Killed while it wrote a checkpoint and the best model: what there is of them is written over."""
    expected, _ = uninterrupted
    succeeds(*train_arguments(data, tmp_path, **SETTINGS, max_steps=5))
    for name in ("checkpoint_last", "model_best", "checkpoint_epoch002"):
        (tmp_path / f"{name}.safetensors.tmp").write_bytes((tmp_path / "model_best.safetensors").read_bytes()[:9999] * 200)
    resume_to_the_end(data, tmp_path)
    assert final_files(tmp_path) == expected
    left = [path.name for path in tmp_path.glob("*.tmp")]
    assert not left or left == ["checkpoint_last.safetensors.tmp"], left  # the last one is not written again


def wait_for_steps(process, out, steps):
    """Until log.jsonl tells of so many steps."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if sum(1 for _ in open(out / "log.jsonl")) >= steps:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    pytest.fail(f"no {steps} steps logged")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_signal_and_resume(data, tmp_path, uninterrupted, number, status):
    out = tmp_path / "out"
    process = start(*train_arguments(data, out, **SETTINGS))
    wait_for_steps(process, out, 11)  # in the second epoch
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == status, stdout + stderr
    assert "--resume" in stdout + stderr and checkpoints(out)[-1].name in stdout + stderr
    succeeds(*train_arguments(data, out, **SETTINGS, resume=checkpoints(out)[-1]))
    assert final_files(out) == uninterrupted[0]
    rows = log_without_times(out)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]


def test_resume_in_another_folder(data, tmp_path, uninterrupted):
    first, second = tmp_path / "first", tmp_path / "second"
    succeeds(*train_arguments(data, first, **SETTINGS, max_steps=10))
    succeeds(*train_arguments(data, second, **SETTINGS, resume=checkpoints(first)[-1], max_steps=0))
    assert final_files(second)["best"] == uninterrupted[0]["best"]
    assert [int(row["epoch"]) for row in log_without_times(second)] == [1, 2, 3, 4]


def test_resume_of_a_finished_run(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=1))
    before = (tmp_path / "model_best.safetensors").read_bytes()
    succeeds(*train_arguments(data, tmp_path, epochs=1, resume=checkpoints(tmp_path)[-1]))
    assert (tmp_path / "model_best.safetensors").read_bytes() == before


def test_resume_with_an_empty_name(data, tmp_path):
    fails(*train_arguments(data, tmp_path, resume=""), status=2, names="--resume")


def test_evaluate_needs_a_model(data, tmp_path):
    fails(*train_arguments(data, tmp_path, evaluate=True), status=2, names="--resume")


def test_evaluate_normalises_as_the_model_was_trained(data, tmp_path):
    """`test` takes mean and std from the model file; so must `train --evaluate`."""
    succeeds(*train_arguments(data, tmp_path, epochs=1, mean="0.6", std="0.05"))
    model = tmp_path / "model_best.safetensors"
    tested = succeeds("test", "--model-file", model, "--dataset", "fashion-mnist", "--data", data)
    evaluated = succeeds("train", "--evaluate", "--resume", model, "--data", data, "--config-name", "none")
    assert [line for line in evaluated.stdout.splitlines() if "top-1 error" in line] == [
        line for line in tested.stdout.splitlines() if "top-1 error" in line]


def test_resume_tells_whose_configuration(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=1))
    last = checkpoints(tmp_path)[-1]
    result = succeeds(*train_arguments(data, tmp_path, epochs=1, resume=last))
    assert f"configuration of {last}" in result.stdout and "recipe:" not in result.stdout


def test_pretrained_says_what_it_took(data, tmp_path):
    """From a net without pooling and with other classes into one with: the rest is named, and the run goes."""
    succeeds(*train_arguments(data, tmp_path / "skip", pool="skip", epochs=1))
    result = succeeds(*train_arguments(data, tmp_path / "pooled", epochs=1, pretrained=tmp_path / "skip" / "model_best.safetensors"))
    told = [line for line in result.stdout.splitlines() if line.startswith("pretrained: ")]
    assert len(told) == 2 and "tensors taken" in told[0] and "layer2.0.pooling" in told[1]
    fails(*train_arguments(data, tmp_path / "x", evaluate=True, resume=tmp_path / "skip", pretrained=tmp_path / "skip"), status=2,
          names="--evaluate")


def test_memory_limit_chooses_the_parts(data, tmp_path):
    """As --accumulate of what it chose, byte for byte; and resumed without it."""
    out, same = tmp_path / "out", tmp_path / "same"
    done = succeeds(*train_arguments(data, out, epochs=1, memory_limit=78))
    found = re.search(r"memory-limit: 78 MiB: batches of 32 in (\d+) parts of (\d+), which take (\d+) MiB", done.stdout)
    parts, part, taken = map(int, found.groups())
    assert parts > 1 and parts * part == 32 and taken <= 78
    assert re.search(rf"^accumulate = {parts}$", (out / "config.ini").read_text(), re.MULTILINE)
    succeeds(*train_arguments(data, same, epochs=1, accumulate=parts, test_batch_size=part))
    assert (out / "model_best.safetensors").read_bytes() == (same / "model_best.safetensors").read_bytes()
    succeeds("train", "--data", data, "--resume", out, "--epochs", 2, "--threads", 2)
    fails(*train_arguments(data, tmp_path / "none", memory_limit=20), names=("memory-limit", "20 MiB", "batch-size"))
