"""The numbers that lesson 05 states: each function computes one from the package."""

import json
import math
from functools import cache
from statistics import mean, stdev

import numpy as np

from experiments.branches import INTERVAL
from experiments.stochastic_depth import HERE as EXPERIMENTS
from experiments.stochastic_depth import digits
from segformer_edu import SegFormerConfig, drop_rates
from segformer_edu.analysis import cost
from segformer_edu.widgets.stochastic_depth import RATES


def first_block_missing() -> str:
    return f"{1 / drop_rates(0.5, 18, 'paper')[0]:.0f}"


def expected_54() -> str:
    return f"{54 - sum(drop_rates(0.5, 54, 'paper')):.2f}"


def networks_54() -> str:
    exponent = math.floor(math.log10(2**54))
    return f"about {2**54 / 10**exponent:.1f}·10{str(exponent).translate(_SUPERSCRIPT)}"


def loss_factor() -> str:
    """Of the means that the picture shows, at the last epoch."""
    return f"{_last('losses'):.0f}"


def gradient_factor() -> str:
    return f"{_last('gradients'):.0f}"


def loss_factors() -> str:
    return _range_of_last("losses")


def gradient_factors() -> str:
    return _range_of_last("gradients")


def constant_error() -> str:
    return _spread("constant depth", "error")


def stochastic_error() -> str:
    return _spread("stochastic depth", "error")


def error_difference() -> str:
    stochastic, constant = (mean(_measured(f"{kind} depth", "error")) for kind in _KINDS)
    return f"{stochastic - constant:.2f}"


def error_difference_se() -> str:
    return _standard_error("stochastic depth", "constant depth")


def error_difference_images() -> str:
    return f"{float(error_difference()) / 100 * len(digits()[2]):.0f}"


def digits_trained() -> str:
    return f"{len(digits()[0]):,}"


def time_share() -> str:
    """Of stochastic depth's seconds over those of constant depth, seed by seed."""
    ratios = 100 * _measured("stochastic depth", "seconds") / _measured("constant depth", "seconds")
    return f"{ratios.mean():.0f} ± {ratios.std(ddof=1):.0f} %"


def digits_tested() -> str:
    return str(len(digits()[2]))


def blocks_computed() -> str:
    return f"{1 - mean(drop_rates(0.5, 18, 'paper')):.0%}"


def without_p_l_factor() -> str:
    without, right = (
        mean(_measured("stochastic depth", e)) for e in ("error without p_l", "error")
    )
    return f"{without / right:.1f}"


def without_p_l_factors() -> str:
    """Seed by seed: the least and the most."""
    without, right = (_measured("stochastic depth", e) for e in ("error without p_l", "error"))
    return f"{(without / right).min():.1f} to {(without / right).max():.1f}"


def b0_complete() -> str:
    kept = math.prod((1 - rate) ** 2 for rate in drop_rates(0.1, 8))  # two branches a block
    return f"{kept:.0%}"


def least_saved() -> str:
    return f"{_work_dropped('b0'):.1%}"


def most_saved() -> str:
    return f"{_work_dropped('b4'):.1%}"


def unpractised_factor() -> str:
    """How much the error grows when 3 of 6 blocks go, after training with nothing dropped: the
    geometric mean over the seeds, as the picture has it.
    """
    return f"{np.exp(np.log(_unpractised()).mean()):.0f}"


def unpractised_factors() -> str:
    """Seed by seed: the least and the most."""
    return f"{_unpractised().min():.0f} to {_unpractised().max():.0f}"


def drop_path_mean() -> str:
    return f"{mean(drop_rates(0.5, 6)):.2f}"


def task_paper() -> str:
    return _least_rate("paper")


def task_linspace() -> str:
    return _least_rate("linspace")


def interval() -> str:
    low, high = INTERVAL
    return f"{100 * (high - low):.0f} %"


def nano_miou() -> str:
    return f"{_choice(0)['miou']['nano']:.3f}"


def nano_drop_path_miou() -> str:
    return f"{_choice(0)['miou']['nano-drop-path']:.3f}"


