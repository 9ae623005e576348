"""Testing, predicting and describing with a trained model."""
import csv
import gzip
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers import TEST_IMAGES, fails, idx_bytes, make_images, run_in_shell, succeeds, top1_error, train_arguments

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES, LABELS = make_images(TEST_IMAGES, 2)


@pytest.fixture(scope="module")
def scores(data, trained, tmp_path_factory):
    """The raw scores of the whole test set, and what the test printed."""
    path = tmp_path_factory.mktemp("scores") / "logits.npy"
    result = succeeds("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data, "--logits-out", path)
    return np.load(path), result.stdout


def test_scores_are_in_file_order(scores):
    logits, output = scores
    assert logits.shape == (TEST_IMAGES, 10) and logits.dtype == np.float32 and np.isfinite(logits).all()
    error = 100 * np.mean(logits.argmax(1) != LABELS)
    assert top1_error(output) == pytest.approx(error, abs=0.005)


def test_loss_is_the_cross_entropy(scores):
    logits, output = scores
    logits = logits.astype(np.float64)
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(TEST_IMAGES), LABELS])
    assert float(re.search(r"loss (\d+\.\d+)", output).group(1)) == pytest.approx(loss, abs=6e-5)


def test_batch_size_does_not_matter(data, trained, scores, tmp_path):
    """A batch of its own size takes another path through the convolutions, hence not bit for bit."""
    for batch in (1, 7, 64, 1000):
        path = tmp_path / f"{batch}.npy"
        succeeds("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data, "--batch-size", batch,
                 "--logits-out", path)
        np.testing.assert_allclose(np.load(path), scores[0], rtol=1e-4, atol=1e-4)


def test_compressed_data(data, trained, scores, tmp_path):
    for path in data.iterdir():
        (tmp_path / (path.name + ".gz")).write_bytes(gzip.compress(path.read_bytes()))
    succeeds("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", tmp_path, "--logits-out",
             tmp_path / "logits.npy")
    assert np.array_equal(np.load(tmp_path / "logits.npy"), scores[0])


def test_predict_samples(data, trained, scores, tmp_path):
    result = succeeds("predict", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data, "--samples",
                      "3-7,0", "--logits-out", tmp_path / "p.npy")
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), scores[0][[3, 4, 5, 6, 7, 0]], rtol=1e-4, atol=1e-4)
    assert "%" in result.stdout


@pytest.mark.parametrize("suffix, tolerance", [("png", 1e-4), ("pgm", 1e-4), ("jpg", 1.0)])
def test_predict_pictures(trained, scores, tmp_path, suffix, tolerance):
    """Pictures of test images give the test's scores; JPEG nearly."""
    paths = []
    for index in (0, 9, 33):
        paths.append(tmp_path / f"{index}.{suffix}")
        Image.fromarray(IMAGES[index]).save(paths[-1], **({"quality": 98} if suffix == "jpg" else {}))
    result = succeeds("predict", "--model-file", trained.model, *paths, "--logits-out", tmp_path / "p.npy")
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), scores[0][[0, 9, 33]], rtol=1e-4, atol=tolerance)
    for path in paths:
        assert path.name in result.stdout


