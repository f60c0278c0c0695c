"""Lesson 05: its class agrees with the package's, and what it says of dropped blocks holds."""

import copy
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from experiments.stochastic_depth import (
    HERE,
    DigitTransformer,
    StochasticDepthResNet,
    digits,
    error,
)
from segformer_edu import DropPath, SegFormer, SegFormerConfig, drop_rates, residual
from segformer_edu.analysis import cost
from segformer_edu.analysis.depth import first_gradients, gradient_at, surviving_blocks
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/05_stochastic_depth.py"
RUNS = json.loads((HERE / "stochastic_depth.json").read_text(encoding="utf-8"))["runs"]
CONSTANT, STOCHASTIC = "constant depth", "stochastic depth"


def measured(network, what):
    return np.array([run[what] for run in RUNS if run["network"] == network])


def early(name):
    """Losses and gradients of the epochs before the learning rate falls, `(seeds, 7)` each."""
    return measured(name, "losses")[:, :7], measured(name, "gradients")[:, :7]


@pytest.fixture(scope="module")
def lesson():
    _, _, test_images, test_labels = digits()
    names = {"torch": torch, "np": np, "nn": nn, "F": F}
    names |= {"DropPath": DropPath, "residual": residual}
    names |= {"test_images": test_images, "test_labels": test_labels}
    return written_out(SOURCE, **names)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(64, 5), (64, 3, 4, 2)])
def test_the_earlier_class_gives_the_packages_answers(lesson, rate, shape):
    x = torch.randn(shape)
    early, final = lesson["MaskedDropPath"](rate), DropPath(rate)
    outcomes = []
    for each in (early, final):
        torch.manual_seed(1)
        outcomes.append(each.train()(x))
    torch.testing.assert_close(*outcomes)
    assert torch.equal(early.eval()(x), final.eval()(x))


def test_the_earlier_class_has_the_faults_that_the_lesson_names(lesson):
    x = torch.ones(100, 2)
    masked = {rate: lesson["MaskedDropPath"](rate).train()(x) for rate in (1, 1.5, -0.1)}
    assert masked[1].isnan().all()
    assert not masked[1.5].any()
    torch.testing.assert_close(masked[-0.1], x / 1.1)


def test_bfloat16_rounds_the_gate_away():
    keep = torch.tensor(1 - 0.001, dtype=torch.bfloat16)
    assert keep == 1
    mask = torch.floor(torch.rand(100_000, dtype=torch.bfloat16) + keep)
    assert mask.unique().tolist() == [1, 2]


def test_the_masks_of_transformers_are_rounded_away():
    from transformers.models.segformer.modeling_segformer import SegformerDropPath
    from transformers.models.swin.modeling_swin import SwinDropPath

    ones = torch.ones(20_000, 1)
    for kind in (SegformerDropPath, SwinDropPath):
        theirs = kind(0.001).train()
        assert theirs(ones.bfloat16()).unique().tolist() == [1, 2]
        assert (theirs(ones) == 0).any()


def test_eval_switches_dropout_off_and_no_grad_does_not():
    dropout, ones = nn.Dropout(0.5), torch.ones(1000)
    with torch.no_grad():
        assert (dropout(ones) == 0).any()
    assert torch.equal(dropout.eval()(ones), ones)
    assert (F.dropout(ones, 0.5) == 0).any()  # whatever mode a module is in
    q = torch.ones(1, 64, 4)
    dropped = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    assert not torch.allclose(dropped, q)


@pytest.mark.parametrize("q", [0.3, 0.7])
def test_the_two_conventions_are_one_method(lesson, q):
    f = nn.Linear(4, 4)
    smaller = copy.deepcopy(f)
    with torch.no_grad():
        smaller.weight *= q
        smaller.bias *= q
    x = torch.randn(3, 4)
    for b, training in ((0, True), (1, True), (1, False)):
        theirs = lesson["by_the_paper"](x, f, b, q, training)
        torch.testing.assert_close(lesson["by_droppath"](x, smaller, b, q, training), theirs)


def test_the_post_would_leave_less_than_half_a_block():
    assert sum(drop_rates(0.1, 8)) == pytest.approx(0.4)