def stage_4_lost() -> str:
    return f"{_lost(_choice(28))[0]:.1f}"


def stage_4_lost_drop_path() -> str:
    return f"{_lost(_choice(28))[1]:.1f}"


def drawn_lost() -> str:
    return f"{_lost(_drawn(0.6))[0]:.0f}"


def drawn_lost_drop_path() -> str:
    return f"{_lost(_drawn(0.6))[1]:.0f}"


def drawn_spared() -> str:
    _, low, high = _drawn(0.6)["spared"]
    return f"{100 * low:.0f} to {100 * high:.0f}"


def first_mix_ffn() -> str:
    return f"{_lost(_choice(2))[0]:.0f}"


def first_mix_ffn_drop_path() -> str:
    return f"{_lost(_choice(2))[1]:.0f}"


def late_attention() -> str:
    """The most that either network loses without one attention of stages 3 and 4."""
    return f"{max(max(_lost(_choice(number))) for number in range(9, 17, 2)):.1f}"


def draw_3_early() -> str:
    return _both_in_draw_3(0.2)


def draw_3_late() -> str:
    return _both_in_draw_3(0.6)


_KINDS = "stochastic", "constant"
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@cache
def _results() -> list[dict]:
    return json.loads((EXPERIMENTS / "stochastic_depth.json").read_text(encoding="utf-8"))["runs"]


def _measured(network: str, what: str) -> np.ndarray:
    return np.array([run[what] for run in _results() if run["network"] == network])


def _spread(network: str, what: str) -> str:
    values = _measured(network, what).tolist()
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def _standard_error(network: str, other: str) -> str:
    """Of the difference in test error, seed by seed."""
    differences = _measured(network, "error") - _measured(other, "error")
    return f"{stdev(differences.tolist()) / len(differences) ** 0.5:.2f}"


def _work_dropped(name: str) -> float:
    """The share of a model's work in its blocks, at 512×512, that DropPath drops on average."""
    config = SegFormerConfig.named(name)
    of_stages = [sum(s.multiply_adds_of[1:]) for s in cost(config, (512, 512)).stages]
    dropped = (w * mean(s.drop_path_rates) for w, s in zip(of_stages, config.stages, strict=True))
    return sum(dropped) / sum(of_stages)


def _last(what: str) -> float:
    """Stochastic over constant depth in the last epoch, geometric means over the seeds."""
    stochastic, constant = (np.log(_measured(f"{kind} depth", what)[:, -1]) for kind in _KINDS)
    return math.exp(stochastic.mean() - constant.mean())


def _range_of_last(what: str) -> str:
    """Stochastic over constant depth in the last epoch, seed by seed: the least and the most."""
    stochastic, constant = (_measured(f"{kind} depth", what)[:, -1] for kind in _KINDS)
    ratios = stochastic / constant
    return f"{ratios.min():.0f} to {ratios.max():.0f}"


def _unpractised() -> np.ndarray:
    after = _measured("nothing dropped", "errors after cuts")
    return after[:, 3] / after[:, 0]


def _least_rate(rule: str) -> str:
    return str(min(r for r in RATES if mean(drop_rates(r, 4, rule)) >= 0.25 - 1e-9))


@cache
def _branches() -> dict:
    return json.loads((EXPERIMENTS / "branches.json").read_text(encoding="utf-8"))


def _choice(number: int) -> dict:
    """A row of what is left out: 0 nothing, then 16 branches, 8 blocks and 4 stages."""
    return _branches()["choices"][number]


def _drawn(rate: float) -> dict:
    return next(row for row in _branches()["rates"] if row["rate"] == rate)


def _lost(row: dict) -> list[float]:
    """Points of mIoU that nano loses, and nano-drop-path."""
    return [100 * value for value, _, _ in row["lost"].values()]


def _both_in_draw_3(rate: float) -> str:
    whole, found = _choice(0)["miou"], _drawn(rate)["draws"][2]["miou"]
    nano, drop_path = (100 * (whole[name] - found[name]) for name in whole)
    return f"{nano:.0f} and {drop_path:.0f}"
