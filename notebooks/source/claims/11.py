"""The numbers that lesson 11 states: each function computes one from the package or a table."""

import json
import math
from functools import cache
from typing import Any

from scipy.special import stdtrit

from experiments import every_ratio, token_merging
from experiments.claims.models import config_of, size_of
from experiments.claims.settings import SIDE, Condition, Model
from segformer_edu.analysis import cost


def t_of_five() -> str:
    return f"{stdtrit(4, 0.975):.2f}"


def test_scenes() -> str:
    return str(Condition().scenes)


def segformer_size() -> str:
    return f"{size_of(Model())[0]:,}"


def convolution_size() -> str:
    return f"{size_of(Model(kind='convolution'))[0]:,}"


def segformer_work() -> str:
    return f"{size_of(Model())[1] / 1e6:.2f}"


def convolution_work() -> str:
    return f"{size_of(Model(kind='convolution'))[1] / 1e6:.2f}"


def keys_at_8421() -> str:
    stages = cost(config_of(Model(reduction_ratios=(8, 4, 2, 1))), (SIDE, SIDE)).stages
    (keys,) = {stage.keys for stage in stages}
    return {4: "four"}[keys]


def queries_of_stage_1() -> str:
    return str(cost(config_of(Model()), (SIDE, SIDE)).stages[0].tokens)


@cache
def _every_ratio() -> list[dict[str, Any]]:
    return json.loads((every_ratio.HERE / "every_ratio.json").read_text(encoding="utf-8"))["rows"]


def _of_size(column: str, size: int) -> list[float]:
    return [row[column] for row in _every_ratio() if row["size"] == size]


def combinations() -> str:
    (number,) = {len(_of_size("miou", size)) for size in (128, 256)}
    return str(number)


def miou_of_ratios_128() -> str:
    return f"{min(_of_size('miou', 128)):.3f} to {max(_of_size('miou', 128)):.3f}"


def miou_of_ratios_256() -> str:
    return f"{min(_of_size('miou', 256)):.3f} to {max(_of_size('miou', 256)):.3f}"


def dearest_256() -> str:
    work = _of_size("multiply-adds", 256)
    return f"{max(work) / min(work):.1f}"


@cache
def _merging() -> dict[str, Any]:
    return json.loads(token_merging.RESULTS.read_text(encoding="utf-8"))


def _merged(
    part: str,
    what: str,
    matching: str | None = "similar",
    share: float | None = None,
    against: str = "nothing",
) -> dict[str, Any]:
    """The one row of token_merging.json of this description."""
    wanted = what, matching, share, against
    (row,) = (
        row
        for row in _merging()[part]["rows"]
        if (row["what"], row["matching"], row["share"], row["against"]) == wanted
    )
    return row


def _change(row: dict[str, Any]) -> str:
    ends = [f"{row[name]:+.4f}" for name in ("change", "low", "high")]
    change, low, high = (end.replace("-", "−") for end in ends)
    return f"{change} ({low} to {high})"


def tm_scenes() -> str:
    return str(_merged("128", "nothing", None)["scenes"])


def tm_again_scenes() -> str:
    return str(_merged("128 again", "nothing", None)["scenes"])


def tm_draws() -> str:
    return f"{token_merging.DRAWS:,}"


def tm_hq_128() -> str:
    return _change(_merged("128", "SegFormer++ HQ"))


def tm_hq_256() -> str:
    return _change(_merged("256", "SegFormer++ HQ"))


def tm_hq_again() -> str:
    return _change(_merged("128 again", "SegFormer++ HQ"))


def tm_hq_cost_128() -> str:
    return f"{_merged('128', 'SegFormer++ HQ')['cost']:.2f}"


def tm_hq_cost_256() -> str:
    return f"{_merged('256', 'SegFormer++ HQ')['cost']:.2f}"


def tm_no_attention() -> str:
    return _change(_merged("128", "no attention", None))


def tm_hq_neighbours_again() -> str:
    return _change(
        _merged("128 again", "SegFormer++ HQ", "neighbours", None, "SegFormer++ HQ similar")
    )


def tm_keys_neighbours_again() -> str:
    return _change(_merged("128 again", "keys", "neighbours", 0.75, "keys similar 0.75"))


def tm_keys_neighbours_256() -> str:
    return _change(_merged("256", "keys", "neighbours", 0.75, "keys similar 0.75"))


def tm_most_neighbours_256() -> str:
    return _change(_merged("256", "keys", "neighbours", 0.9375, "keys similar 0.9375"))


def tm_most_neighbours_again() -> str:
    return _change(_merged("128 again", "keys", "neighbours", 0.9375, "keys similar 0.9375"))


def tm_counted_again() -> str:
    return _change(_merged("128 again", "keys, counted", "similar", 0.75, "keys similar 0.75"))


def tm_trained_again() -> str:
    return _change(_merged("128 again", "trained reduction", None, 0.75, "keys similar 0.75"))


def tm_trained_256() -> str:
    return _change(_merged("256", "trained reduction", None, 0.75, "keys similar 0.75"))


def tm_queries_cost_256() -> str:
    return f"{_merged('256', 'queries', 'similar', 0.5)['cost']:.2f}"


def tm_trained_at_most() -> str:
    """The upper end of what the trained reduction is ahead, over both sizes, rounded up."""
    against = "keys similar 0.75"
    rows = [
        _merged(part, "trained reduction", None, 0.75, against)
        for part in ("128", "256", "128 again")
    ]
    return f"{math.ceil(100 * max(row['high'] for row in rows)) / 100:.2f}"
