"""Several ranks under mpirun: they train as one process does, test alike, resume in any number, and end in good order."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers import PROGRAM, ROOT, TIMEOUT, TRAIN_IMAGES, environment, fails, succeeds, train_arguments, write_data

# More ranks than processors are meant here: those that wait give theirs up, and nobody is bound to one.
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
       "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
       "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_btl": "self,vader,tcp"}
STEPS_PER_EPOCH = 5  # 256 images in batches of 60, and 16


def command(ranks, *arguments):
    return ["mpirun", "-np", str(ranks), str(PROGRAM), *map(str, arguments)]


def mpirun(ranks, *arguments):
    return subprocess.run(command(ranks, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT, cwd=ROOT, env={**environment(), **MPI, "OMP_NUM_THREADS": "1"})


def succeeds_with(ranks, *arguments):
    result = mpirun(ranks, *arguments)
    assert result.returncode == 0, f"status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def lines_of_program(stderr):
    return [line for line in stderr.splitlines() if line.startswith("gausspool: ")]


@pytest.fixture(scope="module", autouse=True)
def launcher():
    if not shutil.which("mpirun"):
        pytest.skip("no mpirun here (Debian: openmpi-bin)")
    result = mpirun(2, "train", "--help")
    if "has no MPI" in result.stderr:
        pytest.skip("gausspool is built without MPI (Debian: libopenmpi-dev)")
    assert result.returncode == 0 and result.stdout.count("usage: gausspool train") == 1, result.stderr


def arguments(data, out, **more):
    """A training whose rounding errors stay small: a low rate, and the batch norms see at least 16 images."""
    settings = {"threads": 1, "batch_size": 60, "lr": 0.0002, "schedule": "step", "epochs": 4, "sync_bn": True, "max_steps": 20, **more}
    return train_arguments(data, out, **settings)


def losses(out, batch=60):
    """Of each batch; the log has the mean since the epoch began."""
    result, epoch = [], None
    with open(Path(out) / "log.jsonl") as file:
        steps = [record for record in map(json.loads, file) if record["kind"] == "step"]
    for step in steps:
        if step["epoch"] != epoch:
            epoch, seen, total = step["epoch"], 0, 0
        now = min(seen + batch, TRAIN_IMAGES)
        result.append((step["loss"] * now - total) / (now - seen))
        seen, total = now, step["loss"] * now
    return result


def differences(out, reference, batch=60):
    ours, expected = losses(out, batch), losses(reference, batch)
    assert len(ours) == len(expected)
    return [abs(a - b) / abs(b) for a, b in zip(ours, expected)]


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    succeeds(*arguments(data, out))
    return out


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """Two ranks to the end."""
    out = tmp_path_factory.mktemp("two") / "out"
    return succeeds_with(2, *arguments(data, out)), out


# ---- As one process ---------------------------------------------------------------------------

def test_gradients_go_while_others_are_computed(data, tmp_path):
    """--profile tells when: buckets one after the other, the first well before the last layer's gradients are final."""
    result = succeeds_with(2, *arguments(data, tmp_path, max_steps=5, bucket_size=16, profile=True))
    told = re.search(r"gradients between ranks: (\d+) buckets; all final (\S+) ms after the step began, all added up (\S+) ms later "
                     r"\(means of 3 steps\)", result.stdout)
    final = float(told[2])
    rows = [tuple(map(float, row)) for row in re.findall(r"^  bucket +\d+ +(\S+) KiB  begun +(\S+) ms  done +(\S+) ms$", result.stdout, re.M)]
    kib, begun, done = zip(*rows)
    assert len(rows) == int(told[1]) > 4 and all(size == 16 for size in kib[:-1]) and 0 < kib[-1] <= 16
    assert list(begun) == sorted(begun) and list(done) == sorted(done) and all(a <= b for a, b in zip(begun, done))
    assert 0 < begun[0] and 1.02 * begun[0] < begun[-1] <= final and done[-1] < final + float(told[3]) + 0.1


def test_two_ranks_follow_one_process(alone, two):
    result, out = two
    assert max(differences(out, alone)) < 1e-5
    assert "2 ranks" in result.stdout and result.stdout.count("epoch 4/4  lr") == 1 and "\r" not in result.stdout
    how, = [line for line in result.stdout.splitlines() if "if this ends early" in line]
    assert how.startswith(f"if this ends early, resume with: mpirun -np 2 {PROGRAM} train ") and how.endswith(f" --resume {out}")


