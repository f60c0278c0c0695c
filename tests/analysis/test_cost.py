"""analysis.cost, against published numbers, torch's own counter, and the tensors of a real run."""

import subprocess
import sys
import weakref
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.cost import last_strips
from segformer_edu.strips import strips
from tests.published import published_decoder

# Every field differs from the published ones somewhere; sizes do not divide.
ODD = {
    "b0": (SegFormerConfig(), (512, 512)),
    "small image": (SegFormerConfig(), (65, 97)),
    "binary": (SegFormerConfig(num_classes=1, in_channels=1), (250, 130)),
    "two strips": (SegFormerConfig(), (224, 224)),
    "nano": (SegFormerConfig.named("nano"), (96, 96)),
    "wide decoder": (SegFormerConfig(decoder_dim=768, num_classes=19), (200, 300)),
    "three stages, no reduction": (
        SegFormerConfig(
            num_classes=1,
            embed_dims=(8, 16, 24),
            depths=(1, 2, 1),
            num_heads=(2, 4, 3),
            reduction_ratios=(1, 1, 1),
            mlp_ratios=(1, 1, 1),
            patch_sizes=(5, 3, 3),
            strides=(2, 1, 3),
            decoder_dim=40,
        ),
        (97, 65),
    ),
    "five stages, even patches": (
        SegFormerConfig(
            num_classes=300,
            embed_dims=(64, 16, 24, 8, 8),
            depths=(1, 2, 1, 1, 1),
            num_heads=(2, 4, 3, 1, 2),
            reduction_ratios=(2, 1, 1, 3, 1),
            mlp_ratios=(1, 2, 3, 4, 1),
            patch_sizes=(4, 3, 3, 3, 3),
            strides=(4, 2, 2, 1, 1),
            decoder_dim=128,
        ),
        (130, 95),
    ),
    "composed matrices take most": (SegFormerConfig(decoder_dim=768, num_classes=2), (32, 35)),
    "mix-ffn takes most": (SegFormerConfig(decoder_dim=8, num_classes=2), (90, 120)),
    "mix-ffn takes most, in three strips": (
        SegFormerConfig(
            num_classes=2,
            embed_dims=(16,),
            depths=(1,),
            num_heads=(2,),
            reduction_ratios=(8,),
            mlp_ratios=(4,),
            patch_sizes=(7,),
            strides=(4,),
            decoder_dim=4,
        ),
        (300, 300),
    ),
    "reduced attention takes most": (
        SegFormerConfig(
            num_classes=2,
            embed_dims=(16, 24),
            depths=(1, 1),
            num_heads=(2, 4),
            reduction_ratios=(2, 2),
            mlp_ratios=(1, 1),
            patch_sizes=(7, 3),
            strides=(4, 2),
            decoder_dim=4,
        ),
        (400, 500),
    ),
    "attention takes most": (
        SegFormerConfig(
            num_classes=2,
            embed_dims=(16, 24),
            depths=(1, 2),
            num_heads=(1, 2),
            reduction_ratios=(1, 1),
            mlp_ratios=(1, 1),
            patch_sizes=(7, 3),
            strides=(4, 2),
            decoder_dim=4,
        ),
        (125, 110),
    ),
    "one stage": (
        SegFormerConfig(
            embed_dims=(64,),
            depths=(1,),
            num_heads=(2,),
            reduction_ratios=(2,),
            mlp_ratios=(1,),
            patch_sizes=(4,),
            strides=(4,),
            decoder_dim=128,
        ),
        (130, 95),
    ),
}
odd = pytest.mark.parametrize(("config", "size"), ODD.values(), ids=ODD)


@pytest.mark.parametrize(
    ("name", "encoder", "total"),
    [
        ("b0", 3_319_392, 3_752_694),
        ("b1", 13_151_424, 13_715_798),
        ("b2", 24_196_288, 27_461_974),
        ("b3", 44_072_128, 47_337_814),
        ("b4", 60_842_688, 64_108_374),
        ("b5", 81_443_008, 84_708_694),
    ],
)
def test_the_published_variants_have_their_parameters(name, encoder, total):
    found = cost(SegFormerConfig.named(name), (512, 512))
    assert (found.encoder_parameters, found.parameters) == (encoder, total)


