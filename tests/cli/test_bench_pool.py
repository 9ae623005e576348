"""`gausspool bench pool` on tiny places: it measures whatever there is, prints what it says, and refuses what it cannot do."""
import json
import re

import pytest

from helpers import ROOT, fails, gausspool, succeeds

KEYS = ["place", "kind", "stochasticity", "layout", "dtype", "threads", "batch", "forward_ms", "backward_ms", "inference_ms",
        "forward_bytes", "backward_bytes", "copy_gb_per_s"]
KINDS = ["isp_gaussian", "weighted", "average", "max", "gaussian", "half_gaussian", "max_entropy", "softpool", "stochastic",
         "mixed", "gated", "lp"]
PEERS = ["onednn_average", "onednn_max"]
DRAWING = ["isp_gaussian", "gaussian", "half_gaussian", "stochastic"]
LAYOUTS = ["nchw", "nhwc", "nchw8c", "nchw16c"]
DTYPES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
HEAD = "place kind draw pass median ms min ms max ms MB GB/s ratio"

PLACES = """# two places
a  5  9 8  2 2  2 2  0 0   # of five channels
\tb 17  7 9  3 2  2 1  1 0\r

"""
# Of place a: the shapes of x and y. And channels rounded up to a block's, for the layouts that have blocks.
X, Y = 2 * 5 * 9 * 8, 2 * 5 * 4 * 4
BLOCKED = {"nchw": 1, "nhwc": 1, "nchw8c": 8 / 5, "nchw16c": 16 / 5}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    path = tmp_path_factory.mktemp("places") / "tiny.txt"
    path.write_text(PLACES)
    return path


def objects(*arguments):
    result = succeeds("bench", "pool", "--batch", 2, "--repeat", 2, "--json", *arguments)
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_everything(places, layout, dtype):
    rows, stderr = objects("--network", places, "--kind", "all", "--layout", layout, "--dtype", dtype, "--threads", 1)
    supported = [peer for peer in PEERS if peer in {row["kind"] for row in rows}]
    for peer in PEERS:
        assert peer in supported or all(f"{place}, {peer}: not supported: " in stderr for place in "ab")
    if dtype == "float32":
        assert supported == PEERS
    assert [(row["place"], row["kind"]) for row in rows] == [(place, kind) for place in "ab" for kind in KINDS + supported]
    for row in rows:
        assert list(row) == KEYS
        assert (row["layout"], row["dtype"], row["threads"], row["batch"]) == (layout, dtype, 1, 2)
        assert row["stochasticity"] == ("CN" if row["kind"] in DRAWING else "none")
        for key in KEYS[7:]:
            assert row[key] > 0, (key, row)
    size = round(DTYPES[dtype] * BLOCKED[layout] * X), round(DTYPES[dtype] * BLOCKED[layout] * Y)
    assert {row["forward_bytes"] for row in rows if row["place"] == "a"} == {size[0] + size[1]}
    assert {row["backward_bytes"] for row in rows if row["place"] == "a"} == {2 * size[0] + size[1]}


@pytest.mark.parametrize("stochasticity", ["none", "CN", "HWCN"])
def test_stochasticity(places, stochasticity):
    rows, _ = objects("--network", places, "--stochasticity", stochasticity, "--threads", 2)
    assert [row["kind"] for row in rows] == ["isp_gaussian", *PEERS] * 2
    assert [row["stochasticity"] for row in rows] == [stochasticity, "none", "none"] * 2
    assert {row["threads"] for row in rows} == {2} and len({row["copy_gb_per_s"] for row in rows}) == 1


def test_table(places):
    result = succeeds("bench", "pool", "--network", places, "--batch", 2, "--repeat", 3, "--kind", "softpool")
    lines = result.stdout.splitlines()
    first = next(i for i, line in enumerate(lines) if re.sub(" +", " ", line) == HEAD)
    assert re.fullmatch(r"copying 256 MiB: .* GB/s .*", lines[1])
    rows = [line.split() for line in lines[first + 1:]]
    kinds = ["softpool", *PEERS]
    assert [row[:4] for row in rows] == [[place, kind, "none", name] for place in ("a", "b", "sum") for kind in kinds
                                         for name in ("forward", "backward", "inference")]
    assert {len(line) for line in lines[first:]} == {len(lines[first])}
    assert all(float(row[5]) <= float(row[4]) <= float(row[6]) for row in rows)
    assert not result.stderr