def test_four_ranks_follow_one_process(data, alone, tmp_path):
    succeeds_with(4, *arguments(data, tmp_path))
    assert len(losses(tmp_path)) == 20 and max(differences(tmp_path, alone)) < 1e-5


def test_four_ranks_without_a_sample_each(data, tmp_path):
    """Of batches of 127 two images are left for four ranks; gradients in many buckets."""
    settings = {"batch_size": 127, "epochs": 3, "max_steps": 9, "lr": 0.0005}
    succeeds(*arguments(data, tmp_path / "one", **settings))
    succeeds_with(4, *arguments(data, tmp_path / "four", bucket_size=16, **settings))
    assert max(differences(tmp_path / "four", tmp_path / "one", 127)) < 1e-4


def test_shares_of_their_own_statistics(data, alone, tmp_path):
    succeeds_with(2, *arguments(data, tmp_path, sync_bn=None, max_steps=6))
    ours = losses(tmp_path)
    assert all(0 < loss < 10 for loss in ours)
    assert 1e-4 < max(abs(a - b) / b for a, b in zip(ours, losses(alone))) < 0.5


def test_gradients_as_bfloat16(data, alone, tmp_path):
    succeeds_with(2, *arguments(data, tmp_path, reduce_precision="bfloat16", max_steps=6))
    difference = max(abs(a - b) / b for a, b in zip(losses(tmp_path), losses(alone)))
    assert 1e-7 < difference < 0.02


