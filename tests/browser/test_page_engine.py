"""The model in JavaScript gives the numbers of the package, in double precision, in a browser."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from dataclasses import asdict
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Error, Page
from torch import Tensor
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.analysis.branches import drawn_branches, without_branches
from segformer_edu.analysis.contributions import centred, contributions, fused_parts
from segformer_edu.analysis.cost import cost
from segformer_edu.analysis.position import pad_with
from segformer_edu.checkpoints.files import SHIPPED
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import scene
from segformer_edu.page.build import ENGINE, reductions_of, text_of
from tests.conftest import randomize

pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy

LOGITS, ATTENTION = 1e-4, 1e-5  # of the largest; of weights that sum to one
SEEDS = range(24)
EVERY = 3  # of whose pixels attention and shares are looked at
# What a test reads of a run; arrays travel as the bytes of float32.
LOOK = """([config, weights, [height, width, pixels], switches, every]) => {
    const floats = (text) => new Float32Array(bytesOf(text).buffer);
    const text = (numbers) => {
        const bytes = new Uint8Array(Float32Array.from(numbers).buffer);
        return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    };
    const named = Object.entries(weights).map(([name, { shape, data }]) =>
        [name, { shape, data: floats(data) }]);
    const image = newMap(height, width, floats(pixels).length / height / width, floats(pixels));
    const run = SegFormer(load(config, Object.fromEntries(named)), image, switches);
    const { labels, confidence } = labelsFromLogits(run.logits, height, width);
    const pixelsOf = ({ height, width }) =>
        Array.from({ length: height * width }, (_, i) => i).filter((i) => i % every === 0);
    const flat = (rows) => rows.flatMap((row) => Array.from(row));
    return {
        logits: text(run.logits.data),
        maps: run.maps.map(({ data }) => text(data)),
        labels: text(labels),
        confidence: text(confidence),
        attention: run.blocks.map((blocks, stage) => blocks.map(({ k }, block) =>
            k && text(pixelsOf(run.maps[stage]).flatMap((pixel) =>
                flat(attentionRows(run, stage, block, pixel)))))),
        shares: text(pixelsOf(run.logits).flatMap((pixel) => flat(contributions(run, pixel)))),
        multiplyAdds: run.multiplyAdds,
        milliseconds: run.milliseconds,
    };
}"""


@pytest.fixture(scope="module")
def engine(browser: Browser) -> Page:
    page = browser.new_page()
    page.add_script_tag(content=text_of(*ENGINE, "client.js"))
    return page


def odd_config(seed: int) -> tuple[SegFormerConfig, tuple[int, int]]:
    """Any number of stages and classes, any kernels and ratios; and a size that the model takes."""
    draw = Random(seed)
    stages = draw.randint(1, 5)

    def one_a_stage(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randint(low, high) for _ in range(stages))

    heads = one_a_stage(1, 4)
    config = SegFormerConfig(
        num_classes=draw.choice([1, 2, 3, 7, 19]),
        in_channels=draw.choice([1, 3, 3, 4]),
        embed_dims=tuple(h * d for h, d in zip(heads, one_a_stage(1, 7), strict=True)),
        depths=one_a_stage(1, 2),
        num_heads=heads,
        reduction_ratios=one_a_stage(1, 4),
        mlp_ratios=one_a_stage(1, 4),
        patch_sizes=one_a_stage(1, 7),
        strides=one_a_stage(1, 3),
        decoder_dim=draw.randint(1, 21),
        block_norm_eps=draw.choice([1e-6, 1e-5, 0.5]),
    )
    least = config.min_image_size
    return config, (least + draw.randint(0, 9), least + draw.randint(0, 9))


def wide_enough(config: SegFormerConfig, size: tuple[int, int]) -> bool:
    """Whether no map is narrower than the border that a circular padding gives it."""
    maps = [size, *(stage.size for stage in cost(config, size).stages)]
    borders = [patch // 2 for patch in config.patch_sizes]
    return all(min(of) >= border for of, border in zip(maps, [*borders, 1], strict=True))


def encoded(values: Tensor) -> str:
    return base64.b64encode(values.float().contiguous().numpy().tobytes()).decode()


def decoded(text: str, shape: tuple[int, ...]) -> Tensor:
    values = np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)
    return torch.from_numpy(values.astype(np.float64))


def look(engine: Page, config: SegFormerConfig, weights: Any, image: Tensor, switches: Any) -> Any:
    """What the engine says of an image `(1, C, H, W)`."""
    tensors = {
        name: {"shape": list(x.shape), "data": encoded(x)}
        for name, x in weights.items()
        if x.is_floating_point()
    }
    pixels = encoded(image[0].permute(1, 2, 0))
    asked = [asdict(config), tensors, [*image.shape[2:], pixels], switches, EVERY]
    return engine.evaluate(LOOK, json.loads(json.dumps(asked)))


def agree(ours: str, theirs: Tensor, tolerance: float = LOGITS) -> None:
    """A map that the engine gives, and the package's `(1, C, H, W)`, relative to the largest."""
    theirs = theirs[0].movedim(0, -1)  # (H, W, C)
    difference = (decoded(ours, theirs.shape) - theirs).abs().max()
    assert difference <= tolerance * theirs.abs().max().clamp(min=1e-3)