def test_54_blocks_stay_between_31_and_49():
    law = surviving_blocks([1 - rate for rate in drop_rates(0.5, 54, "paper")])
    assert law[31:50].sum() > 0.998
    assert law[:28].sum() < 1e-4


def test_a_mini_batch_of_54_blocks_strays_by_about_three():
    law, blocks = surviving_blocks([1 - rate for rate in drop_rates(0.5, 54, "paper")]), range(55)
    mean = law @ blocks
    assert (law @ (blocks - mean) ** 2) ** 0.5 == pytest.approx(3.0, abs=0.05)


def test_b0_has_sixteen_gates_of_which_two_never_close(monkeypatch):
    drawn, kept = [], DropPath.kept
    monkeypatch.setattr(DropPath, "kept", lambda self, n: drawn.append(self) or kept(self, n))
    encoder = SegFormer(SegFormerConfig.named("b0")).train().encoder
    encoder(torch.randn(2, 3, 64, 64))
    rates = [block.drop_path.rate for stage in encoder.stages for block in stage.blocks]
    assert 2 * len(rates) == 16 and rates.count(0) == 1 and len(drawn) == 14


def test_droppath_drops_about_a_twentieth_of_the_blocks_work_least_in_b0_and_most_in_b4():
    saved = {}
    for name in ("b0", "b1", "b2", "b3", "b4", "b5"):
        config = SegFormerConfig.named(name)
        rates = iter(drop_rates(0.1, sum(config.depths)))
        work = dropped = 0.0
        for stage, depth in zip(cost(config, (512, 512)).stages, config.depths, strict=True):
            of_a_block = sum(stage.multiply_adds_of[1:]) / depth  # all but the patch embedding
            work += of_a_block * depth
            dropped += of_a_block * sum(next(rates) for _ in range(depth))
        saved[name] = dropped / work
    assert min(saved, key=saved.get) == "b0" and max(saved, key=saved.get) == "b4"
    assert saved["b0"] == pytest.approx(0.0436, abs=5e-4)
    assert saved["b4"] == pytest.approx(0.0506, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_before_training_the_gradient_grows_towards_block_1(seed):
    images, labels = (x[:100] for x in digits()[:2])
    torch.manual_seed(seed)
    network = StochasticDepthResNet([1 - rate for rate in drop_rates(0.5, 54, "paper")])
    full = first_gradients(network, images, labels, torch.ones(54))
    assert full[0] > 5 * full[-1]
    assert (full[:9].mean() > full[18:27].mean()) and (full[18:27].mean() > full[45:].mean())
    some = [torch.bernoulli(network.survival) for _ in range(8)]
    drawn = sum(first_gradients(network, images, labels, gates) for gates in some) / sum(some)
    assert (drawn[:20] < full[:20]).all()


class TestWhatTheExperimentFound:
    def test_a_network_that_changes_fits_less_well(self):
        assert (measured(STOCHASTIC, "losses")[:, -1] > measured(CONSTANT, "losses")[:, -1]).all()

    def test_that_the_error_is_larger_is_suggestive_and_no_more(self):
        """Two standard errors, paired; six of eight seeds."""
        differences = measured(STOCHASTIC, "error") - measured(CONSTANT, "error")
        standard_error = differences.std(ddof=1) / len(differences) ** 0.5
        assert 1.5 < differences.mean() / standard_error < 2.2
        assert (differences > 0).sum() == 6 and len(differences) == 8

    def test_epoch_for_epoch_its_gradient_is_larger_from_the_second_on(self):
        ratio = measured(STOCHASTIC, "gradients") / measured(CONSTANT, "gradients")
        ratio = np.exp(np.log(ratio).mean(0))
        assert ratio[0] < 1 < ratio[1:].min()

    def test_at_equal_loss_its_gradient_is_not_larger(self):
        """In three bands of loss that both networks pass through at the first learning rate."""
        for low, high in itertools.pairwise(np.geomspace(0.06, 0.5, 4)):
            means = []
            for name in (CONSTANT, STOCHASTIC):
                losses, gradients = early(name)
                inside = (losses > low) & (losses <= high)
                assert inside.sum() >= 5
                means.append(np.log(gradients[inside]).mean())
            assert means[1] < means[0]

    def test_on_a_line_through_its_epochs_it_is_about_a_tenth_smaller(self):
        """On average, by more than two standard errors, paired; in seven of eight seeds."""
        constant, stochastic = (
            np.array([gradient_at(0.1, *run) for run in zip(*early(name), strict=True)])
            for name in (CONSTANT, STOCHASTIC)
        )
        differences = constant - stochastic
        assert 0.07 < differences.mean() / constant.mean() < 0.13
        assert differences.mean() > 2 * differences.std(ddof=1) / len(differences) ** 0.5
        assert (differences > 0).sum() == 7 and len(differences) == 8

    def test_it_saves_about_as_much_time_as_blocks(self):
        seconds = measured(STOCHASTIC, "seconds"), measured(CONSTANT, "seconds")
        assert (seconds[0] < seconds[1]).all()
        computed = 1 - np.mean(drop_rates(0.5, 18, "paper"))
        assert seconds[0].sum() / seconds[1].sum() == pytest.approx(computed, abs=0.08)

    def test_without_equation_5_it_is_wrong_more_often(self):
        wrong, right = (measured(STOCHASTIC, what) for what in ("error without p_l", "error"))
        assert (wrong >= right).all() and wrong.mean() > 2 * right.mean()
        assert (measured(CONSTANT, "error") == measured(CONSTANT, "error without p_l")).all()

    def test_half_of_the_blocks_can_go_if_training_has_practised_it(self):
        after = {
            name: measured(name, "errors after cuts")[:, [0, 3]]
            for name in ("nothing dropped", "DropPath", "LayerDrop")
        }
        for name in ("DropPath", "LayerDrop"):
            assert after[name][:, 1].mean() < 2 * after[name][:, 0].mean()
            assert (after["nothing dropped"][:, 1] > after[name][:, 1]).all()
        gap = after["LayerDrop"][:, 1] - after["DropPath"][:, 1]
        assert (gap > 0).all()
        assert (after["nothing dropped"][:, 1] > 5 * after["nothing dropped"][:, 0]).all()


class TestTrainedNanos:
    """What `experiments.branches` found of two nanos, the second trained with DropPath."""

    CHOICES = json.loads((HERE / "branches.json").read_text(encoding="utf-8"))["choices"]

    def test_droppath_cost_a_point(self):
        value, low, high = self.CHOICES[0]["ahead"]
        assert high < 0 and value == pytest.approx(-0.01, abs=0.002)

    def test_after_it_every_block_is_missed_less_except_the_first(self):
        (_, _, first), *others = (row["spared"] for row in self.CHOICES[17:25])
        assert first < 0 and all(low > 0 for _, low, _ in others) and len(others) == 7

    def test_two_blocks_of_stage_4_stand_in_for_each_other_or_do_next_to_nothing(self):
        alone, together = self.CHOICES[23:25], self.CHOICES[28]
        assert [row["missing"][0][:2] for row in alone] == [[3, 0], [3, 1]]
        assert [row[:2] for row in together["missing"]] == [[3, 0], [3, 0], [3, 1], [3, 1]]
        most = sum(row["lost"]["nano"][2] for row in alone)
        assert together["lost"]["nano"][1] > 3 * most
        assert together["lost"]["nano-drop-path"][2] < 0.005

    def test_both_miss_the_first_mix_ffn_most_and_no_late_attention(self):
        single = self.CHOICES[1:17]
        for name in ("nano", "nano-drop-path"):
            lost = [row["lost"][name][0] for row in single]
            assert single[np.argmax(lost)]["missing"] == [[0, 0, "mix_ffn"]]
            for row, (_, low, high) in ((row, row["lost"][name]) for row in single):
                if row["missing"][0][0] > 1 and row["missing"][0][2] == "attention":
                    assert -0.0025 < low <= high < 0.0025


@pytest.fixture(scope="module")
def trained():
    """The networks of seed 0, as the lesson loads them."""
    weights = load_file(HERE / "stochastic_depth.safetensors")
    networks = {}
    for name in ("nothing dropped", "DropPath", "LayerDrop"):
        networks[name] = DigitTransformer().eval()
        own = {key.removeprefix(f"{name}."): x for key, x in weights.items() if name in key}
        networks[name].load_state_dict(own)
    return networks


def test_every_block_is_missed_unless_training_went_without_it(trained):
    _, _, *test = digits()
    for name, missed in (("nothing dropped", range(6)), ("DropPath", [0]), ("LayerDrop", [])):
        whole = error(trained[name], *test)
        for index in range(6):
            without = error(trained[name], *test, [block != index for block in range(6)])
            assert (without > 1.5 * whole) == (index in missed), (name, index)


def test_any_three_blocks_of_one_are_worse_on_average_than_those_of_the_other(trained, lesson):
    half = {}
    for name in ("nothing dropped", "LayerDrop"):
        depths, errors = lesson["all_errors"](trained[name])
        half[name] = np.mean([e for depth, e in zip(depths, errors, strict=True) if depth == 3])
    assert half["nothing dropped"] > 33 and half["LayerDrop"] < 10


def test_three_blocks_of_droppath_do_well_exactly_with_block_1(trained, lesson):
    depths, errors = map(np.array, lesson["all_errors"](trained["DropPath"]))
    without, having = (errors[rows][depths[rows] == 3] for rows in (slice(32), slice(32, None)))
    assert len(without) == len(having) == 10 and without.min() > 2 * having.max()


@torch.no_grad()
def evaluated_and_drawn(network, draws):
    """What a trained network says in evaluation, and in passes whose branches are dropped."""
    _, _, images, _ = digits()
    dropping = DigitTransformer(drop_path_rate=0.5).eval()
    dropping.load_state_dict(network.state_dict())
    evaluated = dropping(images).softmax(-1)
    for block in dropping.blocks:
        block.drop_path.train()
    torch.manual_seed(0)
    return evaluated, torch.stack([dropping(images).softmax(-1) for _ in range(draws)])


def test_the_average_of_many_networks_is_near_evaluation_and_not_equal(trained):
    evaluated, passes = evaluated_and_drawn(trained["DropPath"], 40)

    def distance(count):
        groups = passes.unflatten(0, (40 // count, count)).mean(1)
        return (groups - evaluated).abs().sum(-1).mean().item() / 2

    one, some, many = map(distance, (1, 10, 40))
    assert one > 1.2 * some and some == pytest.approx(many, rel=0.1)
    assert many > 0.01


def test_the_whole_network_is_as_near_the_average_of_all_as_a_mean_of_about_four(trained):
    evaluated, passes = evaluated_and_drawn(trained["DropPath"], 256)
    few, average = passes[:64], passes[64:].mean(0)

    def distance(count):
        return (few.unflatten(0, (-1, count)).mean(1) - average).abs().sum(-1).mean().item() / 2

    whole = (evaluated - average).abs().sum(-1).mean().item() / 2
    assert distance(2) > 1.2 * whole and 1.2 * distance(8) < whole
    assert distance(4) == pytest.approx(whole, rel=0.1)


def test_the_recursion_makes_every_network_once(lesson, randomized):
    network = randomized(DigitTransformer()).eval()
    depths, errors = lesson["all_errors"](network)
    _, _, *test = digits()
    every = list(itertools.product((False, True), repeat=6))
    assert depths == [sum(kept) for kept in every]
    for index in (0, 21, 42, 63):
        assert errors[index] == pytest.approx(error(network, *test, every[index]), abs=0.26)


def test_the_instrument_finds_both_faults(lesson):
    asked = [0.0, 0.2, 0.4, 0.6]
    stage = lesson["Stage"](8, depth=4, rates=asked, config_rate=0.6).train()
    assert lesson["measured_rates"](stage) == [0, 0, 0, 0]
    original, lesson["Block"].forward = lesson["Block"].forward, lesson["forward"]
    try:
        assert lesson["measured_rates"](stage) == [0.6] * 4
        blocks = [lesson["Block"](8, rate).train() for rate in asked]
        assert lesson["measured_rates"](blocks) == asked
    finally:
        lesson["Block"].forward = original