def test_parts_and_averages(data, tmp_path):
    """Each rank takes its share in two parts; an average of the weights is kept beside."""
    settings = {"accumulate": 2, "ema_decay": 0.9, "max_steps": 6}
    succeeds_with(2, *arguments(data, tmp_path / "two", **settings))
    succeeds_with(2, *arguments(data, tmp_path / "again", **settings))
    for name in ("checkpoint_last.safetensors", "model_best.safetensors"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_parts_of_unequal_shares(data, tmp_path):
    """Shares of 8, 8, 7 and 7 images in three parts each; those of the last batch, of 4, in two."""
    succeeds_with(4, *arguments(data, tmp_path, batch_size=30, accumulate=3, epochs=1, max_steps=None))
    assert len(losses(tmp_path, 30)) == 9 and all(0 < loss < 10 for loss in losses(tmp_path, 30))


def test_tests_are_the_same_to_the_digit(trained, tmp_path):
    data = write_data(tmp_path / "data", train_images=1, test_images=130)
    files = ("logits.npy", "classes.csv", "confusion.csv")

    def test(ranks):
        out = tmp_path / str(ranks)
        out.mkdir()
        options = ("test", "--model-file", trained.model, "--data", data, "--batch-size", 20, "--threads", 1, "--flip-average",
                   "--logits-out", out / files[0], "--per-class", out / files[1], "--confusion", out / files[2])
        result = succeeds(*options) if ranks == 1 else succeeds_with(ranks, *options)
        return result.stdout, [(out / name).read_bytes() for name in files]

    expected = test(1)
    for ranks in (2, 4):
        assert test(ranks) == expected


# ---- Resuming ---------------------------------------------------------------------------------

def resumed(data, source, out, ranks):
    shutil.copytree(source, out)
    options = arguments(data, out, resume=out)
    return succeeds(*options) if ranks == 1 else succeeds_with(ranks, *options)


def test_resume_in_mid_epoch(data, alone, two, tmp_path):
    """As many ranks go on bit for bit, others but for rounding."""
    cut = tmp_path / "cut"
    succeeds_with(2, *arguments(data, cut, max_steps=7))
    for ranks in (1, 2, 4):
        out = tmp_path / f"on{ranks}"
        result = resumed(data, cut, out, ranks)
        assert "1 epochs and 2 of 5 batches done" in result.stdout
        assert ("the checkpoint's run had 2 ranks" in result.stdout) == (ranks != 2)
        assert max(differences(out, alone)) < 1e-5
        same = (out / "checkpoint_epoch004.safetensors").read_bytes() == (two[1] / "checkpoint_epoch004.safetensors").read_bytes()
        assert same == (ranks == 2)


def test_parts_are_chosen_again(data, tmp_path):
    """Parts that --memory-limit chose for the shares of some ranks are not those of others, with more images each or with fewer."""
    settings = {"batch_size": 36, "test_batch_size": 1}

    def parts(result):
        found = re.search(r"memory-limit: \d+ MiB: batches of 36 in (\d+) parts of (\d+), which take (\d+) MiB", result.stdout)
        return map(int, found.groups())

    chosen, part, taken = parts(succeeds_with(2, *arguments(data, tmp_path, memory_limit=4000, max_steps=1, **settings)))
    assert (chosen, part) == (1, 18)
    options = "train", "--data", data, "--resume", tmp_path, "--threads", 1, "--memory-limit", taken + 1
    alone, part, _ = parts(succeeds(*options, "--max-steps", 2))
    assert alone > 1 and part < 36
    chosen, part, _ = parts(succeeds_with(4, *options, "--max-steps", 3))
    assert (chosen, part) == (1, 9)


def test_parts_that_other_ranks_cannot_have(data, tmp_path):
    """The nearest are taken, unless it is the command line that asks for them."""
    settings = {"batch_size": 36}
    succeeds(*arguments(data, tmp_path, accumulate=12, max_steps=1, **settings))
    options = "train", "--data", data, "--resume", tmp_path, "--threads", 1, "--max-steps", 2
    refused = mpirun(2, *options, "--accumulate", 12)
    assert refused.returncode == 2 and "as 1, 2, 3, 4, 6, 9, 18, found 12" in refused.stderr
    result = succeeds_with(2, *options)
    assert "accumulate: batches of 36 in 9 parts, the nearest to the checkpoint's 12 that shares of 2 ranks can come in" in result.stdout
    assert re.search(r"^accumulate = 9$", (tmp_path / "config.ini").read_text(), re.MULTILINE)


# ---- Ends -------------------------------------------------------------------------------------

def ranks_of(out):
    """Process numbers by rank, of the ranks that write into this folder."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [entry.split(b"=")[1] for entry in variables if entry.startswith(b"OMPI_COMM_WORLD_RANK=")]
        if rank and str(out).encode() in words and words[0] == str(PROGRAM).encode():
            found[int(rank[0])] = int(folder.name)
    return found


def start_and_wait(data, out, ranks, launcher=None, **more):
    """A long run that has written its first checkpoint."""
    options = arguments(data, out, checkpoint_every=2, max_steps=None, epochs=200, **more)
    words = command(ranks, *options) if launcher is None else [*launcher, *map(str, options)]
    process = subprocess.Popen(words, cwd=ROOT, env={**environment(), **MPI, "OMP_NUM_THREADS": "1"},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not (out / "checkpoint_last.safetensors").exists() or len(ranks_of(out)) < ranks:
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_ends_the_run(data, two, tmp_path, killed):
    process = start_and_wait(data, tmp_path, 2)
    os.kill(ranks_of(tmp_path)[killed], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert re.search(rf"process rank {killed} .*signal 9", stderr), stderr
    assert stderr.count(f"resume with: mpirun -np 2 {PROGRAM} train") == 1 and f"--resume {tmp_path}" in stderr, stderr
    assert not ranks_of(tmp_path)
    succeeds_with(2, *arguments(data, tmp_path, resume=tmp_path))
    for name in ("checkpoint_epoch004.safetensors", "model_best.safetensors"):
        assert (tmp_path / name).read_bytes() == (two[1] / name).read_bytes()


def test_a_signal_stops_all_after_the_same_step(data, tmp_path):
    process = start_and_wait(data, tmp_path, 2)
    process.send_signal(signal.SIGUSR1)  # mpirun hands it on
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    stopped = [line for line in lines_of_program(stderr) if "stopped by a signal after step" in line]
    assert len(stopped) == 1, stderr
    assert "\nresume with: mpirun -np 2" in stdout
    step = int(stopped[0].split()[-1])
    result = succeeds_with(2, *arguments(data, tmp_path, resume=tmp_path, epochs=200, max_steps=step + 1))
    assert f"{(step // STEPS_PER_EPOCH)} epochs and {step % STEPS_PER_EPOCH} of" in result.stdout


def test_slow_steps_stop_in_good_order(tmp_path):
    """A stop that takes a step of a second is not taken for the loss of a rank."""
    data, out = write_data(tmp_path / "data", test_images=1), tmp_path / "out"
    process = start_and_wait(data, out, 2, arch="resnet56", batch_size=256)
    process.send_signal(signal.SIGUSR1)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0 and "\nresume with: mpirun -np 2" in stdout, stderr
    lines = lines_of_program(stderr)
    assert len(lines) == 1 and "stopped by a signal after step" in lines[0], stderr


@pytest.mark.parametrize("changes, words", [
    ({"data": "/nowhere"}, "/nowhere"),
    ({"batch_size": 1}, "expected at least a sample for each of the 2 ranks"),
    ({"batch_size": 253, "sync_bn": None}, "--sync-bn"),
    ({"lr": "x"}, "lr"),
    ({"batch_size": 36, "accumulate": 12}, "as 1, 2, 3, 4, 6, 9, 18, found 12"),
    ({"rank_timeout": -1}, "rank-timeout"),
    ({"resume": "/nowhere"}, "/nowhere"),
])
def test_one_message_for_all(data, tmp_path, changes, words):
    result = mpirun(2, *arguments(**{"data": data, "out": tmp_path, **changes}))
    assert result.returncode != 0
    lines = lines_of_program(result.stderr)
    assert len(lines) == 1 and words in lines[0], result.stderr


def test_a_last_batch_of_one_image_in_all(tmp_path):
    """One process refuses it; that another batch gives a rank one image, too, changes nothing. --sync-bn would not help."""
    data = write_data(tmp_path / "data", train_images=65, test_images=1)
    for settings in ({}, {"sync_bn": None, "batch_size": 4}):
        result = mpirun(2, *arguments(data, tmp_path / "out", **{"batch_size": 2, **settings}))
        lines = lines_of_program(result.stderr)
        assert result.returncode != 0 and len(lines) == 1, result.stderr
        assert "the last batch of an epoch has 1 of" in lines[0] and "--sync-bn" not in lines[0], result.stderr


def each_its_own(*commands):
    """Ranks that are each started by a command of their own."""
    words = [word for each in commands for word in (":", "-np", "1", *each)][1:]
    return subprocess.run(["mpirun", *map(str, words)], env={**environment(), **MPI, "OMP_NUM_THREADS": "1"}, cwd=ROOT,
                          capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)


def one_message_of_two(*commands):
    result = each_its_own(*commands)
    lines = lines_of_program(result.stderr)
    assert result.returncode != 0 and len(lines) == 1, result.stderr
    return lines[0]


def test_data_on_one_machine_only(data, tmp_path):
    """Without its data a rank has no part in what --memory-limit has the ranks agree on."""
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    (tmp_path / "with" / "data").symlink_to(data)
    words = [PROGRAM, *arguments("data", tmp_path / "out", memory_limit=4000)]
    line = one_message_of_two(["-wdir", tmp_path / "with", *words], ["-wdir", tmp_path / "without", *words])
    assert "rank 1 of 2" in line and "data" in line


def test_other_data_on_another_machine(data, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "data").symlink_to(data)
    write_data(tmp_path / "other" / "data", train_images=250)
    words = [PROGRAM, *arguments("data", tmp_path / "out")]
    line = one_message_of_two(["-wdir", tmp_path / "one", *words], ["-wdir", tmp_path / "other", *words])
    assert "rank 1 of 2" in line and "data: expected as on rank 0, 256 training samples" in line and "found 250" in line


def test_machines_of_two_kinds(data, tmp_path):
    words = [PROGRAM, *arguments(data, tmp_path)]
    line = one_message_of_two(words, ["env", "GAUSSPOOL_ISA=baseline", *words])
    assert "rank 1 of 2" in line and "machine: expected as on rank 0" in line and "on baseline" in line


def test_diverging_is_one_message(data, tmp_path):
    result = mpirun(2, *arguments(data, tmp_path, lr=1e6, epochs=2, max_steps=None))
    lines = lines_of_program(result.stderr)
    assert result.returncode != 0 and len(lines) == 1 and "diverged" in lines[0], result.stderr


def test_a_stopped_rank_is_not_waited_for_for_ever(data, tmp_path):
    process = start_and_wait(data, tmp_path, 2, rank_timeout=3)
    os.kill(ranks_of(tmp_path)[1], signal.SIGSTOP)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    lines = lines_of_program(stderr)
    assert len(lines) == 1 and "rank 0 of 2" in lines[0] and "has waited 3 s" in lines[0], stderr
    assert "resume with: mpirun -np 2" in stderr


# ---- Machines apart -----------------------------------------------------------------------------

AGENT = """#!/bin/sh
shift
exec ip netns exec {host} unshare -u sh -c "hostname far; $*"
"""
DAEMONS = {"btl": "self,tcp", "btl_tcp_if_include": "10.77.0.0/24", "oob_tcp_if_include": "10.77.0.0/24",
           "oob_tcp_keepalive_time": "2", "oob_tcp_keepalive_intvl": "1", "oob_tcp_keepalive_probes": "2"}


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def hosts(tmp_path):
    """Two network namespaces with an address each, joined by a cable; how to start two ranks, one in each."""
    near, far = f"gpn{os.getpid()}", f"gpf{os.getpid()}"
    try:
        ip("netns", "add", near)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces to be had here (root, iproute2): {error}")
    try:
        ip("netns", "add", far)
        ip("link", "add", near, "netns", near, "type", "veth", "peer", "name", far, "netns", far)
        for name, address in ((near, "10.77.0.1"), (far, "10.77.0.2")):
            ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        agent = tmp_path / "agent"
        agent.write_text(AGENT.format(host=far))
        agent.chmod(0o755)
        settings = [word for name, value in {**DAEMONS, "plm_rsh_agent": agent}.items() for word in ("--mca", name, str(value))]
        launcher = ["mpirun", "-np", "2", "--host", "10.77.0.1:1,10.77.0.2:1", *settings]
        yield ["ip", "netns", "exec", near, "unshare", "-u", "sh", "-c", 'hostname near; exec "$@"', "sh", *launcher], far
    finally:
        for name in (near, far):
            for pid in ip("netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            ip("netns", "delete", name)


def test_a_cut_cable_ends_the_run(data, two, hosts, tmp_path):
    launcher, far = hosts
    out = tmp_path / "out"
    process = start_and_wait(data, out, 2, launcher=[*launcher, str(PROGRAM)], rank_timeout=20)
    ip("-n", far, "link", "set", far, "down")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0 and "lost communication" in stderr and "resume with: mpirun -np 2" in stderr, stderr
    succeeds_with(2, *arguments(data, out, resume=out))
    for name in ("checkpoint_epoch004.safetensors", "model_best.safetensors"):
        assert (out / name).read_bytes() == (two[1] / name).read_bytes()


@pytest.mark.parametrize("name", ["predict", "export", "info", "pack", "bench net"])
def test_commands_that_run_alone(name):
    variables = {**environment(), "OMPI_COMM_WORLD_SIZE": "2"}
    result = subprocess.run([PROGRAM, *name.split()], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 1 and f"{name} runs as one process" in result.stderr and "mpirun -np 2" in result.stderr


def test_a_launcher_of_another_mpi(data, tmp_path):
    """Four processes that do not see each other would be four runs in one folder."""
    result = subprocess.run([PROGRAM, *arguments(data, tmp_path)], env={**environment(), **MPI, "PMI_SIZE": "4"}, cwd=ROOT,
                            capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)
    assert result.returncode == 1 and "MPI sees 1" in result.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bench_reduce(precision):
    result = succeeds_with(3, "bench", "reduce", "--size", 1, "--bucket-size", 300, "--repeat", 3, "--reduce-precision", precision,
                           "--json")
    row = json.loads(result.stdout)
    assert (row["ranks"], row["size_mib"], row["buckets"], row["reduce_precision"]) == (3, 1, 4, precision)
    assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
    fails("bench", "reduce", status=2, names=("several ranks", "mpirun -np 2"))


def test_settings_of_one_machine_only():
    """Where somebody has chosen how one machine's MPI adds up, the others do as they would by themselves: by the tree, which the choice
    here is, too. With a ring there, MPI's own sums while it makes a communicator would not match."""
    words = [PROGRAM, "bench", "reduce", "--size", 1, "--repeat", 2]
    result = each_its_own(words, ["env", "OMPI_MCA_coll_libnbc_iallreduce_algorithm=2", *words])
    assert result.returncode == 0, result.stderr


def test_crowded_machines_are_warned_of(data, tmp_path):
    result = mpirun(2, *arguments(data, tmp_path, threads=4 * os.cpu_count(), max_steps=1, epochs=1))
    assert "warning: 2 ranks" in result.stdout
