"""The numbers that lesson 09 states: each function computes one from the package or a table."""

import copy
import itertools
import json
import math
from functools import cache

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from experiments import attribution, branches, heads, receptive_fields
from segformer_edu import SegFormer
from segformer_edu.analysis import attribution as ask
from segformer_edu.analysis.attention_heads import attention_between
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.analysis.attribution_trial import Trial
from segformer_edu.analysis.calibration import (
    at_full_size,
    confidence,
    equal_width,
    fit_temperature,
    reliability,
)
from segformer_edu.analysis.contributions import (
    contributions,
    leads,
    leads_over_the_next,
    mean_by_class,
    without_a_stage,
)
from segformer_edu.analysis.errors import KINDS, Rules, count_kinds, kinds_of_errors
from segformer_edu.analysis.interventions import silenced, with_constant_attention
from segformer_edu.analysis.lamps import all_lamps_and_balls, all_relit
from segformer_edu.analysis.map_contents import near_a_border
from segformer_edu.analysis.position import pad_with
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import balanced_weights, confusion_matrix, scores
from segformer_edu.training.minute import in_memory

SCENES = 100
HELD_OUT, OTHERS = 2026, (2027, 2028)  # seeds of scenes


@cache
def _nano() -> SegFormer:
    return SegFormer.from_pretrained("nano")


@cache
def _pictures(seed: int) -> tuple[Tensor, Tensor]:
    return in_memory(Scenes(SCENES, 128, seed), workers=0)


@cache
@torch.no_grad()
def _logits(seed: int) -> Tensor:
    images, labels = _pictures(seed)
    return at_full_size(torch.cat([_nano()(some) for some in images.split(20)]), labels)


def _miou(answer: Tensor, labels: Tensor) -> float:
    return scores(confusion_matrix(answer, labels, len(CLASSES))).miou


def scenes_b() -> str:
    return str(SCENES)


# --- b_1 ---


def _areas(network: str, state: str, side: int = 192) -> np.ndarray:
    """The areas of 90 % at so many pixels: `(seeds, 4)`."""
    rows = json.loads(receptive_fields.TABLE.read_text(encoding="utf-8"))["rows"]
    kind = network, state, side
    return np.array(
        [r["area of 90%"] for r in rows if (r["network"], r["state"], r["side"]) == kind]
    )


def twin_more_parameters() -> str:
    rows = json.loads(receptive_fields.TABLE.read_text(encoding="utf-8"))["rows"]
    counts = {row["network"]: row["parameters"] for row in rows}
    return f"{100 * (counts['conv twin'] / counts['SegFormer'] - 1):.0f} %"


def rf_seeds() -> str:
    return {3: "three"}[len(_areas("SegFormer", "trained"))]


def rf_scenes() -> str:
    return str(len(receptive_fields.scenes(96)))


def area_4_segformer() -> str:
    return f"{100 * _areas('SegFormer', 'trained')[:, 3].mean():.0f} %"


def area_4_twin() -> str:
    return f"{100 * _areas('conv twin', 'trained')[:, 3].mean():.0f} %"


def _area_1_factor(side: int) -> str:
    factors = (_areas("SegFormer", "trained", side) / _areas("conv twin", "trained", side))[:, 0]
    return f"{factors.min():.0f} to {factors.max():.0f}"


def area_1_factor() -> str:
    return _area_1_factor(192)


def area_1_factor_small() -> str:
    return _area_1_factor(96)


def _kept(stage: int, side: int = 192) -> str:
    kept = _areas("SegFormer", "shuffled", side) / _areas("SegFormer", "trained", side)
    return f"{100 * kept[:, stage].min():.0f} to {100 * kept[:, stage].max():.0f} %"


def area_2_kept() -> str:
    return _kept(1)


def area_3_kept() -> str:
    return _kept(2)


def area_2_kept_small() -> str:
    return _kept(1, 96)


def area_3_kept_small() -> str:
    return _kept(2, 96)


def area_1_shuffled() -> str:
    areas = 100 * _areas("SegFormer", "shuffled")[:, 0]
    return f"{areas.min():.0f} to {areas.max():.0f} % of the picture"


# --- b_2 ---


