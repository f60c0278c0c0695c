"""The numbers that lesson 11 states: each function computes one from the package or a table."""

import json
import math
from functools import cache
from typing import Any

import numpy as np
from scipy.special import stdtrit

from experiments import every_ratio, token_merging
from experiments.claims.models import config_of, size_of
from experiments.claims.parts import BASE
from experiments.claims.settings import LAID_ANEW, SIDE, Condition, Model
from experiments.claims.tables import HERE
from segformer_edu.analysis import cost
from segformer_edu.analysis.seeds import Table, interval
from segformer_edu.analysis.token_merging import Merging, multiply_adds


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


def keys_saved() -> str:
    few, all_keys = (
        size_of(Model(reduction_ratios=ratios))[1] for ratios in ((8, 4, 2, 1), (1, 1, 1, 1))
    )
    return f"{100 * (1 - few / all_keys):.0f} %"


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


def tm_queries_neighbours_again() -> str:
    return _change(_merged("128 again", "queries", "neighbours", 0.5, "queries similar 0.5"))


def tm_queries_cost_cells_of_4() -> str:
    config, size = token_merging.nano((4, 2, 1, 1)).config, (256, 256)
    queries = (Merging(0.5, cell=4),) * 4
    return f"{multiply_adds(config, size, queries) / cost(config, size).multiply_adds:.2f}"


def tm_trained_at_most() -> str:
    """The upper end of what the trained reduction is ahead, over both sizes, rounded up."""
    against = "keys similar 0.75"
    rows = [
        _merged(part, "trained reduction", None, 0.75, against)
        for part in ("128", "256", "128 again")
    ]
    return f"{math.ceil(100 * max(row['high'] for row in rows)) / 100:.2f}"


@cache
def _table(name: str) -> Table:
    return Table(HERE / f"{name}.csv")


def _paired(one: str, other: str, of_one: str, of_other: str = "") -> str:
    """The mean difference of two arms, seed by seed, with Student's interval.

    Args:
        one, other: arms.
        of_one, of_other: the tables that hold them; one table if the second is left out.
    """
    return _told(_table(of_one).values(one) - _table(of_other or of_one).values(other))


def _told(difference: np.ndarray) -> str:
    """The mean over seeds, with Student's interval."""
    return str(interval(difference)).replace("-", "−")


def _on_mosaics(arm: str, pictures: str) -> str:
    return f"{_table('mosaics').kept(arm, pictures, [2]).mean():.2f}"


def laid_anew_overlapping() -> str:
    return _on_mosaics("overlapping, PE", LAID_ANEW)


def laid_anew_patches() -> str:
    return _on_mosaics("patches, PE", LAID_ANEW)


def resized_overlapping() -> str:
    return _on_mosaics("overlapping, PE", "mosaic")


def resized_patches() -> str:
    return _on_mosaics("patches, PE", "mosaic")


def rates_convolution() -> str:
    usual, twice = (_table("rates").values(f"3×3 convolution, {x}")[0] for x in ("0.008", "0.016"))
    return f"{twice - usual:.3f}"


def attention_less_convolution() -> str:
    return _paired("attention", "3×3 convolution", "robustness")


def recipe_scenes() -> str:
    return f"{BASE.scenes:,}"


def recipe_steps() -> str:
    return f"{BASE.steps:,}"


def scaling_steps() -> str:
    return _paired("2000 steps", "1600 scenes", "scaling")


def scaling_width() -> str:
    return _paired("width × 2", "1600 scenes", "scaling")


def scaling_steps_less_width() -> str:
    return _paired("2000 steps", "width × 2", "scaling")


def width_cost() -> str:
    return f"{size_of(Model(width=2.0))[1] / size_of(Model())[1]:.1f}"


def _of_scenes(number: int, pictures: str) -> str:
    return f"{_table('scaling').values(f'{number} scenes', pictures).mean():.2f}"


def seen_of_50() -> str:
    return _of_scenes(50, "seen")


def unseen_of_50() -> str:
    return _of_scenes(50, "scene")


def seen_of_3200() -> str:
    return _of_scenes(3200, "seen")


def unseen_of_3200() -> str:
    return _of_scenes(3200, "scene")


def seen_of_4000_steps() -> str:
    return f"{_table('longest').values('4000 steps', 'seen').mean():.2f}"


def unseen_of_4000_steps() -> str:
    return f"{_table('longest').values('4000 steps').mean():.2f}"


def _dropping(blocks: int, pictures: str = "scene") -> np.ndarray:
    """What the drop-path rate 0.3 brings at a depth, for each seed."""
    dropped, kept = (
        _table("depth").values(f"depth {blocks}, rate {rate}", pictures) for rate in ("0.3", "0")
    )
    return dropped - kept


def drop_path_gain() -> str:
    return _told(_dropping(1))


def drop_path_seen() -> str:
    return _told(_dropping(1, "seen"))


def gain_of_depth() -> str:
    return _told(_dropping(3) - _dropping(1))


def _gap(blocks: int, rate: float = 0) -> str:
    seen, unseen = (
        _table("depth").values(f"depth {blocks}, rate {rate}", pictures)
        for pictures in ("seen", "scene")
    )
    return f"{(seen - unseen).mean():.2f}"


def gap_of_depth_1() -> str:
    return _gap(1)


def gap_with_drop_path() -> str:
    return _gap(1, 0.3)


def gap_of_depth_3() -> str:
    return _gap(3)


def second_block() -> str:
    return _paired("depth 2, rate 0", "depth 1, rate 0", "depth")


def third_block() -> str:
    return _paired("depth 3, rate 0", "depth 2, rate 0", "depth")


def _pretrained(scenes: int, rival: str) -> str:
    """What pretraining brings, at the better of the two rates, which is the higher one for all."""
    return _paired(
        f"{scenes} scenes, 0.008, pretrained", f"{scenes} scenes, {rival}", "pretraining"
    )


def pretrained_50() -> str:
    return _pretrained(50, "0.008, from scratch")


def pretrained_200() -> str:
    return _pretrained(200, "0.008, from scratch")


def pretrained_800() -> str:
    return _pretrained(800, "0.008, from scratch")


LONGER = "from scratch for 1250 steps"


def pretrained_longer_50() -> str:
    return _pretrained(50, LONGER)


def pretrained_longer_200() -> str:
    return _pretrained(200, LONGER)


def pretrained_longer_800() -> str:
    return _pretrained(800, LONGER)


def longer_seen_50() -> str:
    return f"{_table('pretraining').values(f'50 scenes, {LONGER}', 'seen').mean():.2f}"


QUERIES, LINEAR = "class queries, patches of 8", "linear head, patches of 8"
COARSE = "class queries, patches of 16"


def plain_queries() -> str:
    return _paired(QUERIES, "SegFormer", "plain")


def plain_patches() -> str:
    return _paired(QUERIES, COARSE, "plain")


def plain_hierarchy() -> str:
    return _paired(QUERIES, "patches, PE", "plain", "resolution")


def plain_head() -> str:
    return _paired(QUERIES, LINEAR, "plain")


def plain_parameters() -> str:
    return f"{_table('plain').values(QUERIES, column='parameters')[0]:,.0f}"


def half_width_size() -> str:
    return f"{_table('scaling').values('width × 0.5', column='parameters')[0]:,.0f}"


def half_width_lead() -> str:
    return _paired("width × 0.5", QUERIES, "scaling", "plain")
