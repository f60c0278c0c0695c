"""What a page holds is what went in, and nothing of it depends on when it was built."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.checkpoints.files import SHIPPED
from segformer_edu.data.photos import normalize
from segformer_edu.page import Picture, drawn_scenes, page_html, reductions_of
from segformer_edu.page.build import ENGINE, HERE, gzipped, half_bits, packed, text_of


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


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


def test_the_shipped_page_has_room_for_its_interface_under_three_megabytes():
    nano, reductions = SegFormer.from_pretrained("nano"), reductions_of(SHIPPED / "nano")
    scenes = drawn_scenes()
    page = page_html(nano, scenes, reductions)
    assert len(page.encode()) < 3_000_000
    found = data_of(page)
    names = [name for name, _ in found["model"]["tensors"]]
    assert "encoder.stages.0.blocks.1.attention.reduce.8.projection.weight" in names
    assert found["model"]["config"]["reduction_ratios"] == [4, 2, 1, 1]
    assert found["classes"][0] == "sky" and len(found["pictures"]) == 24
    for ours, scene in zip(found["pictures"], scenes, strict=True):
        labels = zlib.decompress(base64.b64decode(ours["labels"]), 31)
        assert labels == scene.labels.tobytes()
        file = base64.b64decode(ours["image"].removeprefix("data:image/webp;base64,"))
        shown = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), float)
        assert np.abs(shown - scene.image).mean() < 12  # of 255


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
    page = page_html(model, title="<b>@data & co")
    assert data_of(page)["classes"] == list(names)
    assert page.count("</script>") == 4 and "<title>&lt;b&gt;@data &amp; co</title>" in page
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