@cache
@torch.no_grad()
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Added to the lead over the mean, over the rival, and IoU points lost: `(8, 4)` each."""
    images, labels = _pictures(HELD_OUT)
    quarter = labels[:, 2::4, 2::4]
    parts = contributions(_nano(), images)
    added = [
        mean_by_class(lead(parts, quarter), quarter, len(CLASSES))[:, :4].numpy()
        for lead in (leads, leads_over_the_next)
    ]
    iou = np.array(scores(confusion_matrix(_logits(HELD_OUT).argmax(1), labels, 8)).iou)
    silenced = np.array(
        [scores(confusion_matrix(each, labels, 8)).iou for each in without_a_stage(_nano(), images)]
    )
    return added[0], added[1], 100 * (iou - silenced).T


def vegetation_lost() -> str:
    return f"{_tables()[2][CLASSES.index('vegetation'), 0]:.0f}"


def cells() -> str:
    return str(_tables()[0].size)


def rank_mean() -> str:
    return f"{spearmanr(_tables()[0].ravel(), _tables()[2].ravel())[0]:.1f}"


def rank_rival() -> str:
    return f"{spearmanr(_tables()[1].ravel(), _tables()[2].ravel())[0]:.1f}"


# --- b_3 ---


@cache
@torch.no_grad()
def _padded(mode: str) -> Tensor:
    model = copy.deepcopy(_nano())
    pad_with(model, mode)
    return torch.cat([model.predict(some) for some in _pictures(HELD_OUT)[0].split(20)])


def _points_lost(mode: str) -> str:
    labels = _pictures(HELD_OUT)[1]
    return f"{100 * (_miou(_padded('zeros'), labels) - _miou(_padded(mode), labels)):.1f}"


def replicate_lost() -> str:
    return _points_lost("replicate")


def circular_lost() -> str:
    return _points_lost("circular")


@torch.no_grad()
def _upside(mode: str) -> str:
    images, labels = _pictures(HELD_OUT)
    model = copy.deepcopy(_nano())
    pad_with(model, mode)
    said = torch.cat([model.predict(some.flip(2)).flip(1) for some in images.split(20)])
    return f"{100 * (said == labels).double().mean().item():.0f} %"


def upside_zeros() -> str:
    return _upside("zeros")


def upside_replicate() -> str:
    return _upside("replicate")


def upside_circular() -> str:
    return _upside("circular")


def sky_called_other() -> str:
    """Of the true sky in the upper eight rows, under circular padding."""
    sky = _pictures(HELD_OUT)[1][:, :8] == CLASSES.index("sky")
    called = _padded("circular")[:, :8][sky]
    return f"{100 * (called != CLASSES.index('sky')).double().mean().item():.0f} %"


# --- b_4 ---


def _choices() -> list[dict]:
    return json.loads(branches.RESULTS.read_text(encoding="utf-8"))["choices"]


def _lost(missing: list[list], model: str = "nano") -> float:
    (row,) = (row for row in _choices() if row["missing"] == missing)
    return 100 * row["lost"][model][0]


def _block(stage: int, block: int) -> list[list]:
    return [[stage, block, "attention"], [stage, block, "mix_ffn"]]


def last_block_lost() -> str:
    return f"{max(_lost(_block(3, 1), model) for model in ('nano', 'nano-drop-path')):.2f}"


def attention_most() -> str:
    single = [row for row in _choices() if len(row["missing"]) == 1]
    losses = [
        value[0]
        for row in single
        if row["missing"][0][2] == "attention"
        for value in row["lost"].values()
    ]
    return f"{100 * max(losses):.1f}"


def stage_4_first() -> str:
    return f"{_lost(_block(3, 0)):.1f}"


def stage_4_second() -> str:
    return f"{_lost(_block(3, 1)):.2f}"


def stage_4_both() -> str:
    return f"{_lost(_block(3, 0) + _block(3, 1)):.1f}"


def stage_4_both_drop() -> str:
    return f"{_lost(_block(3, 0) + _block(3, 1), 'nano-drop-path'):.1f}"


# --- b_5 ---


def _error(logits: Tensor, labels: Tensor) -> float:
    right = logits.argmax(1) == labels
    return 100 * reliability(confidence(logits), right, equal_width(15)).error()


def ece_other_sets() -> str:
    found = [f"{_error(_logits(seed), _pictures(seed)[1]):.1f}" for seed in OTHERS]
    return " and ".join(found) + " %"


def sure_person() -> str:
    logits = _logits(HELD_OUT)
    person = logits.argmax(1) == CLASSES.index("person")
    return f"{100 * confidence(logits)[person].mean().item():.0f} %"


def fair_gain() -> str:
    """Of mIoU points, where the weights of the classes are taken out of the logits."""
    weights = balanced_weights(Scenes(500, 32)).log()[:, None, None]
    gains = []
    for seed in (HELD_OUT, *OTHERS):
        logits, labels = _logits(seed), _pictures(seed)[1]
        gains.append(
            100 * (_miou((logits - weights).argmax(1), labels) - _miou(logits.argmax(1), labels))
        )
    return f"{min(gains):.1f} to {max(gains):.1f} points"


@cache
def _temperature() -> float:
    """Fitted to scenes of another seed, at every second pixel along each axis."""
    return fit_temperature(_logits(OTHERS[0])[..., ::2, ::2], _pictures(OTHERS[0])[1][:, ::2, ::2])


def temperature() -> str:
    return f"{_temperature():.2f}"


def ece_before() -> str:
    return f"{_error(_logits(HELD_OUT), _pictures(HELD_OUT)[1]):.1f} %"


def ece_after() -> str:
    return f"{_error(_logits(HELD_OUT) / _temperature(), _pictures(HELD_OUT)[1]):.1f} %"


def gap_true_border() -> str:
    labels = _pictures(HELD_OUT)[1]
    near = near_a_border(labels)
    logits = _logits(HELD_OUT)
    right = logits.argmax(1) == labels
    gap = confidence(logits)[near].mean() - right[near].double().mean()
    return {3: "three"}[round(100 * gap.item())]


# --- b_6 ---


def _kinds(rules: Rules | None = None) -> dict[str, float]:
    """The share of each kind among the wrong pixels, in percent."""
    answer, labels = _logits(HELD_OUT).argmax(1).numpy(), _pictures(HELD_OUT)[1].numpy()
    counts = count_kinds(
        [kinds_of_errors(*each, rules) for each in zip(answer, labels, strict=True)]
    ).sum(0)
    return dict(zip(KINDS.values(), 100 * counts / counts.sum(), strict=True))


def things_share() -> str:
    found = _kinds()
    names = "thing invented", "thing missed", "named otherwise"
    return f"{sum(found[name] for name in names):.0f} %"


def border_share_1() -> str:
    return f"{_kinds(Rules(near=1))['border shifted']:.0f} %"


def border_share_3() -> str:
    return f"{_kinds(Rules(near=3))['border shifted']:.0f} %"


def near_border_all() -> str:
    return f"{100 * near_a_border(_pictures(HELD_OUT)[1]).double().mean().item():.0f} %"


def near_border_wrong() -> str:
    labels = _pictures(HELD_OUT)[1]
    wrong = _logits(HELD_OUT).argmax(1) != labels
    return f"{100 * near_a_border(labels)[wrong].double().mean().item():.0f} %"


# --- heads ---


def _heads_table(name: str) -> list[dict]:
    return json.loads(heads.RESULTS.read_text(encoding="utf-8"))[name]


def head_scenes() -> str:
    return str(heads.SCENES)


def late_loss() -> str:
    """The most points that a head of stages 3 and 4 costs, in either set of scenes; rounded up."""
    rows = [row for row in _heads_table("scenes") if row["head"] is not None and row["stage"] > 1]
    return f"{math.ceil(1000 * max(row['silenced'][0] for row in rows)) / 10:.1f}"


def silent_stage_1() -> str:
    return _points("silenced")


def even_stage_1() -> str:
    return _points("even")


def _points(change: str) -> str:
    """Points of mIoU lost when all of stage 1 is changed, in the two sets of scenes."""
    rows = [r for r in _heads_table("scenes") if r["head"] is None and r["stage"] == 0]
    return " and ".join(f"{100 * row[change][0]:.1f}" for row in rows)


def _stages_silent(*stages: int) -> str:
    """Points of mIoU lost when all attention of these stages is silenced, in the two sets."""
    model, lost = _nano(), []
    for stage, block in itertools.product(stages, range(2)):
        model = silenced(model, stage, block)
    for seed in heads.SCENE_SEEDS:
        images, labels = _all_of(Scenes(heads.SCENES, 128, seed=seed))
        before, after = (heads.confusions(each, images, labels) for each in (_nano(), model))
        lost.append(f"{100 * (heads.miou(before) - heads.miou(after)):.1f}")
    return " and ".join(lost)


def both_silent() -> str:
    return _stages_silent(0, 1)


def late_silent() -> str:
    return _stages_silent(1, 2, 3)


def _all_of(scenes: Scenes) -> tuple[Tensor, Tensor]:
    images, labels = map(torch.stack, zip(*scenes, strict=True))
    return images, labels


def silent_liars() -> str:
    """How many stages a model loses a fifth of the balls without, although no ball follows them."""
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
    rows = _heads_table("strips")
    return words[sum(row["silenced"] < 0.8 and row["followed"] < 0.05 for row in rows)]


def constant_stage_1() -> str:
    """The same, if both blocks add what they add on average in sixty other scenes."""
    nano = SegFormer.from_pretrained("nano")
    others = torch.stack([image for image, _ in Scenes(60, 128, seed=11)])
    constant = nano
    for block in range(2):
        one = with_constant_attention(nano, others, 0, block)
        if block == 0:
            constant = one
    second = attentions_of(constant.encoder.stages[0])[1]
    second.load_state_dict(attentions_of(one.encoder.stages[0])[1].state_dict())
    lost = []
    for seed in heads.SCENE_SEEDS:
        images, labels = _all_of(Scenes(heads.SCENES, 128, seed=seed))
        before, after = (heads.confusions(each, images, labels) for each in (nano, constant))
        lost.append(f"{100 * (heads.miou(before) - heads.miou(after)):.1f}")
    return " and ".join(lost)


# --- five ways of asking ---


@cache
def _trial() -> Trial:
    return Trial(attribution.RESULTS)


def coarse_left() -> str:
    return f"{_trial().curve('nearness', 'deletion')[0, -1]:.0%}"


def places() -> str:
    return str(attribution.PLACES)


def strips() -> str:
    return str(len(attribution.STRIPS))


def red_strips() -> str:
    return str(_trial().told["lights"].count("red"))


def occlusion_gain() -> str:
    """On both curves, which is why there is one number."""
    (gain,) = {f"{_trial().gain('occlusion 16', kind).mean:.2f}" for kind in attribution.KINDS}
    return gain


def occlusion_ball() -> str:
    return f"{_trial().lamp('occlusion 8', 'on the ball', 'red').mean:.0%}"


def nearness_deletion() -> str:
    return f"{_trial().lamp('nearness', 'deletion', 'red').mean:.2f}"


def nearness_insertion() -> str:
    return f"{_trial().lamp('nearness', 'insertion', 'red').mean:.2f}"


def size_insertion() -> str:
    return f"{_trial().lamp('|gradient × input|', 'insertion', 'red').mean:.2f}"


def attention_insertion() -> str:
    return f"{_trial().lamp('attention 2', 'insertion', 'red').mean:.2f}"


def attention_green() -> str:
    return f"{_trial().lamp('attention 2', 'insertion', 'green').mean:.2f}"


def rollout_green() -> str:
    return f"{_trial().lamp('rollout 4', 'insertion', 'green').mean:.2f}"


def random_green() -> str:
    return f"{_trial().lamp('random', 'insertion', 'green').mean:.2f}"


def rank_red_1() -> str:
    return f"{_trial().lamp('attention 1', 'lamp above night', 'red').mean:.2f}"


def rank_green_1() -> str:
    return f"{_trial().lamp('attention 1', 'lamp above night', 'green').mean:.2f}"


def share_red_1() -> str:
    return f"{_trial().lamp('attention 1', 'on the lamp', 'red').mean:.1%}"


def night_looks() -> str:
    """The share of their attention that stage 2's tokens of the night give to a red lamp."""
    strips = Lamps(60, seed=HELD_OUT)
    lamp, balls = all_lamps_and_balls(strips)
    seer = SegFormer.from_pretrained("lamps")
    between = attention_between(seer, all_relit(strips, "red"), ~(lamp | balls), lamp)
    return f"{between[1][0]:.0%}"


