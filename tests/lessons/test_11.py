"""Lesson 11: what it says of its tables is what they hold, and its effects are those of a 2×2."""

from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.claims
from experiments.claims.settings import LAID_ANEW
from experiments.claims.vit import FINE, ClassQueryViT
from segformer_edu import SegFormer
from segformer_edu.analysis import scaling
from segformer_edu.analysis.robustness import CORRUPTIONS, STRENGTHS
from segformer_edu.analysis.seeds import Table, interval
from segformer_edu.analysis.token_merging import Merging
from segformer_edu.data.scenes import CLASSES, Scenes
from tests.lessons.written import written_out

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(experiments.claims.__file__).parent
STARTS = ("pretrained", "from scratch")
ZEROS = ("", ", replicate")  # with the zeros at the border, and without
FOUR = ["overlapping, 3×3", "patches, 3×3", "overlapping, PE", "patches, PE"]


@pytest.fixture(scope="module")
def lesson():
    return written_out(
        ROOT / "notebooks/source/11_experiments.py", four=FOUR, np=np, torch=torch, CLASSES=CLASSES
    )


def table(name):
    return Table(HERE / f"{name}.csv")


def test_an_effect_is_the_slope_of_a_line_through_the_four_cells(lesson):
    chance = np.random.default_rng(0)
    cells = {arm: chance.random((3, 1)) for arm in FOUR}
    position, overlap = lesson["effects"]([cells[arm][:, 0] for arm in FOUR])
    design = np.array([[1, "3×3" in arm, "overlapping" in arm] for arm in FOUR], dtype=float)
    values = np.stack([cells[arm][:, 0] for arm in FOUR])
    fitted = np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose((position, overlap), fitted[1:])


def position(measure, pictures, amount, end=""):
    """What the convolution does in place of the embedding, averaged over overlap."""
    cells = [measure(arm + end, pictures, [amount])[:, 0] for arm in FOUR]
    conv, patch_conv, embedding, patch_embedding = cells
    return interval((conv - embedding + patch_conv - patch_embedding) / 2)


def test_the_convolution_keeps_more_just_above_the_training_size_and_less_far_above():
    kept = table("resolution").kept
    assert position(kept, "scene", 1.5).low > 0.03
    assert abs(position(kept, "scene", 2).mean) < 0.02
    for size in (3, 4):
        assert position(kept, "scene", size).high < -0.1
        for patches in ("overlapping", "patches"):
            conv, both, embedding, neither = (
                kept(f"{patches}, {what}", "scene", [size])[:, 0]
                for what in ("3×3", "3×3 + PE", "PE", "neither")
            )
            assert interval(conv - embedding).high < 0
            without = (embedding + neither - conv - both) / 2
            assert interval(without).low > 0  # averaged over the embedding
        assert interval(neither - both).low > 0.1  # of patches side by side, the last of the loop


def test_in_miou_itself_the_convolution_is_ahead_at_twice_the_size_and_behind_at_3_and_4():
    over = table("resolution").over
    assert position(over, "scene", 1).low > 0 and position(over, "scene", 2).low > 0
    for size in (3, 4):
        assert position(over, "scene", size).high < 0


def test_each_class_but_buildings_is_kept_less_with_the_convolution_at_four_times():
    resolution = table("resolution")
    for name in CLASSES:

        def kept(arm, kind, sizes, column=f"iou {name}"):
            plain = resolution.values(arm, column=column)[:, None]
            return resolution.over(arm, kind, sizes, column) / plain

        assert (position(kept, "scene", 4).high < 0) == (name != "building")


def test_at_half_the_size_all_lose_a_third_or_more():
    kept = table("resolution").kept
    assert max(kept(arm, "scene", [0.5]).mean() for arm in FOUR) < 0.67


