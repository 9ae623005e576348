"""Testing, predicting and describing with a trained model."""
import gzip

import numpy as np
import pytest
from PIL import Image

from helpers import TEST_IMAGES, fails, make_images, run_in_shell, succeeds, top1_error

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


# As the PyTorch net of tests/parity/reference.py has for one input channel and ten classes.
@pytest.mark.parametrize("pool, parameters", [("skip", 77754), ("avg", 77754), ("gauss_CN", 86154)])
def test_info_counts(pool, parameters):
    output = succeeds("info", "--arch", "resnet8", "--pool", pool, "--channels", 1).stdout
    assert "layer3.0.conv2" in output and "fc" in output
    assert f"{parameters}" in output.replace(",", "").replace("'", ""), output


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
