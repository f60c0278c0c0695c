"""Photographs: any image file comes out upright, in three colours, or is refused in words."""

import struct
import sys

import numpy as np
import pillow_heif
import pytest
import tifffile
import torch
from PIL import Image
from transformers import image_transforms
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from segformer_edu.data import photos
from segformer_edu.data.photos import (
    check_photo,
    normalize,
    read_photo,
    sample_labels,
    sample_photo,
)

RED, WHITE = (255, 0, 0), (255, 255, 255)


def quadrant(mode="RGB"):
    """8 × 4 pixels, black but for a red quadrant at the top left."""
    picture = Image.new("RGB", (8, 4))
    picture.paste(RED, (0, 0, 4, 2))
    return picture.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "LAB"])
def test_colours_survive_every_mode(tmp_path, mode):
    path = tmp_path / "photo.tiff"
    quadrant(mode).save(path)
    photo = read_photo(path)
    assert photo.shape == (4, 8, 3) and photo.dtype == np.uint8
    assert np.abs(photo[0, 0].astype(int) - RED).max() <= 5
    assert photo[3, 7].max() <= 3


@pytest.mark.parametrize(
    ("ending", "mode"),
    [("webp", "RGB"), ("webp", "RGBA"), ("bmp", "RGB"), ("gif", "P"), ("jpg", "CMYK"), ("jpg", "L")]
    + [("heic", "RGB"), ("heic", "RGBA"), ("HEIF", "RGB")],
)
def test_colours_survive_every_kind_of_file(tmp_path, ending, mode):
    pillow_heif.register_heif_opener()  # which saves, too
    picture = quadrant(mode).resize((64, 32), Image.Resampling.NEAREST)
    picture.save(tmp_path / f"a.{ending}", quality=95)
    photo = read_photo(tmp_path / f"a.{ending}")
    assert photo.shape == (32, 64, 3) == (*check_photo(tmp_path / f"a.{ending}"), 3)
    wanted = (76, 76, 76) if mode == "L" else RED
    assert np.abs(photo[4, 4].astype(int) - wanted).max() <= 8
    assert photo[28, 60].max() <= 8


def test_heic_is_upright_whatever_is_asked(tmp_path):
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = quadrant().resize((64, 32), Image.Resampling.NEAREST)
    picture.save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    for upright in (True, False):
        photo = read_photo(tmp_path / "a.heic", upright)
        assert photo.shape == (64, 32, 3) == (*check_photo(tmp_path / "a.heic", upright), 3)
        assert photo[4, 28, 0] > 240 > 10 > photo[4, 4, 0]


def test_heic_is_known_by_its_bytes_whatever_it_is_called(tmp_path, monkeypatch):
    Image.init()  # all formats, so that what is put back holds them
    pillow_heif.register_heif_opener()
    quadrant().save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.heic").rename(tmp_path / "a.jpg")
    Image.init()  # now, or what it adds in the test would be taken away after it
    for name in [name for name, (opener, _) in Image.OPEN.items() if "Heif" in str(opener)]:
        monkeypatch.delitem(Image.OPEN, name)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name in Image.OPEN])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(ValueError, match=r"a.jpg is a HEIC photograph.*Run .*\[heic\]"):
            read_photo(tmp_path / "a.jpg")
    assert np.abs(read_photo(tmp_path / "a.jpg").astype(int) - np.array(quadrant())).max() < 30


def test_without_pillow_heif_a_heic_photograph_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    quadrant().save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").any()
    (tmp_path / "a.png").rename(tmp_path / "a.HEIC")
    for look in (read_photo, check_photo):
        with pytest.raises(ValueError, match=r"a.HEIC is a HEIC photograph.*Run .*\[heic\]"):
            look(tmp_path / "a.HEIC")


@pytest.mark.parametrize(("mode", "bright"), [("1", 1), ("L", 200), ("I;16", 200 * 256)])
def test_grey_becomes_three_equal_colours_and_sixteen_bits_are_scaled(tmp_path, mode, bright):
    path = tmp_path / "grey.tiff"
    picture = Image.new(mode, (3, 2))
    picture.putpixel((1, 0), bright)
    picture.save(path)
    photo = read_photo(path)
    assert photo.shape == (2, 3, 3)
    assert len(set(photo[0, 1])) == 1
    assert photo[0, 1, 0] >= 200 and photo[1, 1, 0] == 0


RNG = np.random.default_rng(0)
DEEP = {
    "16 bits that use 12": (RNG.integers(0, 4096, (8, 9), dtype=np.uint16), "0 … 65535.*15 steps"),
    "32 bits": (RNG.integers(0, 2**32, (8, 9), dtype=np.uint32), "holds 32-bit or negative"),
    "negative numbers": (RNG.integers(-99, 99, (8, 9), dtype=np.int16), "32-bit or negative"),
    "real numbers": (RNG.random((8, 9), dtype=np.float32), "holds real numbers"),
    "colours of 16 bits that use 12": (
        RNG.integers(0, 4095, (8, 9, 3), dtype=np.uint16),
        "15 is its brightest",
    ),
    "five bands": (RNG.integers(0, 256, (8, 9, 5), dtype=np.uint8), "has 5 bands"),
    "two bands": (RNG.integers(0, 256, (8, 9, 2), dtype=np.uint8), "has 2 bands"),
    "pages": (RNG.integers(0, 256, (4, 8, 9), dtype=np.uint8), "has 4 pages"),
}


