"""Pictures of bands: every number is read as it is, or refused; mean and spread are measured."""

import logging
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segformer_edu.data import bands as bands_module
from segformer_edu.data.augment import IGNORE, Augment, fit
from segformer_edu.data.bands import measure, prepare, read_bands, read_image, visible
from segformer_edu.data.dataset import as_tensors
from segformer_edu.data.folder import Folder
from segformer_edu.data.photos import normalize, read_photo

RNG = np.random.default_rng(0)
KINDS = {
    "8 bits": (RNG.integers(0, 256, (9, 12, 5), dtype=np.uint8), 255),
    "16 bits": (RNG.integers(0, 2**16, (9, 12, 5), dtype=np.uint16), 65535),
    "signed": (RNG.integers(-999, 999, (9, 12, 5), dtype=np.int16), 32767),
    "real": (RNG.normal(300, 5, (9, 12, 5)).astype(np.float32), 1),
    "double": (RNG.normal(300, 5, (9, 12, 5)), 1),
}
WAYS = {
    "npy": lambda path, x: np.save(path, x),
    "samples": lambda path, x: tifffile.imwrite(
        path, x, photometric="minisblack", planarconfig="contig" if x.ndim == 3 else None
    ),
    "array": lambda path, x: tifffile.imwrite(path, x, photometric="minisblack"),
    "lzw": lambda path, x: tifffile.imwrite(path, x, photometric="rgb", compression="lzw"),
    "planes": lambda path, x: tifffile.imwrite(
        path, x.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"
    ),
    "pages": lambda path, x: tifffile.imwrite(
        path, x.transpose(2, 0, 1), photometric="minisblack", metadata=None
    ),
}


def write(path, numbers, way="npy"):
    WAYS[way](path, numbers)
    return path


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_bands_are_read_as_they_are_however_they_lie_in_the_file(tmp_path, kind, way):
    stored, largest = kind
    path = write(tmp_path / ("a.npy" if way == "npy" else "a.tif"), stored, way)
    image = read_bands(path, 5)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, stored / largest, rtol=1e-6)


@pytest.mark.parametrize("way", ["npy", "samples"])
def test_one_band_needs_no_axis_of_its_own(tmp_path, way):
    stored = RNG.integers(0, 2**12, (9, 12), dtype=np.uint16)  # 12 of 16 bits
    path = write(tmp_path / ("a.npy" if way == "npy" else "a.tif"), stored, way)
    np.testing.assert_allclose(read_bands(path, 1), stored[..., None] / 65535, rtol=1e-6)


def no_data(value):
    numbers = np.full((9, 12, 4), 7.0, dtype=np.float32)
    numbers[:3, :, 1] = value
    return numbers


