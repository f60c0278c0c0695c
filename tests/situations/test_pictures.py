"""Photographs as people have them: labelled rightly whatever the file, or refused by name."""

import io
import warnings

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from tests.situations.making import (
    DARK,
    HALVES,
    SEEN,
    STRIPS,
    Situation,
    grey,
    happens,
    labelled,
    pair,
    picture,
    raw_png,
    refused,
    save,
    scored,
    shades,
    some_labelled,
)

SEGMENT = "segment {} --weights seeing --write labels --out out.png"
BRIGHT = "segment {} --weights bright --write labels --out out.png"
EVALUATE = (
    "evaluate --weights {} --data folder --images images --masks masks --validation 0 --cpu "
    "--out scores.json"
)
LEVELS = shades().astype(np.uint16) * 257


def photograph(name, array=None, mode=None, **options):
    """A file of the three strips, or of this array."""

    def make(folder):
        save(folder / name, picture() if array is None else array, mode, **options)

    return name, make


def stored(name, content):
    def make(folder):
        (folder / name).write_bytes(content)

    return name, make


def tiff(array, **options):
    def make(folder):
        with warnings.catch_warnings(action="ignore"):  # of bands that it guesses to be colours
            tifffile.imwrite(folder / "a.tif", array, **options)

    return "a.tif", make