@torch.no_grad()
def compare(found: Any, model: SegFormer, image: Tensor) -> None:
    """Everything that the engine found, with what a model in double precision gives."""
    logits, size = model(image), image.shape[2:]
    agree(found["logits"], logits)
    for ours, theirs in zip(found["maps"], model.encoder(image), strict=True):
        agree(ours, theirs)
    compare_labels(found, logits, size)
    bill = cost(model.config, tuple(size))
    assert found["multiplyAdds"] <= bill.encoder_multiply_adds + bill.decoder.folded_multiply_adds


def compare_labels(found: Any, logits: Tensor, size: tuple[int, ...]) -> None:
    full = F.interpolate(logits, size, mode="bilinear")
    if full.shape[1] == 1:
        full = torch.cat([torch.zeros_like(full), full], dim=1)
    labels = decoded(found["labels"], size).long()
    chosen = full[0].gather(0, labels[None])[0]
    assert (full[0].amax(0) - chosen).max() <= LOGITS * full.abs().max()
    confidence = full[0].softmax(0).gather(0, labels[None])[0]
    assert (decoded(found["confidence"], size) - confidence).abs().max() <= LOGITS * (
        1 + full.abs().max()
    )


@torch.no_grad()
def compare_attention(found: Any, model: SegFormer, image: Tensor) -> None:
    for stage, blocks in zip(found["attention"], attention_maps(model, image), strict=True):
        for ours, theirs in zip(stage, blocks, strict=True):
            rows = theirs[0].flatten(1, 2).movedim(0, 1)[::EVERY]  # (queries, heads, h, w)
            assert (decoded(ours, rows.shape) - rows).abs().max() <= ATTENTION


@torch.no_grad()
def compare_shares(found: Any, model: SegFormer, image: Tensor) -> None:
    """At pixels where no channel is so close to zero that rounding decides whether it passes."""
    expected = contributions(model, image)[0].flatten(2).movedim(-1, 0)  # (H·W, summands, K)
    fused = centred(fused_parts(model.decoder, model.encoder(image))).sum(1)[0]  # (D, H, W)
    clear = (fused.abs().amin(0) > 1e-5 * fused.abs().max()).flatten()[::EVERY]
    expected = expected[::EVERY]
    difference = (decoded(found["shares"], expected.shape) - expected)[clear]
    assert clear.float().mean() > 0.5
    assert difference.abs().max() <= LOGITS * expected.abs().max()


def multiply_adds(model: SegFormer, image: Tensor) -> int:
    bill = cost(model.config, tuple(image.shape[2:]))
    return bill.encoder_multiply_adds + bill.decoder.folded_multiply_adds


@pytest.mark.parametrize("seed", SEEDS)
def test_odd_configurations(engine: Page, seed: int) -> None:
    config, size = odd_config(seed)
    model = randomize(SegFormer(config), seed).eval()
    image = torch.randn(1, config.in_channels, *size)
    found = look(engine, config, model.state_dict(), image, {})
    model, image = model.double(), image.double()
    compare(found, model, image)
    compare_attention(found, model, image)
    compare_shares(found, model, image)
    assert found["multiplyAdds"] == multiply_adds(model, image)
    assert len(found["milliseconds"]) == config.num_stages + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_branches_left_out_or_scaled(engine: Page, seed: int) -> None:
    config, size = odd_config(seed)
    model = randomize(SegFormer(config), seed).eval()
    image, draw = torch.randn(1, config.in_channels, *size), Random(seed)
    scales = [
        [
            {kind: draw.choice([0, 0, 1, 0.5, 2]) for kind in ("attention", "mix_ffn")}
            for _ in blocks
        ]
        for blocks in map(range, config.depths)
    ]
    found = look(engine, config, model.state_dict(), image, {"branches": scales})
    model, image = model.double(), image.double()
    with ExitStack() as hooks:
        for stage, factors in zip(model.encoder.stages, scales, strict=True):
            for block, of_block in zip(stage.blocks, factors, strict=True):
                for kind, factor in of_block.items():
                    part = block.get_submodule(kind)
                    scaled = lambda _, inputs, output, factor=factor: output * factor  # noqa: E731
                    hooks.enter_context(part.register_forward_hook(scaled))
        compare(found, model, image)
    left_out = sum(not of_block["attention"] for stage in scales for of_block in stage)
    assert sum(text is None for stage in found["attention"] for text in stage) == left_out


