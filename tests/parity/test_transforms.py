"""The transforms of images against torchvision's on Pillow, with the same draws: torchvision is handed what the C side
says it drew. Real pictures, where they are, and pictures made here in every kind of file that training meets."""
import os
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("torchvision")
from torchvision.transforms import functional as F  # noqa: E402
from torchvision.transforms import InterpolationMode  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GAUSSPOOL_BUILD", ROOT / "build" / "release")).resolve()
PROGRAM = BUILD / "tests" / "parity" / "parity_transform"
SAMPLES = ROOT.parent / "shared" / "data" / "imagenet-200-samples.tar"

pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason=f"no {PROGRAM}: cmake --build --preset release")


# ---- Pictures -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Real ImageNet JPEGs."""
    if not SAMPLES.is_file():
        pytest.skip(f"no ImageNet samples at {SAMPLES}")
    folder = tmp_path_factory.mktemp("photographs")
    with tarfile.open(SAMPLES) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        for member in members:
            member.name = Path(member.name).name
            archive.extract(member, folder)
    return sorted(folder.iterdir())


def scene(height, width, seed=0):
    """Smooth colours, edges and some texture, as a photograph has them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([128 + 100 * np.sin(x / (17 + 5 * c) + y / (29 - 4 * c) + c) for c in range(3)], axis=-1)
    for _ in range(6):
        top, left = random.integers(0, height // 2), random.integers(0, width // 2)
        image[top:top + height // 3, left:left + width // 3] = random.integers(0, 256, 3)
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


# Name, mode, save's arguments. Modes are Pillow's; I;16 is 16-bit grey.
KINDS = [
    ("420.jpg", "RGB", {"quality": 90, "subsampling": "4:2:0"}),
    ("422.jpg", "RGB", {"quality": 90, "subsampling": "4:2:2"}),
    ("444.jpg", "RGB", {"quality": 95, "subsampling": "4:4:4"}),
    ("progressive.jpg", "RGB", {"quality": 85, "progressive": True}),
    ("grey.jpg", "L", {"quality": 90}),
    ("cmyk.jpg", "CMYK", {"quality": 95}),
    ("colour.png", "RGB", {}),
    ("grey.png", "L", {}),
    ("alpha.png", "RGBA", {}),
    ("grey-alpha.png", "LA", {}),
    ("palette.png", "P", {}),
    ("bits.png", "1", {}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of each kind, of sides that fill no whole number of blocks; names do not tell what is in them."""
    folder = tmp_path_factory.mktemp("made")
    files = []
    for i, (name, mode, arguments) in enumerate(KINDS):
        image = Image.fromarray(scene(301 + 7 * i, 437 - 11 * i, i)).convert(mode)
        path = folder / f"{i:02d}-{name}.dat"
        image.save(path, format="JPEG" if name.endswith("jpg") else "PNG", **arguments)
        files.append(path)
    return files


# ---- Both sides -----------------------------------------------------------------------------

