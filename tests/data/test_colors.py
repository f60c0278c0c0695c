"""Masks in colours: read by a table, exactly; and tables that are drawn from masks."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segformer_edu.data.colors import find_colors, read_colors, read_coloured, write_colors
from segformer_edu.data.folder import Folder
from segformer_edu.data.image_files import Fault

TABLE = """\
# streets, by hand
#804080 road
#F423E8 wide pavement

#464646 road
#000000 ignore
"""
COLOURS = np.array([(128, 64, 128), (244, 35, 232), (70, 70, 70), (0, 0, 0)], dtype=np.uint8)
CLASSES = np.array([0, 1, 0, 255], dtype=np.uint8)


def written(folder, text, name="colors.txt"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def drawn(seed=0, height=9, width=14):
    """Which of the colours each pixel has, and the mask."""
    which = np.random.default_rng(seed).integers(0, 4, (height, width))
    return which, COLOURS[which]


def by_comparison(mask, table):
    """The labels by the definition: one comparison for every colour of the table."""
    labels = np.full(mask.shape[:2], 254, np.uint8)
    for colour, label in table.items():
        labels[(mask == np.array(colour)).all(-1)] = label
    return labels


def test_every_colour_becomes_its_class(tmp_path):
    table = read_colors(written(tmp_path, TABLE))
    assert table.class_names == ("road", "wide pavement")
    which, mask = drawn()
    labels, unknown = table.label(mask)
    np.testing.assert_array_equal(labels, CLASSES[which])
    expected = dict(zip(map(tuple, COLOURS.tolist()), CLASSES.tolist(), strict=True))
    np.testing.assert_array_equal(labels, by_comparison(mask, expected))
    assert not unknown and labels.dtype == np.uint8


def test_colours_that_no_line_names_are_counted_or_ignored(tmp_path):
    mask = drawn()[1]
    mask[0, :3], mask[1, 0] = (1, 2, 3), (128, 64, 129)
    labels, unknown = read_colors(written(tmp_path, TABLE)).label(mask)
    assert unknown == {"#010203": 3, "#804081": 1}
    assert (labels[0, :3] == 254).all() and labels[1, 0] == 254
    labels, unknown = read_colors(written(tmp_path, f"{TABLE}* ignore\n")).label(mask)
    assert not unknown and (labels[0, :3] == 255).all() and labels[1, 0] == 255


FORMATS = [
    *(("png", mode) for mode in ("RGB", "RGBA", "P")),
    *(("tif", mode) for mode in ("RGB", "RGBA", "P")),
    *(("bmp", mode) for mode in ("RGB", "P")),
    ("gif", "P"),
]


@pytest.mark.parametrize(("ending", "mode"), FORMATS)
def test_colours_are_read_from_every_file_that_keeps_them(tmp_path, ending, mode):
    which, mask = drawn()
    picture = Image.fromarray(mask)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray((17 * which).astype(np.uint8)))
    if mode == "P":
        picture = Image.fromarray(which.astype(np.uint8))
        picture.putpalette(COLOURS.tobytes())
    picture.save(tmp_path / f"mask.{ending}")
    np.testing.assert_array_equal(read_coloured(tmp_path / f"mask.{ending}"), mask)


def test_greys_and_black_and_white_are_colours_too(tmp_path):
    numbers = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    for mode in ("L", "1", "LA"):
        Image.fromarray(numbers).convert(mode).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_coloured(tmp_path / "mask.png")[..., 1], numbers)


@pytest.mark.parametrize(
    ("name", "mode", "words"), [("a.jpg", "RGB", "JPEG"), ("a.png", "I;16", "I;16")]
)
def test_files_that_change_colours_or_have_none_are_refused(tmp_path, name, mode, words):
    kind = np.uint16 if mode == "I;16" else np.uint8
    shape = (4, 4) if mode == "I;16" else (4, 4, 3)
    Image.fromarray(np.zeros(shape, kind)).save(tmp_path / name)
    with pytest.raises(Fault, match=rf"{name} .*{words}.*again, as PNG"):
        read_coloured(tmp_path / name)


WRONG = {
    "a name without a colour": ("road\n", "line 1: road", "`#804080 road`"),
    "a colour without a name": ("#804080 road\n#facade\n", "line 2: #facade"),
    "half a colour": ("#fff road\n", "line 1: #fff road"),
    "a colour with transparency": ("#ffffff00 road\n", "line 1"),
    "a comment that looks like a colour": ("#road\n", "a comment begins with `# `"),
    "others that are a class": ("#804080 road\n* rest\n", "line 2: * rest", "`* ignore`"),
    "two classes for a colour": ("#804080 road\n#804080 sky\n", "line 2", "road", "sky"),
    "nothing but what does not count": ("#000000 ignore\n* ignore\n", "names 0 classes"),
    "nothing": ("", "names 0 classes", "#rrggbb"),
    "too many": ("".join(f"#0000{n:02x} {n}\n" for n in range(255)), "255 classes", "254"),
    "no text": (b"\xff\xfe\x00", "cannot be read as text"),
    "no file": (None, "cannot be read as text"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_table_that_makes_no_sense_is_refused(tmp_path, case):
    content, *words = case
    path = tmp_path / "colors.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        read_colors(path)
    assert [word for word in ["colors = ", *words] if word not in str(error.value)] == []


def test_254_classes_are_the_most_and_all_are_told_apart(tmp_path):
    text = "".join(f"#00{n:02x}00 class {n}\n" for n in range(254))
    table = read_colors(written(tmp_path, f"{text}* ignore\n"))
    mask = np.zeros((1, 256, 3), np.uint8)
    mask[0, :, 1] = range(256)
    labels, unknown = table.label(mask)
    assert labels[0].tolist() == [*range(254), 255, 255] and not unknown


# ---- in a folder ----


@pytest.fixture
def files(tmp_path):
    """Two photographs whose masks are in colours."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed, name in enumerate("ab"):
        Image.fromarray(drawn(seed)[1]).save(tmp_path / f"images/{name}.png")
        Image.fromarray(drawn(seed)[1]).save(tmp_path / f"masks/{name}.png")
    written(tmp_path, TABLE)
    return tmp_path


