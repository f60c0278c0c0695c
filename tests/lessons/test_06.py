"""Lesson 06: its stage agrees with the package's, and what it says of the pyramid holds."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.hierarchy import NETWORKS, SEEDS
from segformer_edu import (
    EncoderBlock,
    MixFFN,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    drop_rates,
)
from segformer_edu.analysis import cost
from segformer_edu.analysis.columns import FINE_COLUMN, PYRAMID
from segformer_edu.analysis.cost import decoder_peak
from segformer_edu.analysis.grids import through_a_grid
from segformer_edu.analysis.parts import multiply_adds_by_part
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, Scenes, scene
from segformer_edu.training import confusion_matrix, scores
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/06_encoder.py"


@pytest.fixture(scope="module")
def lesson():
    names = {"torch": torch, "nn": nn, "F": F, "cost": cost, "SegFormerConfig": SegFormerConfig}
    names |= {"EncoderBlock": EncoderBlock, "MixTransformer": MixTransformer, "CLASSES": CLASSES}
    names |= {"OverlapPatchEmbedding": OverlapPatchEmbedding, "LayerNorm": nn.InstanceNorm2d}
    return written_out(SOURCE, **names)


def test_the_lessons_encoder_gives_the_packages_maps(lesson, randomized, small_config):
    early = randomized(lesson["SimpleEncoder"](small_config)).eval()
    final = MixTransformer(small_config).eval()
    final.load_state_dict(early.state_dict())
    x = torch.randn(2, 3, 40, 33)
    torch.testing.assert_close(early(x), final(x))


def test_a_coarser_grid_loses_more_and_poles_first():
    scenes = Scenes(12, 128, seed=6)
    labels = [torch.as_tensor(scenes.picture(index)[1]).long() for index in range(12)]
    found = []
    for stride in (4, 8, 16, 32):
        table = sum(confusion_matrix(through_a_grid(x, stride), x, 8) for x in labels)
        found.append(scores(table))
    means = [each.miou for each in found]
    assert means == sorted(means, reverse=True) and means[0] > 0.85 > 0.6 > means[3]
    road, pole = CLASSES.index("road"), CLASSES.index("pole")
    assert found[3].iou[road] > 0.65 > 0.3 > found[3].iou[pole]


def test_x_grows_in_every_stage_and_the_norm_brings_it_back():
    x = normalize(scene(6, 256, index=3)[0])
    with torch.no_grad():
        for stage in SegFormer.from_pretrained("nano").encoder.stages:
            begun = x = stage.patch_embedding(x)
            for block in stage.blocks:
                x = block(x)
            assert x.std() > 1.5 * begun.std()
            x = stage.norm(x).permute(0, 3, 1, 2)
            assert 0.4 < x.std() < 1.6
    assert x.shape[1] == 128


def test_with_fresh_weights_x_hardly_grows():
    torch.manual_seed(0)
    x = normalize(scene(6, 256, index=3)[0])
    with torch.no_grad():
        for stage in MixTransformer(SegFormerConfig.named("b0")).eval().stages:
            begun = ended = stage.patch_embedding(x)
            for block in stage.blocks:
                ended = block(ended)
            assert 0.95 < ended.std() / begun.std() < 1.05
            x = stage(x)


@pytest.mark.parametrize("classes, size", [(150, "b0"), (150, "b1"), (150, "b5"), (19, "b1")])
def test_the_decoder_is_the_longest_part_for_150_classes_and_not_for_19(classes, size):
    work = multiply_adds_by_part(SegFormerConfig.named(size, num_classes=classes), 512)
    assert (max(work, key=work.get) == "decoder") is (classes == 150)


@pytest.mark.parametrize("name", ["b0", "b2"])
def test_parameters_by_hand_are_those_of_the_model(lesson, name):
    config = SegFormerConfig.named(name)
    stages = cost(config, (64, 64)).stages
    assert lesson["parameters_by_hand"](config) == [stage.parameters for stage in stages]


def test_the_imagenet_column_has_an_expansion_of_8_and_the_codes_depths(lesson):
    printed = {"b0": 3.7, "b1": 14.0, "b2": 25.4, "b3": 45.2, "b4": 62.6}
    wide = {"mlp_ratios": (8, 8, 4, 4)}
    for name, column in printed.items():
        code = SegFormerConfig.named(name)
        assert round(lesson["millions"](code.replace(**wide)), 1) == column
        assert round(lesson["millions"](code), 1) != column
    assert round(lesson["millions"](SegFormerConfig.named("b5")), 1) == 82.0
    for name, depths in {"b2": (3, 3, 6, 3), "b3": (3, 3, 18, 3)}.items():
        table_6 = SegFormerConfig.named(name, depths=depths, **wide)
        assert round(lesson["millions"](table_6), 1) != printed[name]


def test_a_fifth_stage_is_one_more_entry_in_each_list():
    lists = {"embed_dims": (8, 8, 16, 16, 32), "depths": (1,) * 5, "num_heads": (1, 1, 2, 2, 4)}
    lists |= {"reduction_ratios": (4, 2, 1, 1, 1), "mlp_ratios": (4,) * 5}
    config = SegFormerConfig(**lists, patch_sizes=(7, 3, 3, 3, 3), strides=(4, 2, 2, 2, 2))
    with torch.no_grad():
        maps = MixTransformer(config).eval()(torch.randn(1, 3, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps][-1] == (32, 1, 1) and len(maps) == 5


def test_a_stage_takes_its_piece_of_one_list_of_rates():
    config = SegFormerConfig.named("b2", embed_dims=(8, 16, 40, 64))
    stages = MixTransformer(config).stages
    rates = [block.drop_path.rate for stage in stages for block in stage.blocks]
    assert rates == drop_rates(0.1, 16)
    assert stages[1].blocks[0].drop_path.rate == pytest.approx(0.02)


def test_channels_of_a_coarse_token_can_say_where_in_its_square_each_class_lies():
    labels = torch.as_tensor(Scenes(20, 128, seed=6).picture(3)[1]).long()
    ones = F.one_hot(labels, len(CLASSES)).permute(2, 0, 1)[None]
    tokens = F.pixel_unshuffle(ones, 32)
    assert tokens.shape[2:] == (4, 4)
    assert torch.equal(F.pixel_shuffle(tokens, 32)[0].argmax(dim=0), labels)


def test_one_linear_on_the_finest_grid_makes_the_decoder_dear():
    decoder = cost(SegFormerConfig.named("b0"), (512, 512)).decoder
    assert 0.8 * decoder.reference_multiply_adds < 1024 * 256 * 128**2


def test_the_column_has_as_many_keys_as_the_first_three_stages_and_four_blocks_on_the_fine_map():
    pyramid, (fine,) = (cost(each, (1024, 1024)).stages for each in (PYRAMID, FINE_COLUMN))
    assert [stage.keys for stage in pyramid[:3]] == [fine.keys] * 3
    assert (fine.tokens, FINE_COLUMN.depths) == (pyramid[0].tokens, (4,))
    assert PYRAMID.depths == (1, 1, 1, 1)


def test_the_column_becomes_the_cheaper_one_if_its_keys_alone_are_reduced_more():
    pyramid, fewer = (
        cost(each, (1024, 1024)) for each in (PYRAMID, FINE_COLUMN.replace(reduction_ratios=(8,)))
    )
    assert fewer.multiply_adds < 0.7 * pyramid.multiply_adds
    assert 4 * fewer.stages[0].keys == pyramid.stages[0].keys


def test_the_memory_of_b2_and_b4_has_its_peak_in_the_decoder():
    for name in ("b2", "b4"):
        config = SegFormerConfig.named(name)
        bill = cost(config, (512, 512))
        maps = sum(s.tokens * c for s, c in zip(bill.stages, config.embed_dims, strict=True))
        assert bill.peak_activation_bytes == 4 * (maps + decoder_peak(config, bill.stages))


def test_without_the_products_of_attention_column_and_pyramid_cost_the_same_at_1024():
    bills = [cost(each, (1024, 1024)) for each in (PYRAMID, FINE_COLUMN)]
    products = [sum(s.multiply_adds_of.attention_matmuls for s in b.stages) for b in bills]
    pyramid, fine = (b.multiply_adds - p for b, p in zip(bills, products, strict=True))
    assert fine == pytest.approx(pyramid, rel=0.01)


def test_with_the_bug_every_token_notices_and_with_layer_norm_nine(lesson):
    torch.manual_seed(0)
    ffn = MixFFN(8, 32).double()
    norm = partial(nn.InstanceNorm2d, affine=True)
    wrong = lesson["PreNorm"](8, lambda x: ffn(x.permute(0, 2, 3, 1)), norm).double()
    x = torch.randn(1, 8, 12, 14, dtype=torch.double)
    touched = x.clone()
    touched[0, 3, 5, 6] += 1
    with torch.no_grad():
        all_of_them = wrong(touched) - wrong(x)
        few = [ffn(F.layer_norm(each.permute(0, 2, 3, 1), (8,))) for each in (touched, x)]
    assert (all_of_them.abs().amax(-1) > 1e-9).all()
    assert ((few[0] - few[1]).abs().amax(-1) > 1e-9).sum() == 9


def test_with_the_bug_mix_ffn_gives_a_crop_other_features_far_from_its_edges(lesson):
    torch.manual_seed(0)
    ffn = MixFFN(8, 32).double()
    norm = partial(nn.InstanceNorm2d, affine=True)
    wrong = lesson["PreNorm"](8, lambda x: ffn(x.permute(0, 2, 3, 1)), norm).double()

    def right(x):
        return ffn(F.layer_norm(x.permute(0, 2, 3, 1), (8,)))

    x = torch.randn(1, 8, 24, 24, dtype=torch.double)
    with torch.no_grad():
        for branch, same in ((right, True), (wrong, False)):
            whole, crop = branch(x)[:, 10:14, 10:14], branch(x[:, :, 4:20, 4:20])[:, 6:10, 6:10]
            assert torch.allclose(whole, crop) is same


@pytest.mark.parametrize("grey", [0.1, 0.9])
def test_with_the_bug_a_plain_map_becomes_the_learned_shift(lesson, grey):
    norm = partial(nn.InstanceNorm2d, affine=True)
    plain = (grey * torch.randn(1, 8, 1, 1, dtype=torch.double)).expand(1, 8, 6, 6)
    wrong = lesson["PreNorm"](8, nn.Identity(), norm).double()
    with torch.no_grad():
        shift = wrong.norm.bias.normal_()
        assert (wrong(plain) - shift[:, None, None]).abs().max() < 1e-9
    assert F.layer_norm(plain.permute(0, 2, 3, 1), (8,)).abs().max() > 0.5


def test_the_trial_says_what_the_lesson_says_of_it():
    stored = SOURCE.parents[2] / "experiments/hierarchy.json"
    results = json.loads(stored.read_text(encoding="utf-8"))
    by_name: dict[str, list[dict]] = {}
    for run in results["runs"]:
        by_name.setdefault(run["network"], []).append(run)
    assert [len(runs) for runs in by_name.values()] == [SEEDS] * 4
    pyramid, fine, eighth, coarse = by_name.values()
    for runs in zip(pyramid, fine, coarse, strict=True):  # seed by seed
        for score in (lambda run: run["miou"], lambda run: run["iou"]["pole"]):
            values = [score(run) for run in runs]
            assert values[1] > values[0] > values[2]
    pairs = zip(pyramid, eighth, strict=True)
    assert sum(of_eighth["iou"]["pole"] > of["iou"]["pole"] for of, of_eighth in pairs) == 2


def test_the_networks_of_the_trial_cost_no_more_than_the_pyramid():
    prices = {name: cost(config, (64, 64)).multiply_adds for name, config in NETWORKS.items()}
    assert all(0.9 < price / prices["pyramid"] <= 1 for price in prices.values())
    pyramid, *columns = NETWORKS.values()
    assert [(*each.embed_dims, *each.reduction_ratios) for each in columns] == [
        (18, 4),
        (40, 2),
        (78, 1),
    ]
    parameters = [cost(each, (64, 64)).parameters for each in (pyramid, columns[0])]
    assert 8 < parameters[0] / parameters[1] < 9
    stage = cost(columns[0], (64, 64)).stages[0]
    assert 0.08 < stage.multiply_adds_of.attention_matmuls / stage.multiply_adds < 0.12