REFUSED = {
    "another number": (
        np.zeros((9, 12, 5), np.uint8),
        "a.npy holds 9 × 12 × 5 numbers, .* × 4 were",
    ),
    "bands first": (np.zeros((4, 9, 12), np.uint8), "4 × 9 × 12 numbers.*which come last"),
    "one axis": (np.zeros(9), "a.npy holds 9 numbers, and height × width × 4"),
    "nothing": (np.zeros((0, 12, 4)), "0 × 12 × 4 numbers"),
    "not a number": (no_data(np.nan), r"a.npy has no data in 33.33% of its pixels \(not finite"),
    "infinite": (no_data(np.inf), "a.npy has no data in 33.33% of its pixels"),
    "truth": (np.zeros((9, 12, 4), bool), "a.npy holds bool numbers"),
    "complex": (np.zeros((9, 12, 4), complex), "a.npy holds complex128 numbers"),
    "objects": (np.array([[{}]]), "a.npy cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_files_that_are_no_such_bands_are_refused_by_name(tmp_path, case):
    content, words = case
    with pytest.raises(ValueError, match=words):
        read_bands(write(tmp_path / "a.npy", content), 4)


def test_pixels_that_a_tiff_calls_unknown_are_refused(tmp_path):
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    for name, tag, words in (
        ("a.tif", "-9999", r"33.33% of its pixels \(-9999, or not finite\)"),
        ("zero.tif", "0", None),
    ):
        tags = [(42113, "s", 0, tag, True)]
        tifffile.imwrite(tmp_path / name, no_data(float(tag)), photometric="rgb", extratags=tags)
        if words:
            with pytest.raises(ValueError, match=f"{name} has no data in {words}"):
                read_bands(tmp_path / name, 4)
        else:
            assert read_bands(tmp_path / name, 4).shape == (9, 12, 4)


def test_damaged_and_missing_files_and_other_kinds_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "half.tif", np.zeros((64, 64, 4), np.uint8))
    half = (tmp_path / "half.tif").read_bytes()[:5000]
    (tmp_path / "half.tif").write_bytes(half)
    (tmp_path / "text.tif").write_bytes(b"no picture")
    (tmp_path / "text.npy").write_bytes(b"no array")
    Image.new("RGBA", (9, 9)).save(tmp_path / "a.png")
    for name in ("half.tif", "text.tif", "text.npy", "gone.tif", "gone.npy"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_bands(tmp_path / name, 4)
    with pytest.raises(ValueError, match="a.png is no file of bands.*as .tif"):
        read_bands(tmp_path / "a.png", 4)


def test_without_tifffile_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match=r"a.tif holds bands.*Run .*\[bands\]"):
        read_bands(tmp_path / "a.tif", 4)
    assert read_bands(write(tmp_path / "a.npy", np.zeros((2, 3, 4))), 4).shape == (2, 3, 4)


def test_a_photograph_is_sent_to_bands_where_its_kind_is_theirs(tmp_path):
    write(tmp_path / "a.npy", np.zeros((9, 12, 4)))
    with pytest.raises(ValueError, match="a.npy holds an array.*bands"):
        read_photo(tmp_path / "a.npy")
    write(tmp_path / "a.tif", np.zeros((9, 12, 5), np.uint8), "lzw")
    with pytest.raises(ValueError, match="a.tif has 5 bands.*as they are, as bands"):
        read_photo(tmp_path / "a.tif")


def test_mean_and_spread_are_those_of_all_pixels_together(tmp_path, monkeypatch):
    monkeypatch.setattr(bands_module, "ROWS", 7)
    pictures = [
        RNG.normal((1000, 0.5, -3), (0.1, 2, 30), (height, 13, 3)).astype(np.float32)
        for height in (3, 20, 50, 7)
    ]
    paths = [write(tmp_path / f"{k}.npy", each) for k, each in enumerate(pictures)]
    mean, std = measure(paths, 3)
    pixels = np.concatenate([each.reshape(-1, 3).astype(float) for each in pictures])
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-9)
    scaled = torch.cat([prepare(each, (mean, std))[0].flatten(1) for each in pictures], 1)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled[1:].mean(1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled[1:].std(1), torch.ones(2), rtol=0, atol=1e-3)


def test_a_band_that_never_changes_is_refused(tmp_path):
    image = RNG.random((9, 12, 3)).astype(np.float32)
    image[..., 1] = 0.1
    with pytest.raises(ValueError, match=r"Band 2 of 3 is 0\.1 everywhere"):
        measure([write(tmp_path / "a.npy", image)], 3)


def test_bands_for_the_eye_are_stretched_and_photographs_left_alone():
    photo = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    assert visible(photo) is photo
    ramp = np.linspace(2000, 3000, 101, dtype=np.float32).reshape(1, 101, 1)
    shown = visible(np.concatenate([ramp, -ramp, 0 * ramp, ramp], axis=2))
    assert shown.shape == (1, 101, 3) and shown.dtype == np.uint8
    assert shown[0, [0, 2, 50, 98, 100], 0].tolist() == [0, 0, 128, 255, 255]
    assert np.abs(shown[0, :, 1].astype(int) - shown[0, ::-1, 0]).max() <= 1
    assert not shown[..., 2].any()
    grey = visible(ramp)
    assert (grey == shown[..., :1]).all()