def test_unsupported_peer_is_told(places):
    """oneDNN has no float64."""
    result = succeeds("bench", "pool", "--network", places, "--batch", 1, "--repeat", 1, "--dtype", "float64")
    assert len(re.findall(r"onednn_\w+ +none +not supported: oneDNN", result.stdout)) == 6


@pytest.mark.parametrize("network, count, last", [("resnet50", 5, "layer4.0.pooling"), ("vgg16", 5, "features.30"),
                                                  ("densenet169", 5, "features.transition3.pool")])
def test_networks(network, count, last):
    rows, _ = objects("--network", network, "--batch", 1, "--repeat", 1)
    names = [row["place"] for row in rows if row["kind"] == "isp_gaussian"]
    assert len(names) == count and names[-1] == last
    lines = (ROOT / "bench" / "networks" / f"{network}.txt").read_text().splitlines()
    assert names == [line.split()[0] for line in lines if not line.startswith("#")]


def test_list(places):
    text = succeeds("bench", "pool", "--list", "--network", places, "--kind", "all").stdout
    assert text.startswith("instruction set: ")
    for kind in KINDS:
        assert f"\n{kind} at a:\n" in text
    for block in text.split("\n\n")[1:]:
        assert len(re.findall(r"^  \w+ +picked$", block, re.M)) == 1, block
        names = [line.split()[0] for line in block.splitlines()[1:]]
        assert names[-2:] == ["baseline", "reference"] and len(set(names)) == len(names), block


def test_list_follows_the_environment(places, monkeypatch):
    monkeypatch.setenv("GAUSSPOOL_ISA", "reference")
    text = succeeds("bench", "pool", "--list", "--network", places).stdout
    assert text.startswith("instruction set: reference") and re.search(r"^  reference +picked$", text, re.M)
    assert re.search(r"^  baseline +GAUSSPOOL_ISA rules it out$", text, re.M)


@pytest.mark.parametrize("place, layout, text", [
    ("4 128 128 80 80 80 80 0 0", "nchw", "picked; forward and backward go to the reference: the window is too large"),
    ("4 128 128 30 30 30 30 0 0", "nchw", "picked; backward goes to the reference: the window is too large"),
    ("4 128 128 80 80 80 80 0 0", "nhwc", "picked; backward goes to the reference: the window is too large"),
    ("4 160 160 80 80 80 80 0 0", "nhwc", "picked"),
    ("4 128 128 20 20 20 20 0 0", "nchw", "picked"),
])
def test_list_tells_of_large_windows(tmp_path, place, layout, text):
    path = tmp_path / "places.txt"
    path.write_text(f"small 4 8 8 2 2 2 2 0 0\nlarge {place}\n")
    listed = succeeds("bench", "pool", "--list", "--network", path, "--layout", layout).stdout
    assert re.findall(r"^  \w+ +(picked.*)$", listed, re.M) == ["picked", text][:1 if text == "picked" else 2]


@pytest.mark.parametrize("name, ignored", [("reference", False), ("baseline", False), ("avx1024", True)])
def test_list_tells_of_an_unknown_set(places, monkeypatch, name, ignored):
    monkeypatch.setenv("GAUSSPOOL_ISA", name)
    first = succeeds("bench", "pool", "--list", "--network", places).stdout.splitlines()[0]
    assert (f"; GAUSSPOOL_ISA={name} is ignored: " in first) == ignored, first


def test_one_thread(places):
    first = succeeds("bench", "pool", "--network", places, "--batch", 1, "--repeat", 1, "--threads", 1).stdout.splitlines()[0]
    assert ", 1 thread, " in first


