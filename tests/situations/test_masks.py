"""Masks as people have them: what they mean is found, or said to be missing."""

import unicodedata

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.situations.making import (
    COLOURS,
    HALVES,
    SEEN,
    STRIP,
    STRIPS,
    Situation,
    grey,
    happens,
    pair,
    pairs,
    picture,
    raw_png,
    refused,
    save,
    scored,
    shades,
    write,
)

FILES = "--data folder --images images --masks masks --validation 0 --cpu --out scores.json"
EVALUATE = f"evaluate --weights seeing {FILES}"
BRIGHT = f"evaluate --weights bright {FILES}"
TRAIN = "train --out run --data folder --images images --masks masks --quiet --validation 1"
TABLE = "#000000 ground\n#ff0000 red\n#0000ff blue\n"
LABELMAP = "# label:color_rgb:parts:actions\nground:0,0,0::\nred:255,0,0::\nblue:0,0,255::\n"
COLORS = f"{EVALUATE} --colors colors.txt"
BOTH_SEEN = [[STRIP, 0], [0, 2 * STRIP]]  # dark and bright
INKS = [9, 9, 9, 200, 200, 9, 0, 99, 0]  # of a palette: the number counts, and not the colour


def mask(array, ending="png", mode=None, **options):
    """A picture of three strips, whose mask is this array."""

    def make(folder):
        save(folder / "images/a.png", picture())
        save(folder / f"masks/a.{ending}", array, mode, **options)

    return make


def bright(array, ending="png", mode=None, **options):
    """A picture of which a third is dark and the rest bright, whose mask is this array."""

    def make(folder):
        save(folder / "images/a.png", shades())
        save(folder / f"masks/a.{ending}", array, mode, **options)

    return make


def palette(**options):
    def make(folder):
        save(folder / "images/a.png", picture())
        drawn = Image.fromarray(STRIPS)
        drawn.putpalette(INKS)
        (folder / "masks").mkdir()
        drawn.save(folder / "masks/a.png", **options)

    return make


def packed(depth):
    """A grey mask of two or four bits a pixel."""

    def make(folder):
        save(folder / "images/a.png", picture())
        bits = np.unpackbits(STRIPS[..., None], axis=2)[..., 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits]
        raw_png(folder / "masks/a.png", rows, 24, 16, depth, 0)

    return make


def tiff(array, **options):
    def make(folder):
        save(folder / "images/a.png", picture())
        (folder / "masks").mkdir()
        tifffile.imwrite(folder / "masks/a.tif", array, **options)

    return make


def a_map(folder):
    """As GDAL writes it: the second page is the first at half the size."""
    for name, array in (("images", picture()), ("masks", STRIPS)):
        (folder / name).mkdir()
        with tifffile.TiffWriter(folder / name / "a.tif") as file:
            file.write(array)
            file.write(array[::2, ::2], subfiletype=1)


def coloured(text, mode=None, array=COLOURS[STRIPS], ending="png", **options):
    def make(folder):
        mask(array, ending, mode, **options)(folder)
        write(folder / "colors.txt", text)

    return make


def after(make, *others):
    """The files of `make`, and then what else is done to the folder."""

    def both(folder):
        make(folder)
        for other in others:
            other(folder)

    return both


def with_file(name, content=b"\0\5\26\7"):
    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return make


def named(photograph, drawn):
    def make(folder):
        save(folder / photograph, picture())
        save(folder / drawn, STRIPS)

    return make


def turned(orientation, array):
    """A photograph that its EXIF tag turns until it shows the strips, and its mask."""
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]

    def make(folder):
        exif = Image.Exif()
        exif[0x0112] = orientation
        (folder / "images").mkdir()
        stored = Image.fromarray(picture()).transpose(back)
        stored.save(folder / "images/a.png", exif=exif)
        save(folder / "masks/a.png", array)

    return make


