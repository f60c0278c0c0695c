"""Lesson 06: its stage agrees with the package's, and what it says of the pyramid holds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.hierarchy import NETWORKS, SEEDS
from segformer_edu import (
    EncoderBlock,
    EncoderStage,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    drop_rates,
)
from segformer_edu.analysis import cost
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, Scenes, scene
from segformer_edu.training import confusion_matrix, scores
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/06_encoder.py"
B0 = SegFormerConfig.named("b0")


@pytest.fixture(scope="module")
def lesson():
    names = {"torch": torch, "nn": nn, "F": F, "cost": cost, "SegFormerConfig": SegFormerConfig}
    names |= {"EncoderBlock": EncoderBlock, "MixTransformer": MixTransformer, "CLASSES": CLASSES}
    names |= {"OverlapPatchEmbedding": OverlapPatchEmbedding, "LayerNorm": nn.InstanceNorm2d}
    names["budget"] = cost(B0, (512, 512)).encoder_multiply_adds
    return written_out(SOURCE, **names)


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_the_earlier_stage_gives_the_packages_answers(lesson, randomized, small_config, stage):
    config = small_config
    c_in = (3, *config.embed_dims)[stage]
    numbers = (config.embed_dims, config.patch_sizes, config.strides, config.depths)
    more = (config.num_heads, config.reduction_ratios)
    settings = (values[stage] for values in numbers + more)
    early = randomized(lesson["SimpleStage"](c_in, *settings)).eval()
    final = EncoderStage(config, stage).eval()
    final.load_state_dict(early.state_dict())
    x = torch.randn(2, c_in, 40, 33)
    torch.testing.assert_close(early(x), final(x))


def test_a_grid_gives_back_what_is_larger_than_its_tokens(lesson):
    """By hand: two halves come back from any grid; a line of one pixel from none."""
    halves = np.zeros((32, 32), dtype=np.int64)
    halves[:, 16:] = 3
    line = np.zeros((32, 32), dtype=np.int64)
    line[:, 5] = 7
    for stride in (4, 8, 16):
        assert np.array_equal(lesson["through_a_grid"](halves, stride), halves)
        assert not lesson["through_a_grid"](line, stride).any()


def test_a_coarser_grid_loses_more_and_poles_first(lesson):
    scenes = Scenes(12, 128, seed=6)
    labels = [torch.as_tensor(scenes.picture(index)[1]).long() for index in range(12)]
    found = []
    for stride in (4, 8, 16, 32):
        table = sum(confusion_matrix(lesson["through_a_grid"](x, stride), x, 8) for x in labels)
        found.append(scores(table))
    means = [each.miou for each in found]
    assert means == sorted(means, reverse=True) and means[0] > 0.85 > 0.6 > means[3]
    road, pole = CLASSES.index("road"), CLASSES.index("pole")
    assert found[3].iou[road] > 0.65 > 0.3 > found[3].iou[pole]


def test_fitted_scores_bring_back_more_than_shares_and_still_lose_poles_first(lesson):
    """So shares are no bound on what a map of that size can say."""
    scenes = Scenes(6, 128, seed=1)  # other scenes than the lesson's
    labels = torch.stack([torch.as_tensor(scenes.picture(i)[1]).long() for i in range(6)])
    road, pole = CLASSES.index("road"), CLASSES.index("pole")
    fitted = []
    for stride in (4, 8, 16, 32):
        ways = lesson["through_a_grid"], lesson["fitted_through_a_grid"]
        back = [torch.stack([way(each, stride) for each in labels]) for way in ways]
        shares, fit = (scores(confusion_matrix(each, labels, 8)) for each in back)
        assert fit.miou > shares.miou + 0.02 and fit.iou[pole] > shares.iou[pole] + 0.05
        fitted.append(fit)
    assert [x.miou for x in fitted] == sorted((x.miou for x in fitted), reverse=True)
    lost = [[1 - x.iou[kind] for x in fitted] for kind in (road, pole)]
    assert all(of_poles > 2 * of_road for of_road, of_poles in zip(*lost, strict=True))
    assert lost[1][0] < 0.05


@pytest.mark.parametrize(
    ("seed", "count", "index"), [(6, 40, 3), *((606, 30, i) for i in range(6))]
)
def test_upside_down_stages_1_to_3_follow_the_content_and_stage_4_does_not(
    lesson, seed, count, index
):
    nano, street = SegFormer.from_pretrained("nano"), Scenes(count, 256, seed).picture(index)[0]
    with torch.no_grad():
        before, after = (nano.encoder(normalize(x)) for x in (street, street[::-1].copy()))
    by_content = [lesson["alike"](x[0], y[0].flip(1)) for x, y in zip(before, after, strict=True)]
    by_place = [lesson["alike"](x[0], y[0]) for x, y in zip(before, after, strict=True)]
    assert by_content == sorted(by_content, reverse=True)
    assert min(c - p for c, p in zip(by_content[:3], by_place, strict=False)) > 0.1
    assert by_content[3] < 0.1
    if seed == 6:  # the lesson's
        assert by_place[3] > 0.6


def test_at_1_32_most_scenes_have_lost_their_poles(lesson):
    scenes, pole = Scenes(20, 128, seed=6), CLASSES.index("pole")
    labels = [scenes.picture(index)[1] for index in range(20)]
    labels = [each for each in labels if (each == pole).any()]
    kept = [
        (lesson["through_a_grid"](each, 32).numpy() == pole) & (each == pole) for each in labels
    ]
    assert sum(not each.any() for each in kept) > len(labels) / 2
    assert max(each.sum() for each in kept) > sum(each.sum() for each in kept) / 2  # in one scene


def test_no_channel_is_paid_for_by_full_attention_at_a_quarter(lesson):
    one = cost(lesson["column"](4, 1, 1), (512, 512)).encoder_multiply_adds
    assert one > lesson["budget"]
    widths = {4: 27, 8: 71, 16: 158, 32: 323}
    for (stride, width), r in zip(widths.items(), (8, 4, 2, 1), strict=True):
        assert lesson["widest"](stride, r) == width
        stage = cost(lesson["column"](stride, r, width), (512, 512)).stages[0]
        assert (stage.tokens, stage.keys) == ((512 // stride) ** 2, 256)


def test_the_plain_block_is_torchs(lesson, randomized):
    block = randomized(EncoderBlock(16, 2, 1)).eval()
    x = torch.randn(2, 3, 5, 16)
    with torch.no_grad():
        before = block(x)
        theirs = lesson["torch_block"](block)
        torch.testing.assert_close(block(x).flatten(1, 2), theirs(x.flatten(1, 2)))
    assert not torch.allclose(before, block(x))  # the convolution did look at its neighbours


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


@pytest.mark.parametrize("name", ["b0", "b2"])
def test_parameters_by_hand_are_those_of_the_model(lesson, name):
    config = SegFormerConfig.named(name)
    stages = cost(config, (64, 64)).stages
    assert lesson["parameters_by_hand"](config) == [stage.parameters for stage in stages]


def test_the_parts_add_up_to_the_encoder(lesson):
    parts = lesson["parameters_by_part"](B0)
    assert sum(parts.values()) == pytest.approx(3.319392)


@pytest.mark.parametrize("name", ["b0", "b1", "b2", "b3", "b4", "b5"])
def test_mix_ffn_is_the_largest_part_of_the_encoder_and_the_decoder_larger_still(lesson, name):
    config = SegFormerConfig.named(name)
    parameters = lesson["parameters_by_part"](config)
    assert max(parameters, key=parameters.get) == "Mix-FFN"
    bill = cost(config, (512, 512))
    work = [sum(part) for part in zip(*(s.multiply_adds_of for s in bill.stages), strict=True)]
    assert max(work) == work[-1] < bill.decoder.reference_multiply_adds


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


def test_a_stage_takes_its_piece_of_one_list_of_rates():
    config = SegFormerConfig.named("b2", embed_dims=(8, 16, 40, 64))
    stages = MixTransformer(config).stages
    rates = [block.drop_path.rate for stage in stages for block in stage.blocks]
    assert rates == drop_rates(0.1, 16)
    assert stages[1].blocks[0].drop_path.rate == pytest.approx(0.02)


def test_with_the_bug_every_token_notices_and_with_layer_norm_nine(lesson):
    from functools import partial

    from segformer_edu import MixFFN

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


def test_near_a_border_is_within_two_pixels(lesson):
    labels = torch.zeros(1, 8, 12, dtype=torch.long)
    labels[:, :, 6:] = 1
    assert lesson["near_a_border"](labels)[0, 0].nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_the_reader_finds_a_linear_rule(lesson):
    """Where classes are a linear function of the tokens, ridge regression finds them."""
    labels = torch.zeros(2, 16, 16, dtype=torch.long)
    labels[:, :, 8:] = 5
    tokens = torch.randn(2, 4, 4, 6) * 0.01
    tokens[:, :, 2:, 0] += 1
    tokens = F.pad(tokens, (0, 1), value=1)
    assert torch.equal((tokens @ lesson["fit"](tokens, labels)).argmax(-1), labels[:, ::4, ::4])


def test_maps_together_are_read_better_than_any_alone_and_most_near_borders(lesson):
    """In each of the lesson's draws; nothing is said of stage 2 against 3 at borders."""
    readers = {f"stage {i + 1}": [i] for i in range(4)}
    readers |= {"1 to 3": [0, 1, 2], "all four": range(4)}
    lesson |= {
        "readers": readers,
        "nano": SegFormer.from_pretrained("nano"),
        "normalize": normalize,
    }
    lesson |= {"Scenes": Scenes}
    for seed in (606, 607, 608):
        with torch.no_grad():
            found = lesson["rightly_labelled"](seed)
        (far, near), best = found.pop("1 to 3"), found.pop("true shares")
        assert 0.5 < found.pop("all four")[0] - far < 4
        gains = far - max(x[0] for x in found.values()), near - max(x[1] for x in found.values())
        assert gains[1] > gains[0] > 0
        assert found["stage 3"][0] == max(x[0] for x in found.values())
        assert {*sorted(found, key=lambda name: found[name][1])[:2]} == {"stage 1", "stage 4"}
        assert all(best[place] > found["stage 4"][place] + 5 for place in (0, 1))


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
    assert NETWORKS["column at 1/4"].embed_dims == (18,)