@pytest.mark.bad_input
@pytest.mark.parametrize("text, suggestion", [("foo", None), ("averge", "average"), ("mx", "max"), ("gauss", "gaussian")])
def test_suggestion(text, suggestion):
    message = fails("bench", "pool", "--kind", text, status=2, names=text).stderr
    assert f"did you mean {suggestion}?" in message if suggestion else "did you mean" not in message, message


@pytest.mark.bad_input
@pytest.mark.parametrize("arguments, names", [
    ([], "expected one of data, net, pool"),
    (["pond"], ("pond", "pool")),
    (["pool", "stray"], "stray"),
    (["pool", "--kind", "sieve"], ("kind", "sieve", "isp_gaussian", "all")),
    (["pool", "--layout", "nwhc"], ("layout", "nwhc", "nhwc")),
    (["pool", "--dtype", "float"], ("dtype", "float32")),
    (["pool", "--stochasticity", "cn"], ("stochasticity", "HWCN")),
    (["pool", "--batch", "-1"], ("batch", "-1")),
    (["pool", "--batch", "2000000"], ("batch", "2000000")),
    (["pool", "--repeat", "0"], ("repeat", "0")),
    (["pool", "--threads", "-1"], ("threads", "-1")),
    (["pool", "--image", "28"], "image"),
    (["pool", "--network"], "network"),
    (["pool", "--list", "--json"], ("--list", "--json")),
])
def test_wrong_usage(arguments, names):
    fails("bench", *arguments, status=2, names=names)


@pytest.mark.bad_input
@pytest.mark.parametrize("text, names", [
    ("", ("at least one place", "none")),
    ("# nothing\n\n", "at least one place"),
    ("a 1 2 2 2 2 2 2 0\n", (":1:", "10 columns", "found 9")),
    ("a 1 2 2 2 2 2 2 0 0 0\n", (":1:", "found 11")),
    ("# first\na 1 2 2 2 2 2 2 0 0\nb x 2 2 2 2 2 2 0 0\n", (":3:", "channels", '"x"')),
    ("a 0 2 2 2 2 2 2 0 0\n", ("channels", "from 1")),
    ("a 1 2 2 2 2 0 2 0 0\n", ("stride_h", "from 1")),
    ("a 1 2 2 2 2 2 2 -1 0\n", ("pad_h", "-1")),
    ("a 1 2.5 2 2 2 2 2 0 0\n", ("height", "2.5")),
    ("a 99999999999999999999 2 2 2 2 2 2 0 0\n", "channels"),
    ("a 1 2 2 2 2 2 2 2 0\n", (":1:", "padding")),
    ("a 1 2 2 3 3 1 1 0 0\n", ":1:"),
    ("\u00e4 1 2 2 2 2 2 2 0 0\n", ("name", "ASCII")),
    ("a" * 64 + " 1 2 2 2 2 2 2 0 0\n", ("name", "64")),
    ("a" + " " * 2000 + "1 2 2 2 2 2 2 0 0\n", (":1:", "1024")),
    ("a 1 2 2 2 2 2 2 0 0\n\0", "zero byte"),
])
def test_bad_places(tmp_path, text, names):
    path = tmp_path / "places.txt"
    path.write_bytes(text.encode())
    fails("bench", "pool", "--network", path, names=(path, *([names] if isinstance(names, str) else names)))


@pytest.mark.bad_input
def test_no_such_network(tmp_path):
    fails("bench", "pool", "--network", "resnet51", names=("resnet51", "resnet50", "vgg16", "densenet169"))
    fails("bench", "pool", "--network", tmp_path, names=tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("line, names", [
    ("a 1024 16384 16384 2 2 2 2 0 0", ("a, batch 1000000", "MiB", "the machine has")),
    ("a 16777216 16777216 16777216 2 2 2 2 0 0", (":1:", "address space")),
])
def test_too_large(tmp_path, line, names):
    path = tmp_path / "places.txt"
    path.write_text(line + "\n")
    fails("bench", "pool", "--network", path, "--batch", 1000000, names=names)


def test_last_line_without_newline(tmp_path):
    path = tmp_path / "places.txt"
    path.write_text("a 1 2 2 2 2 2 2 0 0")
    assert gausspool("bench", "pool", "--network", path, "--repeat", 1).returncode == 0