def test_mosaics_hurt_the_embedding_and_tiles_all_nearly_alike():
    kept = table("resolution").kept
    for times in (2, 3, 4):
        assert position(kept, "mosaic", times).low > 0.1
        tiles = [kept(arm, "tiles", [times]).mean() for arm in FOUR]
        assert max(tiles) - min(tiles) < 0.06
    assert min(tiles) > 0.45 and max(tiles) < 0.5 and abs(position(kept, "tiles", 4).mean) < 0.02


def test_an_embedding_that_is_laid_anew_over_each_scene_of_a_mosaic_keeps_as_the_convolution_does():
    mosaics, kept = table("mosaics").kept, table("resolution").kept
    for patches in ("overlapping", "patches"):
        for times in (2, 3, 4):
            resized, anew = (
                mosaics(f"{patches}, PE", pictures, [times])[:, 0]
                for pictures in ("mosaic", LAID_ANEW)
            )
            assert interval(anew - resized).low > 0.06
            convolution = kept(f"{patches}, 3×3", "mosaic", [times])[:, 0]
            assert abs(anew.mean() - convolution.mean()) < 0.06


def test_with_overlapping_patches_a_model_with_neither_lies_between_and_is_told_from_none():
    kept = table("resolution").kept
    conv, embedding, neither = (
        kept(f"overlapping, {what}", "scene", [4])[:, 0] for what in ("3×3", "PE", "neither")
    )
    assert interval(embedding - conv).low > 0 and conv.mean() < neither.mean() < embedding.mean()
    assert not interval(neither - conv).shows and not interval(embedding - neither).shows


def test_most_of_what_the_convolution_brings_is_not_position():
    values = table("resolution").values
    without = values("patches, neither")
    gains = [
        interval(values(arm) - without)
        for arm in ("patches, 3×3", "patches, 3×3, replicate", "patches, PE")
    ]
    assert gains[1].low > 0.04 > gains[2].high and gains[1].mean > 0.9 * gains[0].mean
    for arm in ("patches, 3×3", "overlapping, PE"):
        assert not interval(values(arm + ", replicate") - values(arm)).shows
    gains = [
        interval(values(f"overlapping, 3×3{end}") - values("overlapping, neither")) for end in ZEROS
    ]
    assert 0.015 < gains[0].mean < 0.025 and gains[0].shows and not gains[1].shows


def test_without_zeros_the_convolution_trails_at_twice_the_size_and_overlap_shows_no_difference():
    kept = table("resolution").kept
    assert position(kept, "scene", 2, ", replicate").high < -0.05
    for size in (2, 3, 4):
        overlap = []
        for end in ZEROS:
            cells = [kept(arm + end, "scene", [size])[:, 0] for arm in FOUR]
            conv, patch_conv, embedding, patch_embedding = cells
            overlap.append((conv - patch_conv + embedding - patch_embedding) / 2)
        assert interval(overlap[0]).high < 0 and not interval(overlap[1]).shows
        assert not interval(overlap[0] - overlap[1]).shows


def test_attention_keeps_no_more_under_corruption_than_a_convolution_of_its_size():
    robust = table("robustness")
    kept = {
        arm: {kind: robust.kept(arm, kind, STRENGTHS).mean(axis=1) for kind in CORRUPTIONS}
        for arm in robust.arms
    }
    for kind in CORRUPTIONS:
        found = interval(kept["attention"][kind] - kept["3×3 convolution"][kind])
        assert found.low <= 0 and found.high < 0.015
        assert found.shows == (kind == "brightness")
    for kind in CORRUPTIONS:
        difference = kept["attention"][kind] - kept["neither"][kind]
        assert interval(difference).shows == (kind in ("fog", "brightness", "JPEG"))
        assert interval(difference, 0.99).shows == (kind == "fog")  # of five intervals at once
    brightness = kept["attention"]["brightness"] - kept["3×3 convolution"]["brightness"]
    assert interval(brightness, 0.99).high < 0
    gain = robust.values("attention") - robust.values("neither")
    assert interval(gain).low > 0
    assert gain.max() > 1.7 * gain.mean() and 0.4 < gain.min() / gain.mean() < 0.6


