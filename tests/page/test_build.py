"""What a page holds is what went in, and nothing of it depends on when it was built."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES
from segformer_edu.page import Picture, build, drawn_scenes, page_html
from segformer_edu.page.build import ENGINE, HERE, gzipped, half_bits, packed, text_of
from tests.page.reading import data_of, shown

ROOT = Path(__file__).resolve().parents[2]


def unpacked(model: dict) -> dict[str, torch.Tensor]:
    """The tensors of a page, read by another way than load.js: two bytes at a time."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(model["gzip"])), np.uint8)
    high, low = planes.reshape(2, -1)
    numbers = np.stack([low, high], axis=1).tobytes()
    tensors, at = {}, 0
    for name, shape in model["tensors"]:
        count = int(np.prod(shape))
        values = np.frombuffer(numbers, "<f2", count, at).astype(np.float32)
        tensors[name], at = torch.from_numpy(values.reshape(shape)), at + 2 * count
    assert at == len(numbers)
    return tensors


def test_matrices_keep_eight_bits_of_their_fractions_and_vectors_all_ten(randomized):
    model = randomized(SegFormer(SegFormerConfig.named("nano")))
    found = unpacked(packed(model, {"more": torch.ones(2, 2)}))
    expected = {n: x for n, x in model.state_dict().items() if x.is_floating_point()}
    assert list(found) == [*expected, "more"]
    for name, tensor in expected.items():
        large = tensor.abs() > 1e-4  # smaller ones are rounded to steps of 2⁻²⁴, or 2⁻²²
        error = (found[name] - tensor)[large].abs() / tensor[large].abs()
        assert error.max() <= 2**-11 + (tensor.ndim > 1) * 2**-9  # half of the last bit, each time
        assert (found[name] - tensor).abs()[~large].sum() < 1e-4


def test_rounding_carries_into_the_exponent():
    almost_two = torch.tensor([[2 - 2**-10, -(2 - 2**-10), 0.0, 1.0]])
    assert half_bits(almost_two).view(np.float16).tolist() == [2, -2, 0, 1]


@torch.no_grad()
def test_the_nano_of_a_page_sees_what_the_nano_sees():
    """1 in 5,000 pixels differs over 24 scenes; a tenth of the bits more or less is 1 in 2,000."""
    nano = SegFormer.from_pretrained("nano")
    images = torch.cat([normalize(picture.image) for picture in drawn_scenes()[:6]])
    expected = nano.predict(images)
    nano.load_state_dict(unpacked(packed(nano, {})), strict=False)
    assert (nano.predict(images) == expected).float().mean() > 0.9995


@pytest.fixture(scope="module")
def shipped() -> str:
    """The page at the repository's root."""
    return (ROOT / "segformer.html").read_text(encoding="utf-8")


def test_the_shipped_page_has_at_most_three_megabytes_and_all_that_it_is_for(shipped):
    assert len(shipped.encode()) < 3_000_000
    found, scenes = data_of(shipped), drawn_scenes()
    names = [name for name, _ in found["model"]["tensors"]]
    assert "encoder.stages.0.blocks.1.attention.reduce.8.projection.weight" in names
    assert found["model"]["config"]["reduction_ratios"] == [4, 2, 1, 1]
    assert found["classes"][0] == "sky" and "nano" in found["note"] and len(scenes) == 24
    for ours, scene in zip(found["pictures"], scenes, strict=True):
        image, labels = shown(ours)
        assert (labels == scene.labels).mean() > 0.999  # another processor may round otherwise
        assert np.abs(image - scene.image).mean() < 12  # of 255


def test_the_shipped_page_is_what_the_command_makes(shipped, tmp_path):
    """But for the bytes of what is compressed, which differ between builds of zlib and libwebp."""
    path = tmp_path / "segformer.html"
    assert main(["export", "--weights", "nano", "--out", str(path)]) == 0
    pages = shipped, path.read_text(encoding="utf-8")
    outside = [re.sub(r'(?<=id="data">).*?(?=</script>)', "", page) for page in pages]
    assert outside[0] == outside[1], "run make figures"
    stored, made = map(data_of, pages)
    for one, other in zip(stored.pop("pictures"), made.pop("pictures"), strict=True):
        assert (one["name"], one["width"]) == (other["name"], other["width"])
        (image, labels), (image_now, labels_now) = shown(one), shown(other)
        assert np.abs(image - image_now).mean() < 2 and (labels == labels_now).mean() > 0.999
    bits = [gzip.decompress(base64.b64decode(each["model"].pop("gzip"))) for each in (stored, made)]
    assert bits[0] == bits[1] and stored == made, "run make figures"