@pytest.mark.parametrize("seed", SEEDS)
def test_circular_padding(engine: Page, seed: int) -> None:
    config, size = odd_config(seed)
    while not wide_enough(config, size):
        size = size[0] + 1, size[1] + 1
    model = randomize(SegFormer(config), seed).eval()
    image = torch.randn(1, config.in_channels, *size)
    pad_with(model, "circular")
    found = look(engine, config, model.state_dict(), image, {"circular": True})
    compare(found, model.double(), image.double())


@pytest.mark.parametrize("size", [(96, 96), (65, 97)])
def test_the_nano_at_other_reduction_ratios(engine: Page, size: tuple[int, int]) -> None:
    image = normalize(scene(5, size)[0])
    own = SegFormer.from_pretrained("nano")
    weights = own.state_dict() | reductions_of(SHIPPED / "nano")
    for ratios in [(4, 2, 1, 1), (1, 1, 2, 2), (8, 8, 4, 1), (2, 4, 2, 2), (8, 2, 1, 1)]:
        found = look(engine, own.config, weights, image, {"ratios": ratios})
        config = own.config.replace(reduction_ratios=ratios)
        model = SegFormer.from_pretrained("nano", config=config).double()
        compare(found, model, image.double())
        compare_attention(found, model, image.double())
        assert found["multiplyAdds"] == multiply_adds(model, image)


def test_branches_missing_from_the_nano_as_drop_path_draws_them(engine: Page) -> None:
    image, nano = normalize(scene(6, 96)[0]), SegFormer.from_pretrained("nano")
    for seed in range(4):
        missing = drawn_branches(nano, 0.7, seed)
        scales = [
            [
                {
                    kind: float((stage, block, kind) not in missing)
                    for kind in ("attention", "mix_ffn")
                }
                for block in range(depth)
            ]
            for stage, depth in enumerate(nano.config.depths)
        ]
        found = look(engine, nano.config, nano.state_dict(), image, {"branches": scales})
        compare(found, without_branches(nano, missing).double(), image.double())


def test_the_engine_draws_branches_at_the_rates_of_the_package(engine: Page) -> None:
    """By the same random numbers: rate 0 for the first block, the given one for the last."""
    nano = SegFormer.from_pretrained("nano")
    for seed in range(6):
        numbers = torch.rand(16, generator=torch.Generator().manual_seed(seed)).tolist()
        drawn = engine.evaluate(
            "([depths, numbers]) => drawnBranches(depths, 0.7, () => numbers.shift())",
            [list(nano.config.depths), numbers],
        )
        left_out = {
            (stage, block, kind)
            for stage, blocks in enumerate(drawn)
            for block, scales in enumerate(blocks)
            for kind, scale in scales.items()
            if scale == 0
        }
        assert left_out == set(drawn_branches(nano, 0.7, seed))


def test_every_number_of_half_precision_is_read(engine: Page) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    bits = np.flatnonzero(np.isfinite(halves))
    found = engine.evaluate("bits => bits.map(fromHalf)", bits.tolist())
    assert np.array_equal(np.array(found), halves[bits].astype(float))


@pytest.mark.parametrize(
    ("shape", "switches", "told"),
    [
        ((1, 3, 28, 64), {}, "28 × 64 pixels: the model needs at least 29 a side"),
        ((1, 4, 64, 64), {}, "takes 3 channels, and this has 4"),
        ((1, 3, 64, 64), {"ratios": [8, 4, 1, 1]}, "Stage 2 has no reduction for r = 4, but for 2"),
        ((1, 3, 64, 64), {"ratios": [1, 2, 1, 1]}, "Stage 1 has no reduction for r = 1, but for 8"),
    ],
)
def test_what_the_model_cannot_take_gets_a_sentence(
    engine: Page, shape: tuple[int, ...], switches: dict[str, Any], told: str
) -> None:
    config = SegFormerConfig.named("nano", reduction_ratios=(8, 2, 1, 1))
    model = randomize(SegFormer(config)).eval()
    with pytest.raises(Error, match=told):
        look(engine, config, model.state_dict(), torch.zeros(shape), switches)