@pytest.mark.parametrize(
    ("name", "side", "total", "encoder", "decoder"),
    [
        ("b0", 512, 8.39, 3.20, 5.18),
        ("b1", 512, 15.88, 10.43, 5.44),
        ("b2", 512, 62.34, 20.24, 42.10),
        ("b3", 512, 78.96, 36.86, 42.10),
        ("b4", 512, 95.57, 53.47, 42.10),
        ("b5", 512, 111.51, None, 42.10),
        ("b5", 640, 183.14, None, None),
    ],
)
def test_the_published_variants_have_their_multiply_adds(name, side, total, encoder, decoder):
    found = cost(SegFormerConfig.named(name), (side, side))
    giga = [
        round(count / 1e9, 2)
        for count in (
            found.reference_multiply_adds,
            found.encoder_multiply_adds,
            found.decoder.reference_multiply_adds,
        )
    ]
    for expected, counted in zip((total, encoder, decoder), giga, strict=True):
        assert expected in (None, counted)


@pytest.mark.parametrize(
    ("name", "flops"), [("b0", 8.4), ("b1", 15.9), ("b2", 62.4), ("b3", 79.0), ("b4", 95.7)]
)
def test_the_flops_of_table_1_are_multiply_adds(name, flops):
    """Within the paper's rounding and its 0.2 % of norms and the like."""
    found = cost(SegFormerConfig.named(name), (512, 512))
    assert found.reference_multiply_adds / 1e9 == pytest.approx(flops, rel=2e-3)


@odd
def test_parameters_are_those_of_the_model(config, size):
    model, found = SegFormer(config), cost(config, size)
    assert [stage.parameters for stage in found.stages] == [
        number_of_parameters(stage) for stage in model.encoder.stages
    ]
    assert found.decoder.parameters == number_of_parameters(model.decoder)
    assert found.parameters == number_of_parameters(model)


@odd
def test_multiply_adds_are_what_torch_counts(config, size):
    model, found = SegFormer(config).eval(), cost(config, size)
    images = torch.randn(1, config.in_channels, *size)
    parts = {"patch_embedding": OF_PATCHES, "mix_ffn": OF_MIX_FFN, "attention": OF_ATTENTION}
    maps, counted = multiply_adds(model.encoder, images)
    for index, stage in enumerate(found.stages):
        for part, of in parts.items():
            in_blocks = "" if part == "patch_embedding" else "blocks."
            total = sum(
                count
                for name, count in counted.items()
                if name.startswith(f"MixTransformer.stages.{index}.{in_blocks}")
                and name.endswith(f".{part}")
            )
            assert total == sum(getattr(stage.multiply_adds_of, field) for field in of)
    assert counted["Global"] == found.encoder_multiply_adds
    assert multiply_adds(model.decoder, maps)[1]["Global"] == found.decoder.multiply_adds
    folded = model.folded().decoder
    assert multiply_adds(folded, maps)[1]["Global"] == found.decoder.folded_multiply_adds
    as_published = multiply_adds(lambda maps: published_decoder(model.decoder, maps), maps)[1]
    assert as_published["Global"] == found.decoder.reference_multiply_adds
    assert multiply_adds(model, images)[1]["Global"] == found.multiply_adds


OF_PATCHES = ("patch_embedding",)
OF_MIX_FFN = ("mix_ffn",)
OF_ATTENTION = ("projections", "reduction", "attention_matmuls")


def multiply_adds(module, x):
    """What the module returns, and torch's counts by module name; "Global" is the sum.

    The math kernel, because torch does not count the fused one; as an exported graph has it, where
    each map is made at once and not in strips that overlap. baddbmm, which only resizes, is left
    out.
    """
    exporting = mock.patch("torch.compiler.is_compiling", lambda: True)
    with exporting, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        answer = module(x)
    return answer, {
        name: sum(n for op, n in counts.items() if op is not torch.ops.aten.baddbmm) // 2
        for name, counts in counter.get_flop_counts().items()
    }


def test_the_split_of_attention_follows_from_its_shapes():
    """B0's second stage at 512×512, by hand: 64×64 tokens, 16×16 keys, 64 channels, 2 blocks."""
    stage = cost(SegFormerConfig(), (512, 512)).stages[1]
    assert stage.size == (64, 64) and stage.tokens == 4096
    assert stage.key_size == (16, 16) and stage.keys == 256
    assert stage.attention_entries_per_block == 2 * 4096 * 256  # two heads
    assert stage.attention_entries == 2 * stage.attention_entries_per_block
    assert stage.multiply_adds_of.projections == 2 * (2 * 4096 + 2 * 256) * 64 * 64
    assert stage.multiply_adds_of.reduction == 2 * 256 * (4 * 4 * 64) * 64
    assert stage.multiply_adds_of.attention_matmuls == 2 * (2 * 4096 * 256 * 64)


