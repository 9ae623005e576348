"""Training, testing and packing from folders of images, and what happens when images or folders are not as they should be."""
import json
import shutil
import subprocess

import numpy as np
import pytest

from helpers import PROGRAM, TIMEOUT, environment, fails, gausspool, succeeds, train_arguments

Image = pytest.importorskip("PIL.Image")

CLASSES = ["apple", "bear", "crab"]
bad_input = pytest.mark.bad_input


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setenv("GAUSSPOOL_CACHE", "off")


# ---- Data -----------------------------------------------------------------------------------

def picture(seed, height=70, width=90):
    """Bars whose direction tells the class: seed mod 3."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    wave = (y, x, x + y)[seed % len(CLASSES)]
    image = 128 + 80 * np.sign(np.sin(wave / 4 + random.uniform(0, 6)))[..., None] + random.normal(0, 10, (height, width, 3))
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def write_images(folder, per_class=8, tests=3, test_name="val"):
    for split, count, first in (("train", per_class, 0), (test_name, tests, 1000)):
        for label, name in enumerate(CLASSES):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                image = picture(first + 3 * i + label, 60 + 7 * (i % 3), 70 + 5 * i)
                # Content decides, not the name.
                image.save(place / f"{i:03d}.{'jpg' if i % 4 else 'JPEG'}", format="PNG" if i % 4 == 3 else "JPEG", quality=92)
    return folder


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "data")


def arguments(data, out, **more):
    settings = dict(dataset="imagenet", crop_size=32, batch_size=8, epochs=1, crop_padding=0, flip=True, color_jitter=0.4,
                    lighting=0.1)
    settings.update(more)
    return train_arguments(data, out, **settings)


def losses(out):
    """What an epoch computed, without what it took."""
    rows = [line.split(",") for line in (out / "log.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if "loss" in name or "top" in name]
    return [[row[i] for i in kept] for row in rows]


def metadata(path):
    content = path.read_bytes()
    return json.loads(content[8:8 + int.from_bytes(content[:8], "little")])["__metadata__"]


# ---- What works -----------------------------------------------------------------------------

def test_trains_tests_and_predicts(images, tmp_path):
    out = tmp_path / "out"
    succeeds(*arguments(images, out, epochs=12, color_jitter=0, lighting=0, crop_area="0.5,1"))
    model = out / "model_best.safetensors"
    stored = metadata(model)
    assert json.loads(stored["class_names"]) == CLASSES
    assert json.loads(stored["input_shape"]) == [3, 32, 32]
    assert json.loads(stored["resize"]) == [37]  # 32 · 256/224
    tested = succeeds("test", "--model-file", model, "--data", images)
    assert "testing 9 images" in tested.stdout
    # The same images by number and as files give the same scores.
    scores = []
    files = sorted((images / "val").glob("*/*"))
    for rest in (["--samples", "0-8", "--data", images], files):
        path = tmp_path / f"{len(scores)}.npy"
        succeeds("predict", "--model-file", model, "--logits-out", path, *rest)
        scores.append(np.load(path))
    assert np.array_equal(*scores)
    wrong = np.argmax(scores[0], axis=1) != np.repeat(range(3), 3)
    assert f"top-1 error {100 * wrong.mean():.2f} %" in tested.stdout


def test_workers_and_packing_change_nothing(images, tmp_path):
    packed = tmp_path / "packed"
    assert "train: 24 images" in succeeds("pack", images, packed).stdout
    succeeds(*arguments(images, tmp_path / "a", workers=0, epochs=2))
    succeeds(*arguments(images, tmp_path / "b", workers=3, epochs=2))
    succeeds(*arguments(packed, tmp_path / "c", workers=2, epochs=2))
    assert losses(tmp_path / "a") == losses(tmp_path / "b") == losses(tmp_path / "c")


def test_resumes_from_images(images, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    succeeds(*arguments(images, whole, epochs=2))
    succeeds(*arguments(images, halves, epochs=2, max_steps=4, workers=0, checkpoint_every=1))
    succeeds("train", "--resume", halves, "--data", images, "--out-dir", halves, "--max-steps", 0, "--workers", 2)
    assert losses(whole)[-1] == losses(halves)[-1]


def test_pack_and_tar(images, tmp_path):
    packed, unpacked = tmp_path / "packed", tmp_path / "unpacked"
    succeeds("pack", images, packed, "--shard-mib", 1)
    unpacked.mkdir()
    for shard in packed.glob("*.tar"):
        subprocess.run(["tar", "-xf", shard, "-C", unpacked], check=True)
    for path in images.rglob("*.*"):
        assert (unpacked / path.relative_to(images)).read_bytes() == path.read_bytes()
    fails("pack", images, packed, names="there already")
    small = tmp_path / "small"
    assert "24 resized" in succeeds("pack", images, small, "--side", 32).stdout
    succeeds(*arguments(small, tmp_path / "out"))
    fails("pack", images, status=2, names="two folders")


def test_pack_checks_everything_first(images, tmp_path):
    before = sorted(images.rglob("*"))
    fails("pack", images, images, names=["folder of the images", "another"])
    fails("pack", images, images / "train" / "..", names="folder of the images")
    assert sorted(images.rglob("*")) == before
    out = tmp_path / "out"
    (images / "val" / "dog").mkdir()
    fails("pack", images, out, names=["val/dog", "training set"])
    assert not out.exists()
    (images / "val" / "dog").rmdir()
    out.mkdir()
    (out / "test-00000.tar").touch()
    fails("pack", images, out, names=["test-00000.tar", "there already"])
    assert len(list(out.iterdir())) == 1
    shutil.rmtree(images / "val")
    (out / "test-00000.tar").unlink()
    assert "no test images" in succeeds("pack", images, out).stdout
    for data, names in (images, "val_dir, val or test"), (out, ["test.index", "packed without test images"]):
        result = fails(*arguments(data, tmp_path / "run"), names=names)
        assert "no test images, which every epoch ends with" in result.stderr and not (tmp_path / "run").exists()


def write_cifar10(data):
    for split in ("train", "test"):
        for label in range(10):
            place = data / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(2):
                picture(10 * i + label, 32, 32).save(place / f"{i}.jpg")
    return data


def test_cifar10_as_a_folder(tmp_path):
    data = write_cifar10(tmp_path / "data")
    out = tmp_path / "out"
    succeeds(*arguments(data, out, dataset="cifar10", crop_size=0, crop_padding=4))
    assert json.loads(metadata(out / "model_best.safetensors")["input_shape"]) == [3, 32, 32]


def test_synthetic_images(tmp_path):
    succeeds(*arguments(None, tmp_path / "out", dataset="synthetic", crop_size=32, max_steps=2, test_batch_size=500))


# ---- What does not --------------------------------------------------------------------------

def spoil(images):
    """A broken file of each kind among the training images, and one in the test set; gives their names."""
    good = (images / "train" / "bear" / "001.jpg").read_bytes()
    files = {"train/apple/cut.jpg": good[:len(good) // 3], "train/bear/empty.png": b"", "train/bear/notes.txt": b"notes",
             "train/crab/damaged.png": b"\x89PNG\r\n\x1a\n" + good, "val/crab/cut.jpg": good[:len(good) // 3]}
    for name, content in files.items():
        (images / name).write_bytes(content)
    return list(files)


@bad_input
def test_bad_images_stop_a_run(images, tmp_path):
    for name in spoil(images):
        clean = tmp_path / name.replace("/", "-")
        shutil.copytree(images, clean)
        for other in spoil(images):
            if other != name:
                (clean / other).unlink()
        fails(*arguments(clean, tmp_path / "out", drop_last=True, epochs=3), names=name)


@bad_input
def test_bad_images_can_be_left_out(images, tmp_path):
    names = spoil(images)
    outcomes = []
    for workers in (0, 3):
        out = tmp_path / f"out{workers}"
        result = succeeds(*arguments(images, out, on_bad_image="skip", workers=workers, epochs=2))
        report = result.stdout + result.stderr
        lines = [line for line in report.splitlines() if "bad image" in line]
        assert len(lines) == len(names), report  # each once, although there were two epochs
        for name in names:
            assert any(name in line for line in lines), name
        outcomes.append(losses(out))
    assert outcomes[0] == outcomes[1]


@bad_input
def test_odd_folders(images, tmp_path):
    (images / "train" / "void").mkdir()
    fails(*arguments(images, tmp_path / "out"), names=["train/void", "no images"])
    result = succeeds(*arguments(images, tmp_path / "out", on_bad_image="skip"))
    assert "1 class folder without images (void)" in result.stdout + result.stderr
    (images / "train" / "void").rmdir()
    (images / "val" / "dog").mkdir()
    (images / "val" / "dog" / "1.jpg").write_bytes(b"")
    fails(*arguments(images, tmp_path / "out"), names=["val/dog", "training set"])
    result = succeeds(*arguments(images, tmp_path / "out", on_bad_image="skip"))
    assert "left out (dog)" in result.stdout + result.stderr
    shutil.rmtree(images / "val")
    fails(*arguments(images, tmp_path / "out"), names="val_dir, val or test")
    shutil.rmtree(images / "train")
    fails(*arguments(images, tmp_path / "out"), names=[images, "train"])
    fails(*arguments(tmp_path / "nowhere", tmp_path / "out"), names=["nowhere", "no such folder"])


@bad_input
def test_cifar10_images_of_another_size(tmp_path):
    """Cut out, as they are, and where the images are resized."""
    data = write_cifar10(tmp_path / "data")
    picture(0, 32, 40).save(data / "train" / "class3" / "1.jpg")
    for number, way in enumerate((dict(crop_padding=4), dict(crop_size=24), dict(crop_area="0.5,1"))):
        settings = dict(dataset="cifar10", crop_size=0) | way
        fails(*arguments(data, tmp_path / f"fail{number}", **settings), names=["train/class3/1.jpg", "32 x 40", "32 x 32"])
        result = succeeds(*arguments(data, tmp_path / f"skip{number}", on_bad_image="skip", **settings))
        assert "bad image 1 left out: train/class3/1.jpg" in result.stdout + result.stderr
    fails("bench", "data", "--dataset", "cifar10", "--data", data, "--passes", 1, "--crop-size", 32,
          names=["train/class3/1.jpg", "32 x 40"])


@bad_input
def test_packing_on_a_full_disk(images, tmp_path, small_disk):
    """What is left is no packed set, and says so; with room again, and that removed, it is one."""
    out = small_disk / "out"
    sizes = sum(path.stat().st_size for path in images.rglob("*.*"))
    for room in (sizes // 2, 0):
        (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
        result = fails("pack", images, out, names=[out, "space"])
        assert "train: " not in result.stdout and not list(out.glob("*.tmp")) and not (out / "train.index").exists()
        if list(out.glob("*.tar")):
            fails("pack", images, out, names=["train-00000.tar", "unfinished"])
            fails(*arguments(out, tmp_path / "run"), names=[out, "train"])
        shutil.rmtree(out, ignore_errors=True)
        (small_disk / "filler").unlink()
    succeeds("pack", images, out)
    succeeds(*arguments(out, tmp_path / "run"))


@bad_input
def test_a_packed_set_that_is_cut(images, tmp_path):
    """Tar file and index, before the run; and the tar file while it trains."""
    succeeds("pack", images, tmp_path / "packed")
    for name in ("train-00000.tar", "train.index", "test-00000.tar"):
        for part in (0, 3, 8, 15):
            data = tmp_path / "cut"
            shutil.copytree(tmp_path / "packed", data)
            (data / name).write_bytes((data / name).read_bytes()[:(data / name).stat().st_size * part // 16])
            fails(*arguments(data, tmp_path / "out"), names=name)
            shutil.rmtree(data)


@bad_input
def test_a_large_image_and_a_needle(images, tmp_path):
    """Twenty megapixels, and a picture one pixel high."""
    picture(0).resize((5000, 4000)).save(images / "train" / "apple" / "large.jpg", quality=60)
    Image.new("RGB", (3000, 1), (200, 10, 10)).save(images / "train" / "bear" / "needle.png")
    Image.new("RGB", (1, 1)).save(images / "val" / "bear" / "dot.png")
    succeeds(*arguments(images, tmp_path / "out"))


@bad_input
def test_a_file_that_vanishes(images, tmp_path):
    """The run lists the folder, then a file goes while it trains."""
    for policy, code in (("fail", 1), ("skip", 0)):
        data = tmp_path / policy
        shutil.copytree(images, data)
        command = arguments(data, tmp_path / f"out-{policy}", on_bad_image=policy, epochs=6, workers=1)
        with subprocess.Popen([PROGRAM, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment()) as run:
            output = ""
            for line in run.stdout:
                output += line
                if line.startswith("epoch 1/") or "epoch 1 " in line:
                    (data / "train" / "crab" / "002.jpg").unlink(missing_ok=True)
            assert run.wait(timeout=TIMEOUT) == code, output
        assert "train/crab/002.jpg" in output and "No such file" in output, output


def test_wrong_options(images, tmp_path):
    for option, value, word in (("crop-area", "0.5", "two numbers"), ("crop-area", "0.5,2", "area"),
                                ("crop-ratio", "2,1", "lesser first"), ("color-jitter", "0.1,0.2", "one number or three"),
                                ("color-jitter", "2", "0 to 1"), ("on-bad-image", "ask", "fail"),
                                ("resize", "16", "at least"), ("crop-padding", "4", "resized")):
        result = gausspool(*arguments(images, tmp_path / "out"), f"--{option}", value)
        assert result.returncode in (1, 2) and word in result.stderr, (option, value, result.stderr)


def test_bench_data(images):
    rows = [json.loads(line) for line in succeeds("bench", "data", "--data", images, "--passes", 1, "--crop-size", 32,
                                                  "--json").stdout.splitlines()]
    assert [row["transform"] for row in rows] == ["decode", "train", "train-crop-flip", "test"]
    assert all(row["images"] == 24 and row["images_per_second"] > 0 for row in rows)