def half(folder):
    """Half of a mask's file."""
    pair(folder, "b", mask=np.random.default_rng(0).integers(0, 3, STRIPS.shape, np.uint8))
    content = (folder / "masks/b.png").read_bytes()
    (folder / "masks/b.png").write_bytes(content[: len(content) // 2])


void = np.where(np.arange(16)[:, None] < 2, 255, STRIPS).astype(np.uint8)  # 2 of 16 rows
soft = np.where(np.arange(24) == 7, 90, grey()).astype(np.uint8)  # a softened edge
strange = np.where(np.arange(24) == 7, 77, STRIPS).astype(np.uint8)
many = STRIPS.astype(np.uint16)

SITUATIONS = {
    # ---- how numbers are stored ----
    "grey": Situation(mask(STRIPS), EVALUATE, scored(SEEN)),
    "a palette of odd colours": Situation(palette(), EVALUATE, scored(SEEN)),
    "a palette of two bits": Situation(palette(bits=2), EVALUATE, scored(SEEN)),
    "a palette with a transparent entry": Situation(
        palette(transparency=0), EVALUATE, scored(SEEN)
    ),
    "two bits of grey": Situation(packed(2), EVALUATE, scored(SEEN)),
    "four bits of grey": Situation(packed(4), EVALUATE, scored(SEEN)),
    "one bit": Situation(bright(HALVES > 0), BRIGHT, scored(BOTH_SEEN)),
    "16 bits": Situation(mask(many), EVALUATE, scored(SEEN)),
    "16 bits, TIFF of the other byte order": Situation(
        tiff(many, byteorder=">"), EVALUATE, scored(SEEN)
    ),
    "32 bits, TIFF": Situation(mask(STRIPS.astype(np.int32), "tif"), EVALUATE, scored(SEEN)),
    "32 bits without a sign, TIFF of another program": Situation(
        tiff(STRIPS.astype(np.uint32)), EVALUATE, scored(SEEN)
    ),
    "compressed TIFF": Situation(
        mask(STRIPS, "tiff", compression="tiff_lzw"), EVALUATE, scored(SEEN)
    ),
    "BMP": Situation(mask(STRIPS, "bmp"), EVALUATE, scored(SEEN)),
    "GIF": Situation(mask(STRIPS, "gif"), EVALUATE, scored(SEEN)),
    "an ending in capitals": Situation(mask(STRIPS, "PNG"), EVALUATE, scored(SEEN)),
    "objects numbered beyond 255": Situation(
        mask(many * 300), EVALUATE, refused("masks/a.png holds 600", "0 … 255", "smaller numbers")
    ),
    "-1 for what does not count": Situation(
        mask(STRIPS.astype(np.int32) - 1, "tif"), EVALUATE, refused("holds -1", "0 … 255")
    ),
    "real numbers": Situation(
        mask(STRIPS.astype(np.float32), "tif"),
        EVALUATE,
        refused("masks/a.tif holds real numbers", "whole numbers", "PNG"),
    ),
    "JPEG": Situation(
        mask(STRIPS, "jpg"), EVALUATE, refused("a.jpg is JPEG, which changes", "as PNG")
    ),
    "TIFF with JPEG inside": Situation(
        mask(STRIPS, "tif", compression="jpeg"), EVALUATE, refused("JPEG's compression", "as PNG")
    ),
    "WebP": Situation(mask(STRIPS, "webp"), EVALUATE, refused("a.webp is WEBP, which", "as PNG")),
    "an array": Situation(
        after(
            mask(STRIPS),
            lambda f: (f / "masks/a.png").unlink(),
            lambda f: np.save(f / "masks/a.npy", STRIPS),
        ),
        EVALUATE,
        refused("a.npy holds an array", "PNG"),
    ),
    "several pages": Situation(
        tiff(np.stack([STRIPS, 2 - STRIPS]), photometric="minisblack"),
        EVALUATE,
        refused("masks/a.tif", "2 pages"),
    ),
    "a map with a smaller copy of itself": Situation(a_map, EVALUATE, scored(SEEN)),
    "a moving GIF": Situation(
        mask(STRIPS, "gif", save_all=True, append_images=[Image.fromarray(2 - STRIPS)]),
        EVALUATE,
        refused("masks/a.gif", "2 pages"),
    ),
    # ---- what numbers mean ----
    "black and white, as they are": Situation(
        bright(grey()),
        BRIGHT,
        scored([[STRIP, 0], [0, 0]], "shows bright", "255 (67%, ignored)", "--values"),
    ),
    "black and white, to train on": Situation(
        lambda f: [bright(grey())(f), pair(f, "b", mask=grey())],
        f"{TRAIN} --classes dark,bright",
        refused("only class dark", "255 (67%, ignored)", "--values 0,255 and --ignore 1-254"),
    ),
    "black and white, with the flags of the refusal": Situation(
        bright(grey()), f"{BRIGHT} --values 0,255 --ignore 1-254", scored(BOTH_SEEN)
    ),
    "white for the rest, black for the thing": Situation(
        bright(255 - grey()), f'{BRIGHT} --values 255,0 --ignore ""', scored(BOTH_SEEN)
    ),
    "white is a class, and ignored as it is by default": Situation(
        bright(soft),
        f"{BRIGHT} --values 0,255",
        refused("255 stands for a class and is ignored", "--values", '--ignore ""'),
    ),
    "softened edges": Situation(
        bright(soft),
        f'{BRIGHT} --values 0,255 --ignore ""',
        refused("holds 90", "softened edges", "--values 0,255 and --ignore 1-254"),
    ),
    "softened edges, left out": Situation(
        bright(soft), f"{BRIGHT} --values 0,255 --ignore 1-254", scored([[112, 0], [0, 256]])
    ),
    "numbered from 1": Situation(
        mask(STRIPS + 1),
        EVALUATE,
        refused("holds 3", "numbered from 1", "--values 1-3", "--ignore 0,255"),
    ),
    "numbered from 1, with the flags of the refusal": Situation(
        mask(STRIPS + 1), f"{EVALUATE} --values 1-3 --ignore 0,255", scored(SEEN)
    ),
    "0 for what nobody drew, numbered from 1": Situation(
        mask(np.where(void == 255, 0, STRIPS + 1).astype(np.uint8)),
        f"{EVALUATE} --values 1-3 --ignore 0",
        scored(np.diag([112] * 3)),
    ),
    "255 does not count": Situation(mask(void), EVALUATE, scored(np.diag([112] * 3))),
    "spread over the greys to be seen": Situation(
        mask(STRIPS * 100), f"{EVALUATE} --values 0,100,200", scored(SEEN)
    ),
    "classes in another order": Situation(
        mask(np.array([2, 0, 1], dtype=np.uint8)[STRIPS]),
        f"{EVALUATE} --values 2,0,1",
        scored(SEEN),
    ),
    "a stray number": Situation(
        mask(strange),
        EVALUATE,
        refused("masks/a.png holds 77", "0, 1, 2, 255 have", "--values", "--ignore"),
    ),
    "a stray number, ignored": Situation(
        mask(strange), f"{EVALUATE} --ignore 77,255", scored(np.diag([112, 128, 128]))
    ),
    "nothing that counts": Situation(
        mask(np.full_like(STRIPS, 255)), EVALUATE, refused("show no class", "255 (100%, ignored)")
    ),
    "a number that is a class and ignored": Situation(
        mask(STRIPS),
        f"{EVALUATE} --ignore 2",
        refused("2 stands for a class and is ignored", '--ignore ""'),
    ),
    "more values than classes": Situation(
        mask(STRIPS), f"{EVALUATE} --values 0-3", refused("--values", "each of the 3 classes")
    ),
    "a class that nobody drew": Situation(
        mask(np.minimum(STRIPS, 1)),
        EVALUATE,
        scored(
            [[128, 0, 0], [0, 128, 128], [0, 0, 0]], "No validation picture shows blue", "--values"
        ),
    ),
    "names in another order than the weights'": Situation(
        mask(STRIPS),
        f"{EVALUATE} --classes ground,blue,red",
        refused("ground, red, blue", "--classes"),
    ),
    "more names than the weights tell apart": Situation(
        mask(STRIPS), f"{EVALUATE} --classes a,b,c,d", refused("3 classes", "have 4")
    ),
    "a name twice": Situation(
        mask(STRIPS), f"{EVALUATE} --classes red,red,blue", refused("red twice", "--classes")
    ),
    "names of Windows: a mark at the start, two letters at line ends": Situation(
        after(mask(STRIPS), with_file("n.txt", "\ufeffground\r\nred \r\nblue\r\n".encode())),
        f"{EVALUATE} --classes n.txt",
        scored(SEEN),
    ),
    # ---- colours ----
    "colours, without a table": Situation(
        mask(picture()), EVALUATE, refused("a.png holds colours (RGB)", "--colors", "check-data")
    ),
    "colours": Situation(coloured(TABLE), COLORS, scored(SEEN)),
    "colours with transparency": Situation(coloured(TABLE, "RGBA"), COLORS, scored(SEEN)),
    "colours of a palette": Situation(coloured(TABLE, "P"), COLORS, scored(SEEN)),
    "the number three times": Situation(
        coloured("#000000 ground\n#010101 red\n#020202 blue\n", array=np.stack([STRIPS] * 3, 2)),
        COLORS,
        scored(SEEN),
    ),
    "grey shades by a table of colours": Situation(
        coloured("#000000 dark\n#ffffff bright\n", array=grey()),
        BRIGHT + " --colors colors.txt",
        scored([[128, 0], [128, 128]]),
    ),
    "two colours of one class": Situation(
        coloured("#000000 dark\n#ff0000 bright\n#0000ff bright\n"),
        f"{BRIGHT} --colors colors.txt",
        scored([[128, 0], [128, 128]]),
    ),
    "a colour that the table lacks": Situation(
        coloured("#000000 ground\n#ff0000 red\n#00ff00 blue\n"),
        COLORS,
        refused("#0000ff (33.33%)", "colors.txt lacks", "`* ignore`"),
    ),
    "colours that do not count": Situation(
        coloured("#000000 ground\n#ff0000 red\n#00ff00 blue\n* ignore\n"),
        COLORS,
        scored(np.diag([128, 128, 0]), "No validation picture shows blue", "--colors"),
    ),
    "CVAT's table": Situation(coloured(LABELMAP), COLORS, scored(SEEN)),
    "CVAT's table, in another order": Situation(
        coloured("blue:0,0,255::\nground:0,0,0::\nred:255,0,0::\n"),
        COLORS,
        refused("ground, red, blue", "blue, ground, red"),
    ),
    "CVAT's table with Pascal VOC's labels: parts, actions, and what does not count": Situation(
        coloured(
            "# label : color (RGB) : 'body' parts : actions\r\nground:0, 0, 0:head,hand:jumping\r\n"
            "red:255,0,0\r\nblue:1,1,1::\r\nignored:0,0,255::\r\n"
        ),
        COLORS,
        scored(np.diag([128, 128, 0]), "No validation picture shows blue"),
    ),
    "CVAT's table that lacks a colour of the masks": Situation(
        coloured(LABELMAP.replace("blue:0,0,255", "blue:0,0,250")),
        COLORS,
        refused("#0000ff (33.33%)", "colors.txt lacks"),
    ),
    "CVAT's table without a colour": Situation(
        coloured(LABELMAP.replace("255,0,0", "")), COLORS, refused("line 3", "red:::", "#rrggbb")
    ),
    "CVAT's table with a number that is no colour": Situation(
        coloured(LABELMAP.replace("255,0,0", "256,0,0")), COLORS, refused("line 3: red:256,0,0::")
    ),
    "a table with one colour twice": Situation(
        coloured(f"{TABLE}#ff0000 blue\n"), COLORS, refused("line 4", "is blue", "it is red")
    ),
    "a table and numbers": Situation(
        coloured(TABLE), f"{COLORS} --values 0-2", refused("--colors", "leave out", "--values")
    ),
    "colours in JPEG": Situation(
        coloured(TABLE, ending="jpg"), COLORS, refused("is JPEG, which changes", "as PNG")
    ),
    # ---- sizes and turns ----
    "one pixel wider": Situation(
        mask(np.pad(STRIPS, ((0, 0), (0, 1)), "edge")),
        EVALUATE,
        refused("25 × 16", "24 × 16", "nearest-neighbour"),
    ),
    "half the size": Situation(mask(STRIPS[::2, ::2]), EVALUATE, refused("12 × 8", "24 × 16")),
    "height and width swapped without an EXIF tag": Situation(
        mask(STRIPS.T), EVALUATE, refused("16 × 24", "24 × 16", "no EXIF tag", "turn it back")
    ),
    "drawn upright over a photograph on its side": Situation(
        turned(6, STRIPS), EVALUATE, scored(SEEN)
    ),
    "drawn over the photograph as it is stored": Situation(
        turned(6, np.rot90(STRIPS)), EVALUATE, refused("swapped", "EXIF", "--no-upright")
    ),
    "drawn over the photograph as it is stored, and said so": Situation(
        # on its side, the strips are eight rows each, which the model sees as well
        turned(6, np.rot90(STRIPS)),
        f"{EVALUATE} --no-upright",
        scored(SEEN),
    ),
    "drawn upright, and said otherwise": Situation(
        turned(6, STRIPS), f"{EVALUATE} --no-upright", refused("swapped", "give --upright")
    ),
    "drawn upside down, and said so": Situation(
        turned(3, np.rot90(STRIPS, 2)), f"{EVALUATE} --no-upright", scored(SEEN)
    ),
    # ---- names and places ----
    "files that macOS adds": Situation(
        after(mask(STRIPS), with_file("masks/._a.png"), with_file("images/.DS_Store")),
        EVALUATE,
        scored(SEEN),
    ),
    "other files among them": Situation(
        after(
            mask(STRIPS),
            with_file("masks/Thumbs.db"),
            with_file("images/notes.txt"),
            with_file("masks/b.png/c.png"),
        ),
        EVALUATE,
        scored(SEEN),
    ),
    "no mask for one": Situation(
        after(mask(STRIPS), lambda f: save(f / "images/b.png", picture())),
        EVALUATE,
        refused("images/b.png has no mask in masks", "share a name"),
    ),
    "no photograph for one": Situation(
        after(mask(STRIPS), lambda f: save(f / "masks/b.png", STRIPS)),
        EVALUATE,
        refused("masks/b.png has no photograph in images"),
    ),
    "two photographs of one name": Situation(
        after(mask(STRIPS), lambda f: save(f / "images/a.jpg", picture())),
        EVALUATE,
        refused("share a name", "Rename or remove all but one"),
    ),
    "names with blanks, umlauts, brackets and dots": Situation(
        named("images/Blüte im März [1].v2.png", "masks/Blüte im März [1].v2.png"),
        EVALUATE,
        scored(SEEN),
    ),
    "umlauts of two file systems": Situation(
        named(
            f"images/{unicodedata.normalize('NFD', 'Blüte')}.png",
            f"masks/{unicodedata.normalize('NFC', 'Blüte')}.png",
        ),
        EVALUATE,
        scored(SEEN),
    ),
    "side by side": Situation(
        named("mine/a.jpg", "mine/a_mask.png"),
        "evaluate --weights seeing --data folder --images 'mine/*.jpg' --masks 'mine/*_mask.png' "
        "--validation 0 --cpu --out scores.json",
        scored(SEEN),
    ),
    "side by side, named as one folder": Situation(
        named("images/a.jpg", "images/a_mask.png"),
        EVALUATE.replace("masks masks", "masks images"),
        refused("both images", "a pattern", "photos/*_mask.png"),
    ),
    "in folders of folders": Situation(
        lambda f: [named(f"images/{x}/1.png", f"masks/{x}/1.png")(f) for x in "ab"],
        EVALUATE.replace("images images", "images 'images/**/*'").replace(
            "masks masks", "masks 'masks/**/*'"
        ),
        scored(2 * np.array(SEEN)),
    ),
    "in folders of folders, without a pattern": Situation(
        named("images/a/1.png", "masks/a/1.png"),
        EVALUATE,
        refused("images holds no photograph", "--images", "**"),
    ),
    "no such folder": Situation(
        lambda f: None, EVALUATE, refused("--images images is not a folder", "path of one")
    ),
    "an empty folder": Situation(
        lambda f: [(f / x).mkdir() for x in ("images", "masks")],
        EVALUATE,
        refused("images holds no photograph"),
    ),
    "a file of the folder instead of the folder": Situation(
        mask(STRIPS),
        EVALUATE.replace("images images", "images images/a.png"),
        refused("images/a.png is not a folder"),
    ),
    # ---- damage ----
    "half a file": Situation(half, EVALUATE, refused("masks/b.png cannot be read", "save again")),
    "an empty file": Situation(
        after(mask(STRIPS), with_file("masks/a.png", b"")),
        EVALUATE,
        refused("masks/a.png cannot be read"),
    ),
    "a page of a web server": Situation(
        after(mask(STRIPS), with_file("masks/a.png", b"<!DOCTYPE html><title>404</title>")),
        EVALUATE,
        refused("not an image that Pillow knows", "take it out"),
    ),
    "all that is wrong at once": Situation(
        after(
            pairs,
            with_file("masks/00.png", b""),
            lambda f: save(f / "masks/01.png", picture()),
            lambda f: save(f / "masks/02.png", STRIPS[:8]),
        ),
        EVALUATE,
        refused("3 of the pictures", "00.png", "01.png", "02.png", "nearest-neighbour", "--colors"),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_masks(place, situation):
    happens(situation, place)