@pytest.mark.parametrize("case", DEEP.values(), ids=DEEP)
def test_what_would_be_cut_to_a_part_is_refused(tmp_path, case):
    """Pillow reads the first three bands, or the first page, of them, and says nothing."""
    content, words = case
    planes = {"planarconfig": "contig"} if content.shape[-1] in (2, 3, 5) else {}
    colours = "rgb" if content.shape[-1] in (3, 5) else "minisblack"
    tifffile.imwrite(tmp_path / "deep.tif", content, photometric=colours, **planes)
    for look in (read_photo, check_photo):
        with pytest.raises(ValueError, match=f"deep.tif.*{words}"):
            look(tmp_path / "deep.tif")


def test_colours_of_sixteen_bits_keep_their_upper_eight(tmp_path):
    content = RNG.integers(0, 2**16, (8, 9, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", content, photometric="rgb")
    np.testing.assert_array_equal(read_photo(tmp_path / "deep.tif"), content >> 8)


def test_twelve_bits_of_a_tiff_keep_their_upper_eight(tmp_path):
    """Written by hand, two pixels in three bytes: 4095 and 128."""
    entries = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (279, 3)]
    header = struct.pack("<2sHI", b"II", 42, 12) + bytes([0xFF, 0xF0, 0x80, 0])
    listed = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    (tmp_path / "a.tif").write_bytes(
        header + struct.pack("<H", len(entries)) + listed + struct.pack("<I", 0)
    )
    assert read_photo(tmp_path / "a.tif").tolist() == [[[255] * 3, [8] * 3]]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_a_look_at_a_jpeg_finds_the_size_that_reading_it_finds(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.effect_noise((67, 33), 50).save(tmp_path / "a.jpg", exif=exif)
    shape = read_photo(tmp_path / "a.jpg", upright).shape[:2]
    assert check_photo(tmp_path / "a.jpg", upright) == shape
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    for look in (read_photo, check_photo):
        with pytest.raises(ValueError, match="a.jpg cannot be read"):
            look(tmp_path / "a.jpg", upright)


def test_what_is_transparent_becomes_white(tmp_path):
    path = tmp_path / "photo.png"
    picture = quadrant("RGBA")
    picture.putpixel((7, 3), (0, 0, 0, 0))
    picture.save(path)
    photo = read_photo(path)
    assert tuple(photo[3, 7]) == WHITE and tuple(photo[0, 0]) == RED


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (6, (0, -1)), (8, (-1, 0))],
)
def test_a_photograph_is_turned_as_its_camera_noted(tmp_path, orientation, corner):
    path = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    quadrant().save(path, exif=exif)
    photo = read_photo(path)
    assert photo.shape == ((8, 4, 3) if orientation in (6, 8) else (4, 8, 3))
    assert tuple(photo[corner]) == RED


def test_files_that_are_not_photographs_are_refused_by_name(tmp_path):
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(whole)
    files = {
        "text.png": b"this is no image",
        "empty.jpg": b"",
        "half.png": whole.read_bytes()[:1000],
        "broken.png": whole.read_bytes()[:40] + b"x" * 500,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read_photo(tmp_path / name)
    Image.new("F", (4, 4)).save(tmp_path / "real.tiff")
    with pytest.raises(ValueError, match=r"real.tiff.*8 bits"):
        read_photo(tmp_path / "real.tiff")
    for name in ("missing.png", ""):
        with pytest.raises(ValueError, match="cannot be read"):
            read_photo(tmp_path / name)


def test_an_image_of_absurd_size_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    quadrant().save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="bomb.png is too large"):
        read_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_normalize_equals_that_of_transformers(name):
    photo = sample_photo(name)
    scaled = image_transforms.rescale(photo.transpose(2, 0, 1), 1 / 255)
    theirs = image_transforms.normalize(scaled, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    theirs = torch.from_numpy(theirs).float()[None]
    ours = normalize(photo)
    assert ours.shape == theirs.shape and ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (np.zeros((4, 4, 3)), "uint8"),
        (np.zeros((4, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((3, 4, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(H, W, 3\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"\(H, W, 3\)"),
        ("photo.png", "str"),
    ],
)
def test_normalize_refuses_anything_but_a_photograph(photo, words):
    with pytest.raises(ValueError, match=words):
        normalize(photo)


def test_an_unknown_sample_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="'dog'.*astronaut, coffee"):
        sample_photo("dog")


def test_without_scikit_image_the_sample_says_what_to_install(monkeypatch):
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install --editable ".*\[lab\]"'):
        sample_photo()


def test_labels_lie_on_what_they_name():
    labels, names = sample_labels()
    photo = sample_photo().astype(int)
    assert labels.shape == photo.shape[:2] and labels.dtype == np.int64
    assert sorted(set(labels.flat)) == list(range(len(names)))
    mean = {name: photo[labels == label].mean(axis=0) for label, name in enumerate(names)}
    red, green, blue = mean["person"]
    assert red > green + 40 and red > blue + 60  # the suit is orange
    assert mean["table"].max() < 40 < 150 < mean["wall"].min()  # a black cloth, a pale wall
    points = {
        "person": (100, 225),
        "helmet": (430, 380),
        "flag": (60, 15),
        "model shuttle": (60, 415),
    }
    for name, (row, column) in points.items():
        assert names[labels[row, column]] == name
