"""The reader's own pictures: masks are read exactly, and every file that does not fit is named."""

import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from segformer_edu.data import folder as folder_module
from segformer_edu.data.folder import Folder
from segformer_edu.data.masks import as_ranges, label_table, likely_meaning, numbers_of, read_mask

ORIENTATION = 0x0112
CLASSES = ("sky", "road", "cat")


def labels_of(seed, height=12, width=16, classes=3):
    return np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)


@pytest.fixture
def files(tmp_path):
    """Three photographs with masks: a to c, of three sizes."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for seed, name in enumerate("abc"):
        add(tmp_path, name, labels_of(seed, width=16 + seed))
    return tmp_path


def add(files, name, labels, orientation=None, ending=".png", **arguments):
    """A photograph whose red is 40 times its label, and its mask."""
    photograph = Image.fromarray(np.stack((40 * labels,) * 3, axis=-1))
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        arguments["exif"] = exif
    photograph.save(files / "images" / f"{name}{ending}", **arguments)
    Image.fromarray(labels).save(files / "masks" / f"{name}.png")


def made(files, classes=CLASSES, **arguments):
    return Folder(files / "images", files / "masks", classes, **arguments)


def refusal(files, *words, classes=CLASSES, check=False, **arguments):
    """The message with which a folder is refused, which holds all the words."""
    with pytest.raises(ValueError) as error:
        dataset = made(files, classes, **arguments)
        if check:
            dataset.check()
    message = str(error.value)
    assert [word for word in words if word not in message] == [], message
    return message


def write_grey_png(path, labels, bits):
    """A grey PNG of 1, 2, 4 or 16 bits a pixel, written by hand (Pillow writes no 2 and 4)."""

    def chunk(kind, data):
        length, checksum = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return length + kind + data + checksum

    height, width = labels.shape
    high_bits_first = (labels[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(high_bits_first.reshape(height, -1).astype(np.uint8), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_pictures_and_labels_come_in_the_order_of_their_names(files):
    dataset = made(files)
    assert len(dataset) == 3 and dataset.class_names == CLASSES
    for seed in range(3):
        image, labels = dataset.picture(seed)
        np.testing.assert_array_equal(labels, labels_of(seed, width=16 + seed))
        np.testing.assert_array_equal(image[..., 0], 40 * labels)
        assert image.dtype == labels.dtype == np.uint8
    images, targets = dataset[-1]
    assert images.shape == (3, 12, 18) and targets.shape == (12, 18)
    with pytest.raises(IndexError):
        dataset.picture(3)


def test_files_that_are_not_pictures_do_not_count(files):
    for name in (".hidden.png", "._a.png", "notes.txt", "Thumbs.db", "classes.json"):
        (files / "images" / name).write_bytes(b"x")
        (files / "masks" / name).write_bytes(b"x")
    (files / "images" / "more").mkdir()
    assert len(made(files)) == 3


def test_endings_may_be_large_and_differ(files):
    add(files, "d", labels_of(3), ending=".JPG", format="JPEG")
    add(files, "e.f", labels_of(4), ending=".tiff")
    assert [image.name for image, _ in made(files).pairs[3:]] == ["d.JPG", "e.f.tiff"]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_mask_gives_its_indices_whatever_its_colours(tmp_path, bits):
    labels = labels_of(0, classes=2**bits)
    mask = Image.fromarray(labels)
    mask.putpalette(np.random.default_rng(1).permutation(256).astype(np.uint8).repeat(3).tobytes())
    mask.save(tmp_path / "mask.png", bits=bits, transparency=1)
    assert Image.open(tmp_path / "mask.png").mode == "P"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_grey_mask_gives_its_numbers_however_few_bits_they_have(tmp_path, bits):
    labels = labels_of(0, height=5, width=7, classes=2**bits)
    write_grey_png(tmp_path / "mask.png", labels, bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels)


@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        *((ending, mode) for ending in ("png", "tif", "bmp") for mode in ("L", "P", "1")),
        *(("png", "I;16"), ("tif", "I;16"), ("tif", "I")),
    ],
)
def test_a_mask_may_be_any_file_that_keeps_its_numbers(tmp_path, mode, ending):
    labels = labels_of(0, classes=2 if mode == "1" else 200)
    if mode == "P":
        picture = Image.fromarray(labels)
        picture.putpalette(bytes(range(255, -1, -1)) * 3)
    elif mode == "1":
        picture = Image.fromarray(255 * labels).convert("1")
    else:
        kind = {"L": np.uint8, "I;16": np.uint16, "I": np.int32}[mode]
        picture = Image.fromarray(labels.astype(kind))
    picture.save(tmp_path / f"mask.{ending}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask.{ending}"), labels)


def test_numbers_of_classes_and_of_what_is_ignored_can_be_any(files):
    numbers = np.array([[0, 255, 7, 9], [9, 9, 0, 7]], dtype=np.uint8)
    add(files, "d", numbers)
    meaning = {"values": (255, 0), "ignore_index": (7, 9)}
    dataset = made(files, ["bright", "dark"], names=["d"], **meaning)
    np.testing.assert_array_equal(dataset.picture(0)[1], [[1, 0, 255, 255], [255, 255, 1, 255]])
    np.testing.assert_array_equal(dataset.check().counts, [[1, 2]])


@pytest.mark.parametrize("ignored", ["1-254", ["1-254"], range(1, 255), "1-99, 100, 101-254"])
def test_ranges_of_numbers_are_all_numbers_in_them(files, ignored):
    add(files, "d", np.array([[0, 255, 1, 254], [99, 100, 255, 0]], dtype=np.uint8))
    dataset = made(files, ["dark", "bright"], names=["d"], values="0,255", ignore_index=ignored)
    np.testing.assert_array_equal(dataset.picture(0)[1], [[0, 1, 255, 255], [255, 255, 1, 0]])


REST = "1-16,18-79,81-254"
MEANINGS = {  # pixels of each number, the classes (0: nobody knows), and what they seem to mean
    "ADE20K, a few pictures of it": ({0: 5, 3: 9, 20: 4, 150: 1}, 150, "1-150", "0,255"),
    "from one, and 255": ({1: 5, 2: 9, 255: 4}, 2, "1,2", "0,255"),
    "from one, and no 255": ({1: 5, 2: 9, 3: 4}, 0, "1-3", "0,255"),
    "numbers of the classes, and 255": ({0: 60, 1: 1, 255: 40}, 2, "0,1", "255"),
    "black and white": ({0: 60, 255: 40}, 2, "0,255", "1-254"),
    "soft edges": ({0: 60, 255: 40, 17: 1, 80: 1}, 2, "0,255", "1-254"),
    "soft edges, or four classes": ({0: 60, 255: 40, 17: 1, 80: 1}, 0, "0,17,80,255", REST),
    "many soft edges": ({0: 60, 255: 40, **dict.fromkeys(range(9, 14), 1)}, 0, "0,255", "1-254"),
    "soft edges of three classes": (
        {0: 600, 9: 600, 20: 400, **dict.fromkeys(range(10, 15), 1)},
        3,
        "0,9,20",
        "1-8,10-19,21-255",
    ),
    "half of a palette": ({0: 60, 2: 40}, 2, "0,2", "255"),
    "a palette, and 255": ({0: 60, 38: 40, 75: 1, 255: 1}, 3, "0,38,75", "255"),
    "greys everywhere": ({0: 10, 255: 10, **dict.fromkeys(range(1, 99), 9)}, 2),
    "three classes with few soft edges": ({0: 60, 128: 60, 255: 40, 17: 1, 80: 1}, 3),
    "more numbers than classes": ({0: 9, 1: 9, 2: 9, 7: 9}, 3),
    "fewer numbers than classes": ({0: 9, 255: 9}, 3),
    "nothing": ({}, 2),
}


@pytest.mark.parametrize("case", MEANINGS.values(), ids=MEANINGS)
def test_what_numbers_seem_to_mean(case):
    held, classes, *expected = case
    pixels = np.zeros(256, int)
    pixels[list(held)] = list(held.values())
    found = likely_meaning(pixels, classes)
    assert [as_ranges(each) for each in found[:2]] == expected if found else not expected
    if found:  # and Folder takes them so
        assert found.sure == (0 in found.values or not held.get(0))
        label_table(len(found.values), found.values, found.ignored)
        assert f"values='{expected[0]}' and ignore_index='{expected[1]}'" in str(found)


def test_numbers_are_written_as_ranges_and_read_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        numbers = tuple(rng.permutation(256)[: rng.integers(256)].tolist())
        assert numbers_of("values", as_ranges(numbers)) == numbers
        inorder = tuple(sorted(numbers))
        assert numbers_of("values", as_ranges(inorder)) == inorder
    assert as_ranges(range(1, 151)) == "1-150" and as_ranges([0, 1, 7]) == "0,1,7"


def test_classes_can_be_counted_instead_of_named(files):
    assert made(files, 3).class_names == ("class 0", "class 1", "class 2")


def test_a_split_takes_its_names_only_in_its_order(files):
    dataset = made(files, names=["c", "a"])
    assert [image.stem for image, _ in dataset.pairs] == ["c", "a"]


def test_all_pictures_fit_into_one_size_for_a_batch(files):
    dataset = made(files, size=(12, 16))
    np.testing.assert_array_equal(dataset.picture(0)[1], labels_of(0))
    for images, labels in DataLoader(dataset, batch_size=3, num_workers=1):
        assert images.shape == (3, 3, 12, 16) and labels.shape == (3, 12, 16)
        assert set(labels[2].flatten().tolist()) == {0, 1, 2, 255}  # it is wider than 12:16


def test_a_photograph_is_turned_by_its_exif_tag_and_the_mask_is_not(files):
    upright = labels_of(5)
    add(files, "d", upright)
    for orientation, turn in ((6, Image.Transpose.ROTATE_90), (3, Image.Transpose.ROTATE_180)):
        stored = np.array(Image.fromarray(upright).transpose(turn))
        for ending in (".png", ".tiff"):
            add(files, "d", stored, orientation, ending)
            Image.fromarray(upright).save(files / "masks" / "d.png")
            image, labels = made(files, names=["d"]).picture(0)
            np.testing.assert_array_equal(labels, upright)
            np.testing.assert_array_equal(image[..., 0], 40 * upright)
            (files / "images" / f"d{ending}").unlink()


def test_masks_of_photographs_as_stored_are_refused_until_it_is_said(files):
    stored = labels_of(5)
    add(files, "d", stored, orientation=6)
    refusal(files, "masks/d.png has 16 × 12 pixels, ", "images/d.png 12 × 16", "give upright=False")
    image, labels = made(files, names=["d"], upright=False).picture(0)
    np.testing.assert_array_equal(labels, stored)
    np.testing.assert_array_equal(image[..., 0], 40 * stored)
    Image.fromarray(np.rot90(stored)).save(files / "masks" / "d.png")
    refusal(files, "give upright=True", upright=False)


def test_an_exif_tag_behind_the_pixels_of_a_png_is_heeded(files):
    upright = labels_of(5)
    stored = np.ascontiguousarray(np.rot90(upright))
    add(files, "d", stored, orientation=6)
    path = files / "images" / "d.png"
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    path.write_bytes(moved)
    assert "exif" not in Image.open(path).info
    with pytest.raises(ValueError, match="d.png has 12 × 16 pixels, .*/d.png 16 × 12"):
        made(files, names=["d"]).picture(0)  # the mask is as stored
    Image.fromarray(upright).save(files / "masks" / "d.png")
    np.testing.assert_array_equal(made(files, names=["d"]).picture(0)[0][..., 0], 40 * upright)


def test_check_counts_the_pixels_of_each_class_and_number_in_each_picture(files):
    Image.fromarray(np.full((12, 16), 255, np.uint8)).save(files / "masks" / "a.png")
    each = [np.bincount(labels_of(seed, width=16 + seed).ravel()) for seed in (1, 2)]
    survey = made(files).check()
    np.testing.assert_array_equal(survey.counts, [[0, 0, 0], *each])
    np.testing.assert_array_equal(survey.sizes, [[12, 16], [12, 17], [12, 18]])
    expected = np.zeros(256)
    expected[[0, 1, 2, 255]] = [*sum(each), 12 * 16]
    np.testing.assert_array_equal(survey.numbers.sum(0), expected)
    np.testing.assert_array_equal(survey.of(slice(2, 3)).numbers[0, :3], each[1])
    some = made(files, ["b", "a"], values=(1, 0), ignore_index=(2, 255), size=8).check([2, 1])
    np.testing.assert_array_equal(some.counts, [each[1][[1, 0]], each[0][[1, 0]]])
    np.testing.assert_array_equal(some.sizes, [[8, 8], [8, 8]])
    assert made(files).check([]).counts.shape == (0, 3)


def test_masks_with_palettes_of_their_own_are_told_apart(files):
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255), (9, 9, 9)], dtype=np.uint8)
    for seed, name in enumerate("abc"):
        mask = Image.fromarray(labels_of(seed, width=16 + seed))
        mask.putpalette(colours.tobytes())
        mask.save(files / "masks" / f"{name}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(files).check()
        mask.putpalette(colours[[0, 1, 2, 0]].tobytes())  # of a number that no pixel has
        mask.save(files / "masks/c.png")
        made(files).check()
    mask.putpalette(colours[[0, 2, 1, 3]].tobytes())
    mask.save(files / "masks/c.png")
    shown = r"a.png shows the number 1 in the colour #ff0000, and .*c.png in #0000ff"
    with pytest.warns(UserWarning, match=shown):
        made(files).check()


def test_a_data_set_can_be_sent_to_another_process(files):
    dataset = pickle.loads(pickle.dumps(made(files, size=8)))
    assert dataset.picture(1)[1].shape == (8, 8)


# ---- what does not fit is found when the data set is made ----


def test_a_missing_mask_and_a_missing_photograph(files):
    (files / "masks" / "a.png").unlink()
    (files / "images" / "c.png").unlink()
    message = refusal(files, "2 of the pictures", "a.png has no mask in", "c.png has no photograph")
    assert message.count("share a name up to the ending") == 1  # said once for both


def test_a_name_in_a_split_that_has_no_files(files):
    refusal(files, "z has no photograph", names=["a", "z"])


def test_two_files_of_one_name(files):
    add(files, "b", labels_of(1, width=17), ending=".bmp")
    refusal(files, "b.bmp and ", "b.png share a name", "remove all but one")


def test_a_mask_of_another_size(files):
    Image.fromarray(labels_of(0, height=6, width=8)).save(files / "masks" / "a.png")
    refusal(files, "masks/a.png has 8 × 6 pixels, ", "images/a.png 16 × 12", "nearest")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_mask_in_colours(files, mode):
    Image.fromarray(labels_of(0)).convert(mode).save(files / "masks" / "a.png")
    message = refusal(files, f"a.png holds colours ({mode})", "colors=…", "check-data", "#804080")
    assert "cannot be read" not in message


def test_a_mask_of_16_bits_with_a_number_that_masks_cannot_hold(files):
    labels = labels_of(0).astype(np.uint16)
    labels[3, 4] = 1042
    write_grey_png(files / "masks" / "a.png", labels, 16)
    refusal(files, "a.png holds 1042", "0 … 255", check=True)


def test_a_mask_that_jpeg_has_changed(files):
    (files / "masks" / "a.png").unlink()
    Image.fromarray(labels_of(0)).save(files / "masks" / "a.jpg")
    refusal(files, "a.jpg is JPEG", "PNG")
    (files / "masks" / "a.jpg").unlink()
    Image.fromarray(labels_of(0)).save(files / "masks" / "a.tif", compression="jpeg")
    refusal(files, "a.tif is TIFF with JPEG's compression")


@pytest.mark.parametrize("folder", ["images", "masks"])
@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image(files, folder, content):
    (files / folder / "b.png").write_bytes(content)
    refusal(
        files, f"{folder}/b.png cannot be read (not an image that Pillow knows)", "or take it out"
    )


def test_ten_are_named_of_many_and_all_are_counted(files):
    for number in range(25):
        add(files, f"d{number:02}", labels_of(number))
        (files / "masks" / f"d{number:02}.png").unlink()
    (files / "masks" / "a.png").write_bytes(b"")
    message = refusal(files, "26 of the pictures", "d00.png", "d09.png", "… and 16 more", "take")
    assert "d10.png" not in message


# ---- what only the pixels show ----


def test_a_number_that_is_no_class(files):
    strange = labels_of(1, width=17)
    strange[0, 0], strange[3, 3] = 3, 77
    Image.fromarray(strange).save(files / "masks" / "b.png")
    dataset = made(files)
    with pytest.raises(ValueError, match=r"b.png holds 3, 77\..* 0, 1, 2, 255 have a meaning"):
        dataset.picture(1)
    dataset.picture(0)
    refusal(files, "1 of the pictures", "b.png holds 3, 77", check=True)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_file_that_is_cut_short(files, folder):
    path = files / folder / "c.png"
    path.write_bytes(path.read_bytes()[:-40])
    dataset = made(files)
    with pytest.raises(ValueError, match=r"c.png cannot be read"):
        dataset.picture(2)
    refusal(files, "1 of the pictures", "c.png cannot be read", check=True)


def test_a_file_that_goes_away(files):
    dataset = made(files)
    (files / "masks" / "c.png").unlink()
    with pytest.raises(ValueError, match=r"c.png cannot be read"):
        dataset.picture(2)


def test_a_bad_mask_is_named_by_workers_too(files):
    Image.fromarray(np.full((12, 16), 9, np.uint8)).save(files / "masks" / "a.png")
    with pytest.raises(ValueError) as error:
        made(files).picture(0)
    assert "a.png holds 9" in str(error.value)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(ValueError) as of_worker:
        list(DataLoader(made(files), num_workers=1))
    assert str(of_worker.value) == str(error.value)  # without the worker's traceback


def test_progress_shows_only_where_one_waits(files, monkeypatch, capfd):
    made(files).check()
    assert capfd.readouterr().err == ""

    def at_once(*arguments, delay, **more):
        assert delay > 0
        return folder_module_tqdm(*arguments, **more | {"leave": True})

    folder_module_tqdm = folder_module.tqdm
    monkeypatch.setattr(folder_module, "tqdm", at_once)
    made(files).check()
    shown = capfd.readouterr().err
    assert "comparing sizes: 100%" in shown and "reading pixels: 100%" in shown and "3/3" in shown


BAD = {
    "no folder of images": ({"images": "nowhere"}, "images = ", "nowhere is not a folder"),
    "no folder of masks": ({"masks": "nowhere"}, "masks = ", "nowhere is not a folder"),
    "one folder for both": ({"masks": "images"}, "both", "folder of its own"),
    "an empty folder": ({"images": "empty"}, "empty holds no photograph", ".jpg"),
    "no classes": ({"classes": 0}, "classes = 0", "from 1"),
    "no names": ({"classes": []}, "classes = []", "from 1"),
    "too many classes": ({"classes": 256}, "classes = 256", "255"),
    "far too many classes": ({"classes": 10**15}, "classes = 1000000000000000", "255"),
    "classes in one word": ({"classes": "cat"}, "classes = 'cat'", "list of names"),
    "an empty name": ({"classes": ["cat", ""]}, "['cat', '']", "list of names"),
    "numbers for names": ({"classes": [0, 1]}, "[0, 1]", "list of names"),
    "classes of truth": ({"classes": True}, "classes = True", "how many"),
    "a value too few": ({"values": (0, 1)}, "values = (0, 1)", "3 classes"),
    "a value too many": ({"values": (0, 1, 2, 2)}, "values = (0, 1, 2, 2)", "3 classes"),
    "a value twice": ({"values": (0, 1, 1)}, "values = (0, 1, 1)", "of its own"),
    "a value beyond 8 bits": ({"values": (0, 1, 256)}, "values = (0, 1, 256)", "0 … 255"),
    "a negative value": ({"values": (0, 1, -1)}, "values = (0, 1, -1)", "0 … 255"),
    "values in words": ({"values": "012"}, "values = '012'", "whole"),
    "a range too far": ({"values": "0-300"}, "values = '0-300'", "ranges"),
    "a range backwards": ({"values": ["2-0"]}, "values = ['2-0']", "ranges"),
    "a range of too many": ({"values": "1-50"}, "values = '1-50'", "3 classes"),
    "ignoring −100": ({"ignore_index": -100}, "(-100,)", "0 … 255"),
    "ignoring nothing": ({"ignore_index": None}, "ignore_index = None", "0 … 255"),
    "ignoring halves": ({"ignore_index": [0.5]}, "ignore_index = [0.5]", "whole"),
    "ignoring a class": ({"ignore_index": 2}, "2 stands for a class and is ignored"),
    "white that is ignored": ({"values": (0, 1, 255)}, "255 stands", "ignore_index=()"),
    "no size": ({"size": 0}, "size = 0", "at least 1"),
    "a split of nothing": ({"names": []}, "names = []", "list of names"),
    "a split in one word": ({"names": "a"}, "names = 'a'", "list of names"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_impossible_arguments_are_refused(files, case):
    changes, *words = case
    (files / "empty").mkdir()
    arguments = {"images": "images", "masks": "masks", "classes": CLASSES} | changes
    arguments |= {key: files / arguments[key] for key in ("images", "masks")}
    with pytest.raises(ValueError) as error:
        Folder(**arguments)
    assert [word for word in words if word not in str(error.value)] == [], error.value