def occlusion_night() -> str:
    """By what share a patch lowers the lead of the night over red at most, beside a red lamp."""
    seer, found = SegFormer.from_pretrained("lamps").folded(), []
    for number, light in enumerate(_trial().told["lights"]):
        if light == "red":
            strip = attribution.STRIPS[number][0][None]
            fill = strip.median(3, keepdim=True).values.expand_as(strip)
            score = ask.logit(attribution.in_the_night(number), 0, rival=1)
            fall = ask.occlusion(seer, strip, score, fill, 16).max()
            with torch.no_grad():
                found.append((fall / score(seer(strip))).item())
    return f"{np.mean(found):.0%}"


def cam_green() -> str:
    return f"{_trial().lamp('Grad-CAM 1', 'on the lamp', 'green').mean:.0%}"


@torch.no_grad()
def green_lead() -> str:
    """By how much the lead of green over red on the balls' pixels changes without the lamp."""
    seer, strips = SegFormer.from_pretrained("lamps"), Lamps(60, seed=HELD_OUT)
    _, balls = all_lamps_and_balls(strips)
    lead = {}
    for light in ("green", "night"):
        logits = seer(all_relit(strips, light))
        full = at_full_size(logits, balls)
        lead[light] = (full[:, 2] - full[:, 1])[balls].mean().item()
    return f"{1 - lead['night'] / lead['green']:.0%}"


def bug_scenes() -> str:
    return str(len(_with_the_bug()))


def bug_negative() -> str:
    return str(sum(each < 0 for each in _with_the_bug()))


def bug_negative_1() -> str:
    return str(sum(each < 0 for each in _with_the_bug(stage=0)))


@cache
def _with_the_bug(stage: int = 2, count: int = 24) -> list[float]:
    """The rank correlation of Grad-CAM for a class with that for the sum over all classes."""
    found = []
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        image = attribution.SCENES[number][0][None]
        with torch.no_grad():
            labels = _nano()(image)[0].argmax(0)
        place = attribution.chosen_place(labels, number, generator)
        right = ask.grad_cam(_nano(), image, ask.logit(place, int(labels[place])), stage)
        wrong = ask.grad_cam(_nano(), image, lambda x, at=place: x[:, :, *at].sum(1), stage)
        found.append(ask.rank_correlation(right, wrong))
    return found