def deep(maximum):
    """A PNG of red, green and blue with 16 bits each, of which this is the largest."""

    def make(folder):
        levels = (picture().astype(int) * maximum // 255).astype(">u2")
        raw_png(folder / "a.png", [row.tobytes() for row in levels], 24, 16, 16, 2)

    return "a.png", make


def turned(orientation, ending="jpg", **exif_of):
    """A file that its EXIF tag turns until it shows the strips."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }

    def make(folder):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(picture())
        if orientation in back:
            image = image.transpose(back[orientation])
        image.save(folder / f"a.{ending}", exif=exif, **BEST.get(ending, {}))

    return f"a.{ending}", make


def several_in_one(folder):
    """As telephones store a photograph with a depth map or a second view."""
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    first.save(folder / "a.jpg", format="MPO", save_all=True, append_images=[second], **JPEG)


def cut_off(folder):
    """The same without the second picture, which its header still promises."""
    several_in_one(folder)
    content = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(content[: content.rindex(b"\xff\xd8\xff")])


def heic(folder):
    image = Image.fromarray(np.kron(picture(), np.ones((8, 8, 1), np.uint8)))
    pillow_heif.from_pillow(image).save(folder / "a.heic", quality=100)


def without_colour_where_clear(folder):
    """Ground is transparent, whatever colour stands there."""
    alpha = np.where(HALVES > 0, 255, 0).astype(np.uint8)
    save(folder / "a.png", np.dstack([np.full((16, 24, 3), 0, np.uint8), 255 - alpha]))


def bands_of(array, ending="tif", **options):
    """A picture of four bands, the last of which is blue, and its mask."""

    def make(folder):
        (folder / "images").mkdir()
        if ending == "npy":
            np.save(folder / "images/a.npy", array)
        else:
            with warnings.catch_warnings(action="ignore"):
                tifffile.imwrite(folder / "images/a.tif", array, **options)
        save(folder / "masks/a.png", STRIPS)

    return make


def photographs(folder):
    """Two that are whole, and between them one that is cut short and one that is none."""
    for name in "ad":
        save(folder / f"photos/{name}.jpg", picture(), **JPEG)
    whole = (folder / "photos/a.jpg").read_bytes()
    (folder / "photos/b.jpg").write_bytes(whole[:300])
    (folder / "photos/c.jpg").write_bytes(b"<!DOCTYPE html>")


def large(folder):
    """512 × 768 pixels: more than two tiles of 128."""
    save(folder / "a.png", picture(np.kron(STRIPS, np.ones((32, 32), np.uint8))))


JPEG = {"quality": 100, "subsampling": 0}
BEST = {"jpg": JPEG, "webp": {"lossless": True}}
four = np.dstack([picture()[..., 0], np.zeros((16, 24, 2), np.uint8), picture()[..., 2]])
five = np.dstack([four, four[..., 0]])
gaps = four.astype(np.float32) / 255
gaps[:4, :6] = np.nan


def one(photo, outcome, command=SEGMENT):
    """What becomes of one photograph that is labelled."""
    name, make = photo
    return Situation(make, command.format(name), outcome)


RIGHT, BOTH = labelled("out.png"), labelled("out.png", labels=HALVES)

SITUATIONS = {
    # ---- kinds of files ----
    "PNG": one(photograph("a.png"), RIGHT),
    "JPEG": one(photograph("a.jpg", **JPEG), RIGHT),
    "JPEG called PNG": one(photograph("a.png", format="JPEG", **JPEG), RIGHT),
    "JPEG in CMYK, for print": one(photograph("a.jpg", mode="CMYK", **JPEG), RIGHT),
    "WebP": one(photograph("a.webp", lossless=True), RIGHT),
    "BMP": one(photograph("a.bmp"), RIGHT),
    "TIFF": one(photograph("a.tif", compression="tiff_lzw"), RIGHT),
    "TIFF in the colours of CIE": one(photograph("a.tif", mode="LAB"), RIGHT),
    "AVIF": one(photograph("a.avif", quality=100, subsampling="4:4:4"), RIGHT),
    "JPEG 2000": one(photograph("a.jp2"), RIGHT),
    "GIF": one(photograph("a.gif"), RIGHT),
    "a palette": one(photograph("a.png", mode="P"), RIGHT),
    "a palette, of which one colour is transparent": one(
        photograph("a.png", shades(), mode="P", transparency=DARK),
        labelled("out.png", labels=np.ones_like(HALVES)),
        BRIGHT,
    ),
    "transparency": one(
        ("a.png", without_colour_where_clear), labelled("out.png", labels=HALVES), BRIGHT
    ),
    "grey": one(photograph("a.png", shades()), BOTH, BRIGHT),
    "grey with transparency": one(photograph("a.png", shades(), mode="LA"), BOTH, BRIGHT),
    "grey of one bit": one(photograph("a.png", grey(), mode="1"), BOTH, BRIGHT),
    "HEIC": Situation(
        heic,
        SEGMENT.format("a.heic"),
        labelled("out.png", labels=np.kron(STRIPS, np.ones((8, 8), np.uint8))),
    ),
    "HEIC called JPEG": Situation(
        lambda f: [heic(f), (f / "a.heic").rename(f / "a.jpg")],
        SEGMENT.format("a.jpg"),
        labelled("out.png", labels=np.kron(STRIPS, np.ones((8, 8), np.uint8))),
    ),
    "two pictures in one JPEG, of which the second was cut off": one(("a.jpg", cut_off), RIGHT),
    "two pictures in one JPEG, as of telephones": one(("a.jpg", several_in_one), RIGHT),
    "several pages": one(
        tiff(np.stack([shades(), shades()]), photometric="minisblack"),
        refused("a.tif has 2 pages", "PNG"),
    ),
    # ---- depths ----
    "16 bits of grey": one(photograph("a.png", LEVELS), BOTH, BRIGHT),
    "16 bits of grey, TIFF of the other byte order": one(tiff(LEVELS, byteorder=">"), BOTH, BRIGHT),
    "16 bits of each colour": one(deep(65535), RIGHT),
    "12 bits in 16": one(
        tiff(LEVELS // 16), refused("uses the greys 0 … 4095 of 0 … 65535", "same factor", "bands")
    ),
    "hardly any of 16 bits of each colour": one(
        deep(1000), refused("a.png uses so little of its 16 bits", "same factor")
    ),
    "real numbers": one(
        tiff(shades() / np.float32(255)), refused("a.tif holds real numbers", "0 … 255", "bands")
    ),
    "32 bits": one(tiff(LEVELS.astype(np.int32)), refused("a.tif holds 32-bit", "0 … 255")),
    # ---- bands ----
    "four bands for a model of photographs": one(
        tiff(four, photometric="rgb", extrasamples=["unspecified"]),
        refused("a.tif has 4 bands", "photographs have 1 or 3", "bands"),
    ),
    "five bands, one after the other": one(
        tiff(np.moveaxis(five, 2, 0), planarconfig="separate", photometric="minisblack"),
        refused("a.tif cannot be read", "train --help: bands"),
    ),
    "four bands for a model of four": Situation(
        bands_of(four, photometric="minisblack"), EVALUATE.format("four"), scored(SEEN)
    ),
    "four bands, one after the other": Situation(
        bands_of(np.moveaxis(four, 2, 0), planarconfig="separate", photometric="minisblack"),
        EVALUATE.format("four"),
        scored(SEEN),
    ),
    "four bands of 16 bits": Situation(
        bands_of(four.astype(np.uint16) * 257), EVALUATE.format("four"), scored(SEEN)
    ),
    "four bands of real numbers, of NumPy": Situation(
        bands_of(four / np.float32(255), "npy"), EVALUATE.format("four"), scored(SEEN)
    ),
    "bands first, of NumPy": Situation(
        bands_of(np.moveaxis(four, 2, 0), "npy"),
        EVALUATE.format("four"),
        refused("4 × 16 × 24 numbers, and height × width × 4", "come last"),
    ),
    "five bands for a model of four": Situation(
        bands_of(five, photometric="minisblack", planarconfig="contig"),
        EVALUATE.format("four"),
        refused("16 × 24 × 5 numbers", "height × width × 4"),
    ),
    "pixels of which nothing is known": Situation(
        bands_of(gaps), EVALUATE.format("four"), refused("no data in 6.25%", "ignored")
    ),
    "photographs for a model of four bands": Situation(
        pair, EVALUATE.format("four"), refused("images/a.png is no file of bands", ".tif")
    ),
    "a photograph for a model of four bands": one(
        photograph("a.png"),
        refused("a.png is no file of bands", ".tif"),
        SEGMENT.replace("seeing", "four"),
    ),
    # ---- turns ----
    **{f"EXIF tag {orientation}": one(turned(orientation), RIGHT) for orientation in (2, 3, 6, 8)},
    "EXIF tag of a PNG": one(turned(6, "png"), RIGHT),
    "EXIF tag of a WebP": one(turned(8, "webp"), RIGHT),
    "an EXIF tag that means nothing": one(turned(77), RIGHT),
    "EXIF data that are damaged": one(
        photograph("a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff\x01", **JPEG), RIGHT
    ),
    # ---- damage ----
    "cut short": one(
        stored(
            "a.jpg",
            (lambda b: (Image.fromarray(picture()).save(b, "JPEG"), b.getvalue()[:400])[1])(
                io.BytesIO()
            ),
        ),
        refused("a.jpg cannot be read", "save again"),
    ),
    "empty": one(stored("a.jpg", b""), refused("a.jpg cannot be read", "take it out")),
    "a page of a web server": one(
        stored("a.jpg", b"<!DOCTYPE html>"), refused("not an image that Pillow knows")
    ),
    "a drawing of lines": one(
        stored("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        refused("a.svg cannot be read"),
    ),
    "a raw file of a camera": one(
        stored("a.dng", b"II*\0\x08\0\0\0\0\0"), refused("a.dng cannot be read", "PNG or a JPEG")
    ),
    "a header of a billion pixels": Situation(
        lambda f: raw_png(f / "a.png", [b""], 40000, 30000, 8, 2),
        SEGMENT.format("a.png"),
        refused("a.png is too large", "smaller"),
    ),
    "two of four are damaged": Situation(
        photographs,
        "segment photos --weights seeing --write labels --out found",
        some_labelled(["found/a.png", "found/d.png"], "2 of 4 pictures", "b.jpg", "c.jpg"),
    ),
    # ---- size and place ----
    "in tiles": Situation(
        large,
        SEGMENT.format("a.png") + " --tile 128",
        labelled("out.png", labels=np.kron(STRIPS, np.ones((32, 32), np.uint8))),
    ),
    "a list of files into a folder that is made": Situation(
        lambda f: [save(f / f"{x}.png", picture()) for x in "ab"],
        "segment a.png b.png --weights seeing --write labels --out new/found",
        labelled("new/found/a.png", "new/found/b.png"),
    ),
    "a pattern": Situation(
        lambda f: [save(f / f"p/{x}.png", picture()) for x in "ab"],
        "segment 'p/*.png' --weights seeing --write labels --out found",
        labelled("found/a.png", "found/b.png"),
    ),
    "blanks and umlauts": Situation(
        lambda f: save(f / "Blüte 1.png", picture()),
        "segment 'Blüte 1.png' --weights seeing --write labels --out 'grün 1.png'",
        labelled("grün 1.png"),
    ),
    "too small": one(
        photograph("a.png", picture()[:, :2]),
        refused("a.png has 2×16 pixels", "13 a side", "--fit"),
        SEGMENT.replace("seeing", "nano"),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_photographs(place, situation):
    happens(situation, place)