def test_predict_other_pictures(trained, tmp_path):
    """Colour and other sizes: converted and scaled, not refused."""
    random = np.random.default_rng(0)
    for name, shape in (("colour.png", (28, 28, 3)), ("alpha.png", (40, 30, 4)), ("large.jpg", (300, 200, 3))):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
        succeeds("predict", "--model-file", trained.model, tmp_path / name)
    Image.fromarray(IMAGES[0]).convert("1").save(tmp_path / "bits.png")
    Image.fromarray(IMAGES[0]).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(IMAGES[0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("bits.png", "palette.png", "deep.png"):
        succeeds("predict", "--model-file", trained.model, tmp_path / name)


# ---- What a test can leave out, average and write ----

def run_test(data, trained, *more):
    return succeeds("test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data, *more)


def write_mirrored(data, folder):
    """The data set with its test images mirrored."""
    for path in data.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[:, :, ::-1]))
    return folder


def test_flip_average(data, trained, scores, tmp_path):
    run_test(write_mirrored(data, tmp_path), trained, "--logits-out", tmp_path / "mirrored.npy")
    result = run_test(data, trained, "--flip-average", "--batch-size", 20, "--logits-out", tmp_path / "both.npy")
    both, mirrored = np.load(tmp_path / "both.npy"), np.load(tmp_path / "mirrored.npy")
    np.testing.assert_allclose(both, (scores[0] + mirrored) / 2, rtol=1e-4, atol=1e-4)
    assert not np.allclose(both, scores[0], atol=1e-2)
    assert top1_error(result.stdout) == pytest.approx(100 * np.mean(both.argmax(1) != LABELS), abs=0.005)


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_per_class(data, trained, scores, tmp_path):
    run_test(data, trained, "--per-class", tmp_path / "classes.csv")
    rows = read_rows(tmp_path / "classes.csv")
    assert [int(row["class"]) for row in rows] == list(range(10)) and rows[0]["name"] == "T-shirt/top"
    wrong = scores[0].argmax(1) != LABELS
    best = np.argsort(-scores[0], axis=1)[:, :5]
    for row in rows:
        mine = LABELS == int(row["class"])
        assert int(row["images"]) == mine.sum()
        assert float(row["top1_error"]) == pytest.approx(100 * wrong[mine].mean(), rel=1e-5)
        missed = [label not in five for label, five in zip(LABELS[mine], best[mine])]
        assert float(row["top5_error"]) == pytest.approx(100 * np.mean(missed), rel=1e-5)


def test_confusion(data, trained, scores, tmp_path):
    run_test(data, trained, "--confusion", tmp_path / "confusion.csv")
    rows = read_rows(tmp_path / "confusion.csv")
    names = [row["label"] for row in rows]
    assert list(rows[0])[1:] == names and "Ankle boot" in names
    counts = np.array([[int(row[name]) for name in names] for row in rows])
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (LABELS, scores[0].argmax(1)), 1)
    assert np.array_equal(counts, expected)


@pytest.mark.parametrize("lines", [
    ["0", "7", "00012"],
    ["t10k-images-idx3-ubyte#0", "# a remark", "", "  t10k-images-idx3-ubyte#7  ", "folder/t10k-images-idx3-ubyte#12\r"],
], ids=["numbers", "names"])
def test_images_left_out(data, trained, scores, tmp_path, lines):
    (tmp_path / "list").write_text("\n".join(lines) + "\n")
    result = run_test(data, trained, "--nonblacklist", tmp_path / "list", "--per-class", tmp_path / "classes.csv",
                      "--logits-out", tmp_path / "logits.npy")
    kept = np.setdiff1d(np.arange(TEST_IMAGES), [0, 7, 12])
    assert f"testing {len(kept)} images" in result.stdout and "left out" in result.stdout and "name none" not in result.stdout
    error = 100 * np.mean(scores[0].argmax(1)[kept] != LABELS[kept])
    assert top1_error(result.stdout) == pytest.approx(error, abs=0.005)
    assert sum(int(row["images"]) for row in read_rows(tmp_path / "classes.csv")) == len(kept)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), scores[0])  # of all images, in file order