def test_in_weak_fog_attention_keeps_more_and_in_miou_it_is_ahead_in_blur_and_fog():
    robust = table("robustness")

    def ahead(measure, kind, strengths):
        arms = ("attention", "3×3 convolution")
        ours, other = (measure(arm, kind, strengths).mean(axis=1) for arm in arms)
        return interval(ours - other)

    assert all(ahead(robust.kept, "fog", [strength]).low > 0 for strength in (1, 2, 3))
    assert ahead(robust.kept, "fog", [5]).mean < 0 and not ahead(robust.kept, "fog", [5]).shows
    for kind in CORRUPTIONS:
        assert ahead(robust.over, kind, STRENGTHS).shows == (kind in ("blur", "fog"))
    for kind, strengths in (("blur", STRENGTHS), ("fog", STRENGTHS), ("scene", [1])):
        assert 0.005 < ahead(robust.over, kind, strengths).mean < 0.015


def test_the_largest_ratios_cost_a_hundredth_and_no_more():
    ratios = table("ratios")
    losses = [ratios.values(arm) - ratios.values("1, 1, 1, 1") for arm in ratios.arms[:-1]]
    found = [interval(loss) for loss in losses]
    assert [each.shows for each in found] == [True, False, False]
    assert -0.012 < found[0].mean < -0.007 and found[0].low > -0.02
    worth = ratios.values("1, 1, 1, 1") - table("robustness").values("neither")
    assert interval(worth).low > 0 and 0.35 < -found[0].mean / worth.mean() < 0.65
    for arm in ratios.arms[:-1]:
        larger = ratios.values(arm, amount=2) - ratios.values("1, 1, 1, 1", amount=2)
        assert not interval(larger).shows


def test_trained_on_quarters_all_lose_on_whole_scenes_and_none_shows_to_lose_more():
    crops = table("crops")
    change = [crops.values(a, "scene", 2) / crops.values(a, "tiles", 2) - 1 for a in FOUR]
    for each in change:
        assert -0.25 < each.mean() < -0.15 and interval(each).shows
    conv, patch_conv, embedding, patch_embedding = change
    found = interval((conv - embedding + patch_conv - patch_embedding) / 2)
    assert not found.shows and found.low > -0.15 and found.high < 0.1


def test_eight_channels_are_too_few_for_the_decoder_and_32_enough():
    values = {d: table("decoder").values(f"D = {d}") for d in (8, 32, 256)}
    assert interval(values[32] - values[8]).low > 0.01
    rest = interval(values[256] - values[32])
    assert not rest.shows and rest.high - rest.low < 0.015


def test_of_sky_and_road_a_third_of_the_keys_is_left_or_less_and_of_what_is_small_most():
    stage = SegFormer.from_pretrained("nano").encoder.stages[0]
    (image, labels), block = Scenes(1, 256, seed=2026)[0], stage.blocks[0]
    with torch.no_grad():
        keys = block.attention.reduce(block.norm1(stage.patch_embedding(image[None])))
    groups = Merging(share=0.6).groups(keys, torch.Generator())
    patches = labels.reshape(16, 16, 16, 16).transpose(1, 2).flatten(2)  # (16, 16, pixels of one)
    classes = patches.mode(dim=2).values.flatten()
    left = {
        name: len(groups.of[0, classes == number].unique()) / int((classes == number).sum())
        for number, name in enumerate(CLASSES)
        if (classes == number).any()
    }
    assert all(0.25 <= left[name] < 0.4 for name in ("sky", "road")), left
    assert all(left[name] > 0.7 for name in ("pole", "person", "vehicle")), left