def ours(files, folder, **keys):
    """What the C side drew for each file, and made: [files][3][size][size] in grey levels."""
    output = folder / "out.bin"
    arguments = [f"{key}={value}" for key, value in keys.items()]
    result = subprocess.run([PROGRAM, output, *arguments, "--", *files], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    draws = []
    for line in result.stdout.splitlines():
        numbers = line.split()
        draws.append(SimpleNamespace(box=[int(n) for n in numbers[:4]], flip=numbers[4] == "1",
                                     factors=[float(n) for n in numbers[5:8]], order=[int(n) for n in numbers[8:11]],
                                     light=np.array([float(n) for n in numbers[11:14]])))
    images = np.fromfile(output, np.float32).reshape(len(files), 3, keys["size"], keys["size"])
    return draws, 255.0 * images.astype(np.float64)


def read(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def grey_levels(image):
    return np.asarray(image, np.float64).transpose(2, 0, 1)


def torchvision_train(path, draw, size):
    image = F.resized_crop(read(path), *draw.box, [size, size], InterpolationMode.BILINEAR)
    if draw.flip:
        image = F.hflip(image)
    adjust = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation]
    for kind in draw.order:
        if draw.factors[kind] != 1:
            image = adjust[kind](image, draw.factors[kind])
    return grey_levels(image) + 255 * draw.light[:, None, None]


def torchvision_test(path, size, resize):
    return grey_levels(F.center_crop(F.resize(read(path), resize, InterpolationMode.BILINEAR), size))


def differences(files, images, expected):
    """Mean and greatest difference of each file, in grey levels."""
    rows = []
    for path, image, other in zip(files, images, expected):
        difference = np.abs(image - other)
        rows.append((path.name, difference.mean(), difference.max()))
    return rows


def assert_close(rows, mean, most):
    worst = max(rows, key=lambda row: row[1]), max(rows, key=lambda row: row[2])
    assert worst[0][1] <= mean, worst
    assert worst[1][2] <= most, worst


# ---- Tests ----------------------------------------------------------------------------------

def check_test_transform(files, folder, size, resize):
    _, images = ours(files, folder, size=size, resize=resize)
    expected = [torchvision_test(path, size, resize) for path in files]
    assert_close(differences(files, images, expected), 1, 3)


def check_train_transform(files, folder, size, **keys):
    draws, images = ours(files, folder, size=size, resize=size, train=1, exact=1, flip=0.5, **keys)
    expected = [torchvision_train(path, draw, size) for path, draw in zip(files, draws)]
    assert_close(differences(files, images, expected), 1, 3)
    return draws


def test_test_transform_on_photographs(photographs, tmp_path):
    check_test_transform(photographs, tmp_path, 224, 256)


def test_test_transform_on_every_kind_of_file(made, tmp_path):
    check_test_transform(made, tmp_path, 224, 256)
    check_test_transform(made, tmp_path, 64, 73)


def test_train_transform_on_photographs(photographs, tmp_path):
    check_train_transform(photographs, tmp_path, 224, jitter=0.4, lighting=0.1, seed=1)


def test_train_transform_on_every_kind_of_file(made, tmp_path):
    for seed in range(4):
        check_train_transform(made, tmp_path, 96, jitter=0.4, lighting=0.1, seed=seed)


def test_crop_and_flip_alone_are_those_of_the_full_transform(made, tmp_path):
    plain = check_train_transform(made, tmp_path, 64, seed=3, epoch=2)
    full, _ = ours(made, tmp_path, size=64, resize=64, train=1, flip=0.5, jitter=0.4, lighting=0.1, seed=3, epoch=2)
    for one, other in zip(plain, full):
        assert one.box == other.box and one.flip == other.flip
        assert one.factors == [1, 1, 1] and other.factors != [1, 1, 1]


def test_shrunken_decoding_stays_near(photographs, tmp_path):
    """Without exact=1 the crop is decoded at 1/2, 1/4 or 1/8 where it is that much larger than its result."""
    for size in (32, 112):
        keys = dict(size=size, resize=size, train=1, flip=0.5, seed=5)
        draws, images = ours(photographs, tmp_path, **keys)
        shrunken = [i for i, draw in enumerate(draws) if min(draw.box[2:]) >= 2 * size]
        assert len(shrunken) > 20
        expected = [torchvision_train(path, draw, size) for path, draw in zip(photographs, draws)]
        rows = differences(photographs, images, expected)
        assert np.mean([rows[i][1] for i in shrunken]) <= 2
        _, exact = ours(photographs, tmp_path, exact=1, **keys)
        same = [np.array_equal(images[i], exact[i]) for i in range(len(photographs))]
        assert all(same[i] for i in range(len(same)) if i not in shrunken)
        assert not any(same[i] for i in shrunken)


def test_crops_are_distributed_as_torchvision_s(tmp_path):
    """Area and ratio of many crops of one image, against RandomResizedCrop.get_params()."""
    torch = pytest.importorskip("torch")
    from torchvision.transforms import RandomResizedCrop
    path = tmp_path / "image.png"
    Image.fromarray(scene(60, 100)).save(path)
    draws, _ = ours([path] * 3000, tmp_path, size=8, resize=8, train=1, flip=0.5, seed=11)
    torch.manual_seed(1)
    image = read(path)
    theirs = [RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)]
    quantiles = np.linspace(0.05, 0.95, 10)
    for measure in (lambda box: box[2] * box[3] / 6000, lambda box: box[3] / box[2], lambda box: box[0] / 60,
                    lambda box: box[1] / 100):
        one = np.quantile([measure(draw.box) for draw in draws], quantiles)
        other = np.quantile([measure(box) for box in theirs], quantiles)
        assert np.abs(one - other).max() < 0.05, (one, other)
    assert 0.46 < np.mean([draw.flip for draw in draws]) < 0.54