def test_list_of_other_images(data, trained, tmp_path):
    (tmp_path / "list").write_text("5\nILSVRC2012_val_00000293.JPEG\n64\n")
    assert "2 of its lines name none" in run_test(data, trained, "--nonblacklist", tmp_path / "list").stdout
    (tmp_path / "list").write_text("ILSVRC2012_val_00000293.JPEG\n")
    arguments = ["test", "--model-file", trained.model, "--dataset", "fashion-mnist", "--data", data, "--nonblacklist"]
    fails(*arguments, tmp_path / "list", names=tmp_path / "list")
    (tmp_path / "list").write_text("\n".join(map(str, range(TEST_IMAGES))))
    fails(*arguments, tmp_path / "list", names="nothing is left")
    fails(*arguments, tmp_path / "none", names=tmp_path / "none")
    (tmp_path / "list").write_bytes(b"")
    fails(*arguments, tmp_path / "list", names=tmp_path / "list")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A data set in folders, and a model of it."""
    root = tmp_path_factory.mktemp("folders")
    random = np.random.default_rng(3)
    for split, count in (("train", 4), ("test", 3)):
        for name in CIFAR_CLASSES:
            (root / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                picture = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(picture).save(root / "data" / split / name / f"{name}_{number:04}.png")
    succeeds(*train_arguments(root / "data", root / "out", dataset="cifar10", pool="avg", epochs=1))
    return root / "data", root / "out" / "model_best.safetensors"


def test_names_of_files_left_out(folders, tmp_path):
    data, model = folders
    (tmp_path / "list").write_text("test/cat/cat_0001.png\ndog_0002\nship_0000.jpg\n")
    arguments = ["test", "--model-file", model, "--data", data, "--per-class", tmp_path / "classes.csv"]
    result = succeeds(*arguments, "--nonblacklist", tmp_path / "list")
    assert "testing 27 images" in result.stdout and "name none" not in result.stdout
    images = {row["name"]: int(row["images"]) for row in read_rows(tmp_path / "classes.csv")}
    assert images == {name: 2 if name in ("cat", "dog", "ship") else 3 for name in CIFAR_CLASSES}


def test_names_of_several_files(folders, tmp_path):
    """Where folders hold files of one name, only a path tells which is meant; a line that does not is refused."""
    source, model = folders
    data, test = tmp_path / "data", tmp_path / "data" / "test"
    shutil.copytree(source, data)
    for name in CIFAR_CLASSES[:4]:
        shutil.copy(test / name / f"{name}_0000.png", test / name / "img_007.png")
    shutil.copy(test / "cat" / "img_007.png", test / "cat" / "img_007.jpg")
    arguments = ["test", "--model-file", model, "--data", data, "--per-class", tmp_path / "classes.csv", "--nonblacklist",
                 tmp_path / "list"]
    for line, several in (("img_007.png", 4), ("img_007", 5), ("7", 5), ("2", 10), ("cat/img_007", 2)):
        (tmp_path / "list").write_text(f"dog/dog_0001.png\n{line}\n")
        fails(*arguments, names=[f"'{line}' names {several} test images", "by its path", "/img_007." if several < 10 else "test/"])
    for line in ("cat/img_007.png", "test/cat/img_007.jpg", "./test/cat/img_007.png", test / "cat" / "img_007.png"):
        (tmp_path / "list").write_text(f"{line}\nat/img_007.png\nfrog/1\n")
        result = succeeds(*arguments)
        assert "testing 34 images" in result.stdout and "2 of its lines name none" in result.stdout, line
        images = {row["name"]: int(row["images"]) for row in read_rows(tmp_path / "classes.csv")}
        assert images == {name: 4 if name in CIFAR_CLASSES[:4] else 3 for name in CIFAR_CLASSES}


@pytest.mark.bad_input
def test_bad_images_are_left_out(folders, tmp_path):
    source, model = folders
    data = tmp_path / "data"
    shutil.copytree(source, data)
    (data / "test" / "cat" / "cat_0001.png").write_bytes(b"no picture")
    arguments = ["test", "--model-file", model, "--data", data]
    fails(*arguments, names="cat_0001.png")
    result = succeeds(*arguments, "--on-bad-image", "skip", "--per-class", tmp_path / "classes.csv", "--logits-out",
                      tmp_path / "logits.npy")
    assert np.isnan(np.load(tmp_path / "logits.npy")).all(1).nonzero()[0].tolist() == [CIFAR_CLASSES.index("cat") * 3 + 1]
    told = [line for line in result.stdout.splitlines() if line.startswith("bad image")]
    assert len(told) == 1 and "cat_0001.png" in told[0]
    images = {row["name"]: int(row["images"]) for row in read_rows(tmp_path / "classes.csv")}
    assert images == {name: 2 if name == "cat" else 3 for name in CIFAR_CLASSES}


@pytest.mark.bad_input
def test_bad_images_of_the_list_do_not_matter(folders, tmp_path):
    source, model = folders
    data = tmp_path / "data"
    shutil.copytree(source, data)
    for name in ("cat_0001", "cat_0002"):
        (data / "test" / "cat" / f"{name}.png").write_bytes(b"no picture")
    (tmp_path / "list").write_text("cat_0001\ndog_0000\n")
    arguments = ["test", "--model-file", model, "--data", data, "--nonblacklist", tmp_path / "list"]
    result = fails(*arguments, names="test/cat/cat_0002.png")
    assert "error" not in result.stdout
    result = succeeds(*arguments, "--on-bad-image", "skip")
    assert result.stdout.count("bad image") == 1 and "bad image 1 left out: test/cat/cat_0002.png" in result.stdout
    (tmp_path / "list").write_text("cat_0001\ncat_0002\n")
    assert "top-1 error" in succeeds(*arguments).stdout


@pytest.mark.bad_input
def test_no_result_without_images(folders, tmp_path):
    source, model = folders
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(source, data)
    for path in (data / "test").glob("*/*"):
        path.write_bytes(b"no picture")
    message = "none of the test images that count can be read"
    result = fails("test", "--model-file", model, "--data", data, "--on-bad-image", "skip", names=message)
    assert "top-1 error" not in result.stdout
    fails(*train_arguments(data, out, dataset="cifar10", pool="avg", epochs=1, on_bad_image="skip"), names=message)
    assert not (out / "model_best.safetensors").exists()


# As the PyTorch net of tests/parity/reference.py has for one input channel and ten classes.
@pytest.mark.parametrize("pool, parameters", [("skip", 77754), ("avg", 77754), ("gauss_CN", 86154)])
def test_info_counts(pool, parameters):
    output = succeeds("info", "--arch", "resnet8", "--pool", pool, "--channels", 1).stdout
    assert "layer3.0.conv2" in output and "fc" in output
    assert f"{parameters}" in output.replace(",", "").replace("'", ""), output


@pytest.mark.parametrize("batch", [1, 4])
def test_info_as_json(batch):
    """The same numbers as in the table, for programs."""
    arguments = ["info", "--arch", "resnet8", "--pool", "gauss_CN", "--classes", 7, "--image-size", 24, "--batch", batch]
    table = succeeds(*arguments).stdout.splitlines()
    net = json.loads(succeeds(*arguments, "--json").stdout)
    assert (net["arch"], net["pool"], net["classes"], net["image"], net["batch"]) == ("resnet8", "gauss_CN", 7, [3, 24, 24], batch)
    total = [int(word.replace(",", "")) for word in table[-5 - (batch > 1)].split()[1:]]
    assert total == [net["parameters"], net["macs"], sum(layer["activation_bytes"] for layer in net["layers"])], table
    assert total[:2] == [sum(layer[key] for layer in net["layers"]) for key in ("parameters", "macs")]
    memory = [net[key] for key in ("activation_bytes", "training_activation_bytes") if key in net]
    assert [f"{count / 2**20:.2f}" for count in memory] == re.findall(r"batch \d+: (\S+) MiB", "\n".join(table))
    layers = {layer["name"]: layer for layer in net["layers"]}
    assert layers["layer2.0.pooling"]["op"] == "pool" and layers["layer2.0.pooling"]["output"] == [32, 12, 12]
    assert layers["fc"]["parameters"] == 64 * 7 + 7


@pytest.mark.bad_input
@pytest.mark.parametrize("command", ["test", "predict"])
def test_output_is_tried_first(data, trained, tmp_path, command):
    """A place that cannot be written is told before the work, and a write that fails later does not take the result away."""
    arguments = [command, "--model-file", trained.model, "--data", data, *(["--samples", "0-63"] if command == "predict" else [])]
    result = fails(*arguments, "--logits-out", tmp_path / "none" / "logits.npy", names=tmp_path / "none" / "logits.npy")
    assert "error" not in result.stdout and "right" not in result.stdout
    result = run_in_shell('ulimit -f 1; exec "$@"', *arguments, "--logits-out", tmp_path / "logits.npy")
    assert result.returncode == 1 and "logits.npy" in result.stderr, result.stderr
    assert ("top-1 error" if command == "test" else "right") in result.stdout
    assert not list(tmp_path.iterdir())