def made(files, **arguments):
    return Folder(files / "images", files / "masks", colors=files / "colors.txt", **arguments)


def test_a_folder_reads_masks_by_their_colours(files):
    dataset = made(files)
    assert dataset.class_names == ("road", "wide pavement")
    survey = dataset.check()
    for seed in range(2):
        expected = CLASSES[drawn(seed)[0]]
        np.testing.assert_array_equal(dataset.picture(seed)[1], expected)
        np.testing.assert_array_equal(survey.counts[seed], [(expected == k).sum() for k in (0, 1)])
        assert survey.numbers[seed, 255] == (expected == 255).sum()


def test_a_colour_that_the_table_lacks_is_named_with_its_share_and_a_remedy(files):
    mask = drawn(1)[1]
    mask[:, 0] = (1, 2, 3)
    Image.fromarray(mask).save(files / "masks/b.png")
    for act in (lambda: made(files).check(), lambda: made(files).picture(1)):
        with pytest.raises(ValueError, match=r"b.png holds #010203 \(7.14%\), which .*colors.txt"):
            act()
    with pytest.raises(ValueError, match=r"`\* ignore` there"):
        made(files).check()
    written(files, f"{TABLE}* ignore\n")
    made(files).check()


def test_many_unknown_colours_are_counted(files):
    mask = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    Image.fromarray(mask).save(files / "masks/b.png")
    with pytest.raises(ValueError, match=r"and 123 more \(together 100.00%\), which"):
        made(files).check()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"classes": ["road", "sky"]}, "leave out classes = … and values"),
        ({"values": (0, 1)}, "leave out classes = … and values"),
        ({"ignore_index": 0}, "`#ffffff ignore`"),
    ],
)
def test_what_a_table_says_is_not_said_again(files, arguments, words):
    with pytest.raises(ValueError, match=words):
        made(files, **arguments)


# ---- tables that are drawn from masks ----