def test_pictures_are_scaled_and_their_labels_never_mixed(small_model):
    labels = np.zeros((300, 600), np.uint8)
    labels[:, 300:] = 255
    large = np.where(labels == 0, 30, 200)[..., None].repeat(3, -1).astype(np.uint8)
    narrow = np.zeros((1, 4000, 3), np.uint8)
    page = page_html(small_model, [Picture("a", large, labels), Picture("b", narrow)])
    one, other = data_of(page)["pictures"]
    image, found = shown(one)
    assert image.shape == (128, 256, 3) and (other["height"], other["width"]) == (1, 256)
    assert np.array_equal(found, np.repeat([[0] * 128 + [255] * 128], 128, 0))
    assert np.abs(image[:, :120] - 30).mean() < 3 and np.abs(image[:, 136:] - 200).mean() < 3


def test_a_model_that_was_normalized_otherwise_says_so_to_the_page(small_config):
    config = small_config.replace(image_mean=(0.125, 0.5, 0.75), image_std=(0.25, 0.5, 2.0))
    found = data_of(page_html(SegFormer(config)))["model"]
    assert (found["mean"], found["std"]) == ([0.125, 0.5, 0.75], [0.25, 0.5, 2.0])


def test_without_pictures_only_a_model_of_street_scenes_gets_those(small_config):
    found = data_of(page_html(SegFormer(small_config)))
    assert found["pictures"] == [] and "nano" not in found["note"]
    streets = small_config.replace(num_classes=8, class_names=CLASSES)
    assert len(data_of(page_html(SegFormer(streets)))["pictures"]) == 24


def test_what_is_too_large_for_a_page_is_said_with_its_size(small_model, monkeypatch):
    monkeypatch.setattr(build, "MOST_BYTES", 50_000)
    with pytest.raises(ValueError, match=r"would have 0\.2 MB, 0\.1 of them for the model"):
        page_html(small_model)


def test_a_page_is_the_same_each_time(small_model):
    pictures = [Picture("one", np.zeros((16, 24, 3), np.uint8))]
    page = page_html(small_model, pictures)
    assert page == page_html(small_model, pictures)
    assert data_of(page)["pictures"][0]["labels"] is None


def test_what_is_compressed_carries_no_date():
    assert gzipped(b"abc")[4:8] == bytes(4) and gzip.decompress(gzipped(b"abc")) == b"abc"


def test_a_page_names_everything_but_itself_in_the_policy_and_lets_no_name_out(small_config):
    names = ("</script><script>alert(1)</script>", "@engine", "é", "b", "c")
    model = SegFormer(small_config.replace(class_names=names))
    page = page_html(model)
    assert data_of(page)["classes"] == list(names) and page.count("</script>") == 4
    assert "http:" not in page and "https:" not in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"in_channels": 4}, "in_channels = 4"), ({"num_classes": 257}, "num_classes = 257")],
)
def test_a_model_that_a_page_cannot_show_is_refused(small_config, changes, told):
    with pytest.raises(ValueError, match=told):
        page_html(SegFormer(small_config.replace(**changes)))


def test_a_folded_model_is_refused(small_model):
    with pytest.raises(ValueError, match="model is folded"):
        page_html(small_model.folded())


@pytest.mark.parametrize("name", [*ENGINE, "worker.js", "client.js"])
def test_the_engine_can_be_read_at_one_sitting(name):
    lines = text_of(name).splitlines()
    assert len(lines) <= 200 and max(map(len, lines)) <= 100


def test_every_file_of_the_page_is_used():
    used = "".join((HERE / name).read_text(encoding="utf-8") for name in ("build.py", "page.html"))
    for path in [*HERE.glob("*.js"), *HERE.glob("*.css"), *HERE.glob("*.html")]:
        assert f'"{path.name}"' in used