@odd
def test_tokens_and_keys_are_those_of_the_maps(config, size):
    model, found = SegFormer(config).eval(), cost(config, size)
    with torch.no_grad():
        maps = model.encoder(torch.randn(1, config.in_channels, *size))
        for stage, part, x in zip(found.stages, model.encoder.stages, maps, strict=True):
            weights = part.blocks[0].attention.weights(x.permute(0, 2, 3, 1))
            assert stage.size == x.shape[2:] and stage.key_size == weights.shape[-2:]
            assert stage.attention_entries_per_block == weights.numel()
            assert stage.attention_entries == weights.numel() * len(part.blocks)


@pytest.mark.parametrize("tokens", [31, 25, 17, 32])
def test_tokens_past_the_last_whole_window_are_seen_by_no_key(tokens):
    stage = cost(SegFormerConfig(), (4 * tokens, 4 * tokens)).stages[0]
    assert stage.size == (tokens, tokens)
    assert stage.share_of_tokens_seen == pytest.approx((tokens // 8 * 8 / tokens) ** 2)


def test_every_stage_sees_the_same_keys_at_512():
    assert [stage.keys for stage in cost(SegFormerConfig(), (512, 512)).stages] == [256] * 4


@odd
def test_peak_activation_bytes_are_what_the_live_tensors_of_a_run_take(config, size):
    model = SegFormer(config).eval()
    images = torch.randn(1, config.in_channels, *size)
    with torch.no_grad(), LiveTensors(images, *model.parameters(), *model.buffers()) as live:
        logits = model(images)
    assert live.bytes == logits.nbytes  # the tracker has seen all the others go
    assert cost(config, size).peak_activation_bytes == pytest.approx(live.peak, rel=0.05)


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all live tensors, except those that were there before."""

    def __init__(self, *known):
        super().__init__()
        self.known = {x.untyped_storage()._cdata for x in known}
        self.alive = {}
        self.peak = 0

    @property
    def bytes(self):
        return sum(self.alive.values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        answer = function(*args, **(kwargs or {}))
        for x in tree_leaves(answer):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                address = storage._cdata
                if address not in self.known and address not in self.alive:
                    self.alive[address] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, address)
        self.peak = max(self.peak, self.bytes)
        return answer


def test_reference_order_costs_more_and_one_config_is_not_another():
    small, large = (cost(SegFormerConfig.named(name), (512, 512)) for name in ("b0", "b2"))
    for found in (small, large):
        assert found.multiply_adds < found.reference_multiply_adds
        assert found.decoder.folded_multiply_adds < found.decoder.multiply_adds
    assert small.peak_activation_bytes < large.peak_activation_bytes


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (5, 9000), (37, 53), (512, 512), (2048, 3)])
def test_the_last_strips_are_the_last_of_all(size):
    assert last_strips(size) == list(strips(size, torch.empty(1)))[-2:]


def test_an_image_as_large_as_a_country_costs_no_memory():
    bill = cost(SegFormerConfig(), (np.int64(4 * 10**9), 4 * 10**9))
    assert bill.stages[0].tokens == 10**18
    assert bill.peak_activation_bytes > 4 * 32 * 10**18


def test_it_is_arithmetic_and_makes_no_tensor():
    with LiveTensors() as live:
        cost(SegFormerConfig(), (512, 512))
        assert live.peak == 0
        torch.empty(1)
        assert live.peak == 4


@pytest.mark.parametrize("config", [SegFormerConfig(), SegFormerConfig.named("nano")])
def test_it_refuses_the_sizes_that_the_model_refuses(config):
    smallest = config.min_image_size
    model = SegFormer(config).eval()
    for size in [(smallest, smallest), (smallest, 64)]:
        cost(config, size), model(torch.randn(1, 3, *size))
    for size in [(smallest - 1, 64), (64, smallest - 1)]:
        with pytest.raises(ValueError, match=f"at least {smallest}"):
            cost(config, size)
        with pytest.raises(ValueError, match=f"at least {smallest}"):
            model(torch.randn(1, 3, *size))


@pytest.mark.parametrize(
    "size",
    [512, (512,), (512, 512, 512), (512.0, 512), (512, True), (-512, 512), "512", None, (0, 0)],
)
def test_it_refuses_anything_but_a_size(size):
    with pytest.raises(ValueError, match="size = "):
        cost(SegFormerConfig(), size)


@pytest.mark.parametrize("config", ["b0", None, {"num_classes": 3}, SegFormer])
def test_it_refuses_anything_but_a_config(config):
    with pytest.raises(ValueError, match="SegFormerConfig.named"):
        cost(config, (512, 512))


def test_nothing_here_draws():
    code = "import sys, segformer_edu.analysis; print({'matplotlib', 'PIL'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert run.stdout.strip() == "set()"


def number_of_parameters(module):
    return sum(x.numel() for x in module.parameters())