def softened(seed):
    """Discs and a thin bar in three colours, drawn at four times the size and averaged."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (400, 400), (0, 0, 0))
    pen = ImageDraw.Draw(picture)
    for colour in ((200, 30, 30), (30, 30, 220)):
        x, y = rng.integers(60, 340, 2)
        pen.ellipse((x - 50, y - 50, x + 50, y + 50), fill=colour)
    pen.rectangle((8, 0, 15, 400), fill=(250, 200, 0))  # two pixels wide in the end
    return np.array(picture.resize((100, 100), Image.Resampling.BOX))


def test_a_table_is_drawn_from_masks_without_their_soft_edges(tmp_path):
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(softened(seed)).save(path)
    found = find_colors(paths)
    assert len(found) > 20  # most of them are edges
    assert sum(each.pixels for each in found.values()) == 3 * 100 * 100
    assert next(iter(found)) == "#000000" and found["#000000"].example == paths[0]
    table = write_colors(tmp_path / "colors.txt", found)
    text = (tmp_path / "colors.txt").read_text(encoding="utf-8")
    assert table.class_names == ("class 1", "class 2", "class 3", "class 4")
    assert {line.split()[0] for line in text.splitlines() if " class " in line} == {
        *("#000000", "#c81e1e", "#1e1edc", "#fac800", "#")
    }
    assert text.endswith("\n* ignore\n") and f"for example in {paths[0]}" in text
    labels, unknown = table.label(softened(0))
    assert not unknown and 0 < (labels == 255).mean() < 0.1


def test_soft_edges_of_enlarged_masks_are_no_classes(tmp_path):
    y, x = np.mgrid[:300, :300]
    share = (80.5 - np.hypot(y - 140, x - 150)).clip(0, 1)[..., None]  # of a pixel in a disc
    mask = (share * (200, 30, 40) + (1 - share) * (10, 0, 90)).round().astype(np.uint8)
    for times in (1, 2, 3, 4):
        large = mask.repeat(times, axis=0).repeat(times, axis=1)
        Image.fromarray(large).save(tmp_path / "a.png")
        table = write_colors(tmp_path / "colors.txt", find_colors([tmp_path / "a.png"]))
        assert table.labels[[0x0A005A, 0xC81E28]].tolist() == [0, 1]
        assert table.class_names == ("class 1", "class 2"), times


def test_a_rare_class_in_a_mixed_colour_stays_one(tmp_path):
    mask = np.zeros((300, 300, 3), dtype=np.uint8)
    mask[:150] = 254
    mask[200:210, 200:210] = 127  # 450 times rarer than what it lies between
    Image.fromarray(mask).save(tmp_path / "a.png")
    table = write_colors(tmp_path / "colors.txt", find_colors([tmp_path / "a.png"]))
    assert len(table.class_names) == 3


def test_a_table_of_exact_masks_has_all_their_colours_and_ignores_none(tmp_path):
    mask = COLOURS.repeat(5, axis=0).repeat(4, axis=0).reshape(20, 4, 3).repeat(5, axis=1)
    Image.fromarray(mask).save(tmp_path / "a.png")
    table = write_colors(tmp_path / "colors.txt", find_colors([tmp_path / "a.png"]))
    assert len(table.class_names) == 4
    assert "*" not in (tmp_path / "colors.txt").read_text(encoding="utf-8")


def test_a_block_has_one_colour_in_all_four_corners(tmp_path):
    for corners in ("abba", "aaab", "aaba", "abaa", "baaa", "aabb", "abab"):
        mask = np.array([COLOURS["ab".index(corner)] for corner in corners]).reshape(2, 2, 3)
        Image.fromarray(mask).save(tmp_path / "a.png")
        assert not any(each.blocks for each in find_colors([tmp_path / "a.png"]).values())
    Image.fromarray(COLOURS[:1].repeat(6, axis=0).reshape(2, 3, 3)).save(tmp_path / "a.png")
    (found,) = find_colors([tmp_path / "a.png"]).values()
    assert found == (6, 2, tmp_path / "a.png")


def test_photographs_are_no_masks(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="0 colours fill areas"):
        write_colors(tmp_path / "colors.txt", find_colors([tmp_path / "a.png"]))
    many = np.arange(300).reshape(1, 300).repeat(4, axis=0).repeat(4, axis=1)
    mask = np.stack([many // 256, many % 256, many * 0], axis=-1).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="300 colours fill areas"):
        write_colors(tmp_path / "colors.txt", find_colors([tmp_path / "a.png"]))
    assert not (tmp_path / "colors.txt").exists()