def test_no_model_gains_a_fiftieth_at_another_rate_and_the_convolution_more_than_it_is_behind():
    values, gains = table("rates").values, {}
    for kind in {arm.rpartition(", ")[0] for arm in table("rates").arms}:
        half, usual, twice = (values(f"{kind}, {rate}")[0] for rate in ("0.004", "0.008", "0.016"))
        gains[kind] = max(half, twice) - usual
    assert max(gains.values()) == gains["3×3 convolution"] < 0.02
    robust = table("robustness").values
    lead = interval(robust("attention") - robust("3×3 convolution"))
    assert lead.shows and gains["3×3 convolution"] > lead.mean
    queries, linear = (f"{word}, patches of 8" for word in ("class queries", "linear head"))
    best = [
        max(values(f"{arm}, {rate}")[0] for rate in ("0.004", "0.008", "0.016"))
        for arm in (queries, linear)
    ]
    assert 0.005 < best[1] - best[0] < 0.015


def test_the_few_lines_on_class_queries_are_what_the_trained_vits_do(lesson, randomized):
    vit = randomized(ClassQueryViT(FINE, len(CLASSES), image_size=64)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(lesson["class_query_logits"](vit, images), vit(images))


def test_the_hierarchy_is_ahead_of_a_plain_vit_and_class_queries_are_not_ahead_of_a_linear_head():
    plain = table("plain")
    fine, coarse = (
        {word: f"{word}, patches of {side}" for word in ("class queries", "linear head")}
        for side in (8, 16)
    )
    segformer, queries = plain.values("SegFormer"), plain.values(fine["class queries"])
    assert interval(queries - segformer).high < -0.07
    assert (plain.values(fine["class queries"], "seen") < plain.values("SegFormer", "seen")).all()
    assert (queries - plain.values(coarse["class queries"])).min() > 0.06
    head = interval(queries - plain.values(fine["linear head"]), 0.99)
    assert head.low > -0.012 and head.high < 0
    others = (plain.values(coarse[word]) for word in ("class queries", "linear head"))
    assert not interval(np.subtract(*others)).shows
    costs = [plain.values(arm, column="multiply-adds")[0] for arm in plain.arms]
    assert all(0.8 < cost / costs[0] <= 1 for cost in costs)
    sizes = [plain.values(arm, column="parameters")[0] for arm in ("SegFormer", *fine.values())]
    assert all(0.18 < size / sizes[0] < 0.22 for size in sizes[1:])


def test_poles_persons_and_vehicles_are_where_segformer_is_furthest_ahead_of_the_plain_vit():
    plain, ahead = table("plain"), {}
    for name in CLASSES:
        ours, theirs = (
            plain.values(arm, column=f"iou {name}").mean()
            for arm in ("SegFormer", "class queries, patches of 8")
        )
        ahead[name] = ours - theirs
    assert sorted(ahead, key=ahead.get)[-3:] == ["vehicle", "person", "pole"]


def test_overlap_and_convolution_are_less_than_half_of_what_the_plain_vit_lacks():
    plain, hierarchy = table("plain"), table("resolution").values("patches, PE")
    segformer, queries = (plain.values(arm) for arm in ("SegFormer", "class queries, patches of 8"))
    assert ((segformer - hierarchy) / (segformer - queries)).max() < 0.5
    assert interval(queries - hierarchy).high < 0


def test_steps_and_width_help_more_than_scenes_do():
    values = table("scaling").values
    recipe = values("1600 scenes")
    steps, width, scenes = (
        values(arm) - recipe for arm in ("2000 steps", "width × 2", "3200 scenes")
    )
    assert interval(steps).low > 0.02 and interval(width).low > 0.005
    assert not interval(scenes).shows and interval(width - scenes).low > 0
    assert interval(steps - width).low > 0


def test_more_scenes_close_the_gap_between_seen_and_unseen_ones():
    values = table("scaling").values
    gaps, seen = (
        [
            (values(f"{n} scenes", "seen") - less * values(f"{n} scenes")).mean()
            for n in (50, 100, 200, 400, 800, 1600, 3200)
        ]
        for less in (1, 0)
    )
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 0.035
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(("kind", "holds"), [("steps", True), ("scenes", False)])
def test_a_power_law_foretells_the_most_steps_and_not_the_most_scenes(kind, holds):
    sizes = {"steps": (125, 250, 500, 1000, 2000, 4000), "scenes": (50, 100, 200, 400, 800, 1600)}
    arms = {n: f"{n} {kind}" for n in (*sizes[kind], *[3200] * (kind == "scenes"))}
    if kind == "steps":
        arms[1000] = "1600 scenes"
    errors = {
        n: 1 - table("longest" if n == 4000 else "scaling").values(arm) for n, arm in arms.items()
    }
    *smaller, largest = errors
    laws = scaling.drawn_power_laws({n: errors[n] for n in smaller}, draws=60)
    low, high = scaling.middle([law.at(largest) for law in laws])
    assert (low < errors[largest].mean() < high) == holds
    if not holds:
        assert errors[largest].min() - high > (high - low)


def test_drop_path_helps_on_few_scenes_at_every_depth_alike_and_costs_as_much_on_those():
    def gain(blocks, rate, pictures="scene"):
        dropped, kept = (
            table("depth").values(f"depth {blocks}, rate {each}", pictures) for each in (rate, "0")
        )
        return dropped - kept

    for blocks in (1, 2, 3):
        assert interval(gain(blocks, "0.1")).low > 0.005
        assert 0.012 < gain(blocks, "0.1").mean() < 0.02
        assert interval(gain(blocks, "0.3")).low > 0.01
        costs = gain(blocks, "0.3", "seen").mean() / gain(blocks, "0.3").mean()
        assert -1.4 < costs < -0.8
    for rate in ("0.1", "0.3"):
        assert not interval(gain(3, rate) - gain(1, rate)).shows
    values = table("depth").values
    for rate in ("0", "0.1", "0.3"):
        one, two, three = (values(f"depth {blocks}, rate {rate}") for blocks in (1, 2, 3))
        assert interval(two - one).low > 0.01
        assert not interval(three - two).shows
    gaps = [
        (values(f"depth {blocks}, rate 0", "seen") - values(f"depth {blocks}, rate 0")).mean()
        for blocks in (1, 2, 3)
    ]
    assert max(gaps) - min(gaps) < 0.015


def test_pretraining_helps_most_where_scenes_are_few_and_more_steps_make_up_for_it_with_many():
    values = table("pretraining").values
    ahead = []
    for scenes in (50, 200, 800):
        low, high = (
            {start: values(f"{scenes} scenes, {rate}, {start}") for start in STARTS}
            for rate in ("0.002", "0.008")
        )
        assert all(high[start].mean() > low[start].mean() for start in STARTS)
        pretrained, scratch = (high[start] for start in STARTS)
        longer = values(f"{scenes} scenes, from scratch for 1250 steps")
        assert interval(pretrained - scratch).low > 0.05
        ahead.append(interval(pretrained - longer))
    assert ahead[0].low > 0.09 and ahead[1].low > 0.03 and ahead[2].high < 0
    assert ahead[0].low > ahead[1].high > ahead[1].low > ahead[2].high
    assert values("50 scenes, from scratch for 1250 steps", "seen").min() > 0.8


def test_at_twice_the_rate_all_three_gain_alike_and_attention_stays_ahead():
    usual, twice = table("robustness"), table("twice")
    leads = {}
    for arm in twice.arms:
        gain = twice.values(arm) - usual.values(arm)
        assert not interval(gain).shows and 0 < gain.mean() < 0.008
    for other in twice.arms[1:]:
        leads[other] = interval(twice.values("attention") - twice.values(other))
        assert 0.008 < leads[other].mean < 0.016
    assert leads["neither"].shows and not leads["3×3 convolution"].shows
    kept = {
        arm: {kind: twice.kept(arm, kind, STRENGTHS).mean(axis=1) for kind in CORRUPTIONS}
        for arm in twice.arms
    }
    for kind in CORRUPTIONS:
        found = interval(kept["attention"][kind] - kept["3×3 convolution"][kind])
        assert found.mean < 0 and found.shows == (kind in ("noise", "blur", "JPEG"))
    assert not interval(kept["attention"]["fog"] - kept["neither"]["fog"]).shows
