"""Photographs in the page: chosen, taken, pasted or dropped, upright and in their colours."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from playwright.sync_api import Browser, Page, expect

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.data.scenes import scene
from segformer_edu.page import Picture, page_html
from tests.conftest import randomize

pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy

PATIENCE = 120_000  # milliseconds
CONFIG = SegFormerConfig.named("nano", depths=(1, 1, 1, 1))
PHOTO = Image.fromarray(scene(1, (48, 64))[0])
OTHER = Image.fromarray(255 - np.asarray(PHOTO))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "segformer.html"
    model = randomize(SegFormer(CONFIG)).eval()
    path.write_text(page_html(model, [Picture("A scene", *scene(3, 32))]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(browser: Browser, path: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page from a file, allowed to use the clipboard, and what went wrong in it."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page, wrong
    context.close()


@pytest.fixture
def page(opened: tuple[Page, list[str]]) -> Iterator[Page]:
    """The page with its first picture again; whatever goes wrong in it fails the test."""
    page, wrong = opened
    page.evaluate("say(''), choose(emptyPicture())")
    shown(page, "An empty canvas")
    yield page
    found = wrong.copy()
    wrong.clear()
    assert not found


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def give(page: Page, name: str, content: bytes) -> None:
    """Choose a file; a browser knows what it is by its name or by its first bytes."""
    kind = "image/svg+xml" if name.endswith(".svg") else ""
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": content})


def shown(page: Page, name: str) -> np.ndarray:
    """Wait until the picture of this name is shown and labelled.

    Shape: → `(H, W, 3)` uint8.
    """
    page.wait_for_function("(name) => state.picture.name === name && answer", arg=name)
    pixels = page.evaluate("Array.from(state.picture.pixels)")
    height, width = page.evaluate("[state.picture.height, state.picture.width]")
    assert page.evaluate("answer.labels.length") == height * width
    return np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]


def told(page: Page, sentence: str) -> None:
    expect(page.get_by_role("alert")).to_have_text(re.compile(re.escape(sentence)))


def far(pixels: np.ndarray, image: Image.Image) -> float:
    """How far the colours are from those of an image, of 0 … 255, on average."""
    expected = np.asarray(image.convert("RGB"), float)
    assert pixels.shape == expected.shape
    return float(np.abs(pixels - expected).mean())


def photo(kind: str, image: Image.Image = PHOTO, **options: Any) -> tuple[bytes, Image.Image]:
    """A file, and what Pillow reads in it, upright and on white."""
    content = saved(image, kind, **options)
    read = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGBA")
    return content, Image.alpha_composite(Image.new("RGBA", read.size, "white"), read)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def grey_of_16_bits() -> tuple[bytes, Image.Image]:
    grey = PHOTO.convert("L")
    return saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"), grey


def profile_with_red_and_green_swapped() -> tuple[bytes, Image.Image]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"????"), (b"gXYZ", b"rXYZ"), (b"????", b"gXYZ")):
        profile = profile.replace(old, new)
    red, green, blue = PHOTO.split()
    return saved(PHOTO, "PNG", icc_profile=profile), Image.merge("RGB", (green, red, blue))


QUALITY = {"quality": 95, "subsampling": 0}
PHOTOS = {
    **{f"exif {n}.jpg": photo("JPEG", exif=turned(n), **QUALITY) for n in range(1, 9)},
    "exif 6.png": photo("PNG", exif=turned(6)),
    "cmyk.jpg": photo("JPEG", PHOTO.convert("CMYK"), **QUALITY),
    "grey.jpg": photo("JPEG", PHOTO.convert("L"), **QUALITY),
    "progressive.jpg": photo("JPEG", progressive=True, **QUALITY),
    "16 bits.png": grey_of_16_bits(),
    "profile.png": profile_with_red_and_green_swapped(),
    "palette.png": photo("PNG", PHOTO.quantize(16), transparency=0),
    "animated.gif": photo("GIF", PHOTO.quantize(), save_all=True, append_images=[OTHER], loop=0),
    "animated.webp": photo("WEBP", lossless=True, save_all=True, append_images=[OTHER], loop=0),
    "photo.avif": photo("AVIF", quality=95),
    "photo.bmp": photo("BMP"),
    "photo.ico": photo("ICO", sizes=[(64, 48)]),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photograph_is_shown_upright_and_in_its_colours(page: Page, name: str) -> None:
    content, expected = PHOTOS[name]
    give(page, name, content)
    assert far(shown(page, name), expected) < 5


def test_a_large_photograph_is_made_smaller_by_means_of_all_its_pixels(page: Page) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000), np.uint8)
    give(page, "noise.png", saved(Image.fromarray(noise), "PNG"))
    pixels = shown(page, "noise.png")
    assert pixels.shape == (192, 256, 3)
    mean_of_each = noise[:1496].reshape(187, 8, 250, 8).mean((1, 3))
    assert pixels.std() < 1.5 * mean_of_each.std()  # a pixel alone has a spread of 74


def bomb(side: int) -> bytes:
    """A black square of one bit a pixel, some kilobytes however large it is."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    parts = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def cut(kind: str, **options: Any) -> bytes:
    content = saved(PHOTO.resize((640, 480)), kind, **options)
    return content[: len(content) // 2]


DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
HEIC = b"\0\0\0\x18ftypheic" + bytes(200)
NONE = "is no picture that this browser can read"
REFUSED = {
    "bomb.png": (bomb(15_000), "has 15000 × 15000 pixels. Give one of at most 120 million."),
    "larger bomb.png": (bomb(30_000), NONE),  # neither browser takes so many pixels
    "photo.HEIC": (HEIC, "is a HEIC picture"),
    "scan.tif": (saved(PHOTO, "TIFF"), "is a TIFF picture"),
    "drawing.svg": (DRAWING, "is a drawing (SVG)"),
    "text.jpg": (b"no picture at all", NONE),
    "empty.jpg": (b"", "is no picture: the file is empty."),
    "cut.jpg": (cut("JPEG"), NONE),
    "cut.png": (cut("PNG"), NONE),
    "cut.webp": (cut("WEBP"), NONE),
    "Grüße „aus“ <b>Köln</b> & 'so'.jpg": (b"?", NONE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shown_gets_a_sentence(page: Page, name: str) -> None:
    content, sentence = REFUSED[name]
    give(page, name, content)
    told(page, f"{name} {sentence}")
    assert page.evaluate("state.picture.name") == "An empty canvas"


def test_a_file_that_changes_before_it_is_read_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(saved(PHOTO, "PNG"))
    os.utime(photo, (10**9, 10**9))  # long before the change, which is seen by the second
    own = page.evaluate_handle("element('input', { type: 'file' })")
    own.as_element().set_input_files(photo)
    photo.write_bytes(saved(OTHER, "PNG") + b"more")
    own.evaluate("(input) => openFirst([...input.files])")
    told(page, "photo.png cannot be opened any more")


def test_a_name_may_be_anything(page: Page) -> None:
    name = "Grüße „aus“ <b>Köln</b> & 'so'.png"
    give(page, name, saved(PHOTO, "PNG"))
    assert far(shown(page, name), PHOTO) == 0


# The slow file is read at its own pace, but comes when it is let go.
SLOW = """() => {
    const read = readPhoto;
    const gate = new Promise((resolve) => (globalThis.letGo = resolve));
    globalThis.readPhoto = async (file, ...rest) => {
        const picture = await read(file, ...rest).catch((error) => error);
        if (file.name.startsWith("slow")) await gate;
        if (picture instanceof Error) throw picture;
        return picture;
    };
    globalThis.asBefore = () => void (globalThis.readPhoto = read);
}"""


@pytest.fixture
def slow(page: Page) -> Iterator[Page]:
    page.evaluate(SLOW)
    yield page
    page.evaluate("asBefore()")


@pytest.mark.parametrize("first", [saved(OTHER, "PNG"), b"no picture"])
def test_of_two_photographs_the_later_is_shown_however_slow_the_first(
    slow: Page, first: bytes
) -> None:
    give(slow, "slow.png", first)
    give(slow, "later.png", saved(PHOTO, "PNG"))
    shown(slow, "later.png")
    slow.evaluate("letGo()")
    slow.evaluate("new Promise((resolve) => setTimeout(resolve))")  # whatever waited has come
    assert far(shown(slow, "later.png"), PHOTO) == 0
    expect(slow.locator("#message")).to_be_empty()


def test_a_scene_that_is_chosen_later_stays(slow: Page) -> None:
    give(slow, "slow.png", saved(PHOTO, "PNG"))
    slow.get_by_label("A scene").click()
    shown(slow, "A scene")
    slow.evaluate("letGo()")
    slow.evaluate("new Promise((resolve) => setTimeout(resolve))")
    shown(slow, "A scene")


def test_a_slow_photograph_is_shown_where_nothing_else_was_asked_for(slow: Page) -> None:
    give(slow, "slow.png", saved(PHOTO, "PNG"))
    slow.evaluate("letGo()")
    assert far(shown(slow, "slow.png"), PHOTO) == 0


def test_the_same_file_may_be_chosen_twice(page: Page, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(saved(PHOTO, "PNG"))
    for _ in range(2):
        page.locator("#file").set_input_files(tmp_path / "photo.png")
        assert far(shown(page, "photo.png"), PHOTO) == 0
        assert page.locator("#file").input_value() == ""  # so that a browser tells of it again
        page.evaluate("choose(emptyPicture())")
        shown(page, "An empty canvas")


def test_a_photograph_may_be_chosen_while_the_model_runs(page: Page) -> None:
    page.get_by_label("A scene").click()
    give(page, "photo.png", saved(PHOTO, "PNG"))
    assert far(shown(page, "photo.png"), PHOTO) == 0


COPY = """async ([kind, content]) => {
    const blob = new Blob([Uint8Array.from(content)], { type: kind });
    await navigator.clipboard.write([new ClipboardItem({ [kind]: blob })]);
}"""


def paste(page: Page, kind: str, content: bytes) -> None:
    """Copy into the browser's own clipboard, and press Ctrl and V."""
    page.evaluate(COPY, [kind, list(content)])
    page.keyboard.press("ControlOrMeta+v")


def test_a_picture_is_pasted(page: Page) -> None:
    paste(page, "image/png", saved(PHOTO, "PNG"))
    assert far(shown(page, "image.png"), PHOTO) == 0


def test_pasted_text_gets_a_sentence(page: Page) -> None:
    paste(page, "text/plain", b"a word")
    told(page, "There is no picture in what you pasted.")


def drop(page: Page, *files: Path, **items: str) -> None:
    """Drop files, or text of some kinds, onto the page, as the system does."""
    data = {
        "items": [{"mimeType": f"text/{kind}", "data": text} for kind, text in items.items()],
        "files": [str(file) for file in files],
        "dragOperationsMask": 1,
    }
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    session.detach()


def test_a_picture_is_dropped(page: Page, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(saved(PHOTO, "PNG"))
    drop(page, tmp_path / "photo.png")
    assert far(shown(page, "photo.png"), PHOTO) == 0


def test_of_several_files_the_first_picture_is_shown(page: Page, tmp_path: Path) -> None:
    for name, content in {
        "a.txt": b"a word",
        "b.png": saved(PHOTO, "PNG"),
        "c.png": saved(OTHER, "PNG"),
    }.items():
        (tmp_path / name).write_bytes(content)
    drop(page, *sorted(tmp_path.iterdir()))
    assert far(shown(page, "b.png"), PHOTO) == 0
    told(page, "Of 3 files, b.png is shown.")


def test_a_dropped_folder_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    drop(page, tmp_path)
    told(page, "That is a folder.")


@pytest.mark.parametrize("items", [{"plain": "a word"}, {"uri-list": "https://a.test/x.png"}])
def test_dropped_text_gets_a_sentence_and_the_page_stays(page: Page, items: dict[str, str]) -> None:
    page.evaluate("void addEventListener('drop', (event) => (globalThis.dropped = event))")
    drop(page, **items)
    told(page, "There is no file in what you dropped.")
    assert page.evaluate("dropped.defaultPrevented")  # or a browser goes where a link leads


def test_a_phone_takes_a_photograph(browser: Browser, path: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTOS["exif 6.jpg"][0])
    size = {"width": 360, "height": 740}
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=size)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=PATIENCE)
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Camera").tap()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files(tmp_path / "photo.jpg")
    assert far(shown(page, "photo.jpg"), PHOTOS["exif 6.jpg"][1]) < 5
    context.close()


def test_there_is_no_camera_where_there_is_a_mouse(page: Page) -> None:
    expect(page.get_by_text("Camera")).to_be_hidden()


NOISE = """CanvasRenderingContext2D.prototype.getImageData = (x, y, width, height) =>
    new ImageData(crypto.getRandomValues(new Uint8ClampedArray(4 * width * height)), width);"""
FARBLED = """const read = CanvasRenderingContext2D.prototype.getImageData;
CanvasRenderingContext2D.prototype.getImageData = function (...place) {
    const image = read.apply(this, place);
    image.data[0] ^= 1;
    return image;
};"""


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("delete globalThis.DecompressionStream;", "This browser is too old"),  # until 2023
        (NOISE, "This browser gives a page noise"),  # Firefox that resists fingerprinting, and Tor
        (FARBLED, "A transformer of"),  # Brave: one bit, of which no label hangs
    ],
)
def test_the_page_says_why_it_cannot_begin(
    browser: Browser, path: Path, before: str, says: str
) -> None:
    page = browser.new_page()
    page.add_init_script(before)
    page.goto(path.as_uri())
    expect(page.locator("#lede")).to_contain_text(says, timeout=PATIENCE)
    page.close()