def test_a_picture_is_read_and_prepared_as_the_config_of_a_model_says(tmp_path):
    stored = RNG.random((9, 12, 4)).astype(np.float32)
    path, normalization = write(tmp_path / "a.npy", stored), ((1, 2, 3, 4), (5, 6, 7, 8))
    image = read_image(path, normalization)
    np.testing.assert_array_equal(image, stored)
    pixels = prepare(image, normalization)
    assert pixels.shape == (1, 4, 9, 12)
    expected = (stored.transpose(2, 0, 1)[3] - 4) / 8
    np.testing.assert_allclose(pixels[0, 3].numpy(), expected, rtol=1e-6)
    Image.fromarray(visible(stored)).save(tmp_path / "a.png")
    photo = read_image(tmp_path / "a.png", None)
    assert (photo == visible(stored)).all() and torch.equal(prepare(photo, None), normalize(photo))


def marked(height=40, width=60):
    """Five bands, each 1000 · its number + the label; labels in squares of ten pixels."""
    rows, columns = np.indices((height, width)) // 10
    labels = ((rows + 2 * columns) % 5).astype(np.uint8)
    return (1000.0 * np.arange(5) + labels[..., None]).astype(np.float32), labels


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_every_band_goes_where_its_labels_go_and_keeps_its_numbers(flip):
    image, labels = marked()
    augment = Augment((30, 45), scale=(1.0, 1.0), flip=flip, colour=1.0)
    for seed in range(9):
        new_image, new_labels = augment(image, labels, np.random.default_rng(seed))
        assert new_image.shape == (30, 45, 5) and new_image.dtype == np.float32
        np.testing.assert_array_equal(new_image, 1000 * np.arange(5) + new_labels[..., None])


def test_bands_are_resized_as_photographs_are_and_their_frame_is_their_mean():
    photo = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    labels = np.zeros((20, 30), np.uint8)
    theirs, _ = fit(photo, labels, (33, 40))
    ours, margins = fit(photo.astype(np.float32), labels, (33, 40))
    inside = margins != IGNORE
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1)  # Pillow rounds twice
    mean = photo.mean((0, 1))
    assert not inside.all()
    np.testing.assert_allclose(ours[~inside], np.tile(mean, ((~inside).sum(), 1)), rtol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.float32), np.zeros((4, 5, 3), np.float32)])
def test_bands_that_do_not_fit_their_labels_are_refused(image):
    with pytest.raises(ValueError, match=r"image is \(H, W, 3\)"):
        Augment(8)(image, np.zeros((4, 4), np.uint8), np.random.default_rng(0))


def test_real_numbers_without_a_mean_are_no_photograph():
    with pytest.raises(ValueError, match="uint8"):
        as_tensors(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8))


def test_a_folder_reads_bands_and_compares_their_sizes_with_the_masks(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    image, labels = marked()
    write(tmp_path / "images" / "a.npy", image)
    write(tmp_path / "images" / "b.tif", image[:30], "samples")
    for name, rows in (("a", 40), ("b", 30)):
        Image.fromarray(labels[:rows]).save(tmp_path / "masks" / f"{name}.png")
    folder = Folder(tmp_path / "images", tmp_path / "masks", 5, bands=5)
    for index, rows in ((0, 40), (1, 30)):
        found, drawn = folder.picture(index)
        np.testing.assert_array_equal(found, image[:rows])
        np.testing.assert_array_equal(drawn, labels[:rows])
    assert folder.check().sizes.tolist() == [[40, 60], [30, 60]]
    folder.normalization = ((0.0,) * 5, (2.0,) * 5)
    assert torch.equal(folder[1][0], torch.tensor(image[:30]).permute(2, 0, 1) / 2)
    write(tmp_path / "images" / "a.npy", image[:30])
    with pytest.raises(ValueError, match=r"a.png has 60 × 40 pixels, .*a.npy 60 × 30"):
        Folder(tmp_path / "images", tmp_path / "masks", 5, bands=5)
    with pytest.raises(ValueError, match=r"2 of the pictures.*\n.*a.npy holds 30 × 60 × 5"):
        Folder(tmp_path / "images", tmp_path / "masks", 5, bands=4)
