"""Lesson 03's widget shows the numbers of analysis.cost and the attention of the model."""

import random
import sys

import pytest
import torch

from segformer_edu import SpatialReductionAttention
from segformer_edu.analysis import cost
from segformer_edu.widgets import SpatialReduction
from segformer_edu.widgets.picture import Lines, Raster

module = sys.modules[SpatialReduction.__module__]
State, CONFIG = module.State, module.CONFIG


def some_states(count: int) -> list:
    chance = random.Random(1)
    return [
        State(
            chance.choice(module.SIZES),
            chance.randint(1, 4),
            *(chance.choice(module.PERCENTS) for _ in range(2)),
            *(chance.choice(module.RATIOS) for _ in range(4)),
        )
        for _ in range(count)
    ]


def numbers(state) -> dict[str, tuple[str, str]]:
    picture = SpatialReduction.picture_of(state)
    shown = {what: (now, full) for what, now, full in picture.table[1:]}
    assert len(shown) == len(picture.table) - 1  # no two rows of one name
    return shown


def test_the_table_holds_the_numbers_of_analysis_cost() -> None:
    compared = 0
    for state in some_states(300):
        try:
            now = cost(CONFIG.replace(reduction_ratios=state.ratios), state.size)
        except ValueError as error:
            assert str(error) in SpatialReduction.picture_of(state).description
            continue
        full = cost(CONFIG.replace(reduction_ratios=(1, 1, 1, 1)), state.size)
        pairs = {
            f"tokens, so queries, of stage {state.stage}": [
                each.stages[state.stage - 1].tokens for each in (now, full)
            ],
            f"keys for each query of stage {state.stage}": [
                each.stages[state.stage - 1].keys for each in (now, full)
            ],
            "multiply-adds, encoder": [each.encoder_multiply_adds for each in (now, full)],
            "memory of all attention weights": [
                sum(4 * stage.attention_entries for stage in each.stages) for each in (now, full)
            ],
            "peak memory, weights never stored": [
                each.peak_activation_bytes for each in (now, full)
            ],
        }
        shown = numbers(state)
        pairs |= {
            f"keys of stage {number}": [stage.keys, plain.keys]
            for number, (stage, plain) in enumerate(zip(now.stages, full.stages, strict=True), 1)
        }
        for what, pair in pairs.items():
            assert [int(text.split()[0].replace(",", "")) for text in shown[what]] == pair
        compared += 1
    assert compared > 100


def test_the_published_numbers() -> None:
    shown = numbers(State())
    assert [shown[f"keys of stage {stage}"][0] for stage in (1, 2, 3, 4)] == ["256"] * 4
    seen = numbers(State(size=(124, 124)))["tokens of stage 1 that a key sees"]
    assert seen == (f"{100 * (24 / 31) ** 2:.1f} %", "100 %")


def test_the_task_can_be_solved() -> None:
    """8, 4, 2, 1 is the cheapest for 384 × 512; at 500 × 300 three stages need r = 1."""

    def solves(size: tuple[int, int], stage: int, ratio: int) -> bool:
        seen = module.bill(size, CONFIG.reduction_ratios[: stage - 1] + (1,) * (5 - stage))
        height, width = seen.stages[stage - 1].size
        return not (height % ratio or width % ratio) and height * width >= 100 * ratio**2

    def largest(size: tuple[int, int]) -> list[int]:
        return [
            max(ratio for ratio in module.RATIOS if solves(size, stage, ratio))
            for stage in (1, 2, 3, 4)
        ]

    assert largest((384, 512)) == [8, 4, 2, 1]
    assert largest((500, 300)) == [1, 1, 1, 1]


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_with_r_1_the_map_is_the_attention_of_the_model(stage: int) -> None:
    """The same queries and keys as in the model's own module, with nothing reduced."""
    size, query = (124, 124), (1, 2)
    attention = module.attentions_of(module.model().encoder.stages[stage - 1])[0]
    plain = SpatialReductionAttention(attention.dim, attention.num_heads, 1)
    plain.load_state_dict(attention.state_dict(), strict=False)
    with torch.no_grad():
        weights = plain.weights(module.stage_inputs(size)[stage - 1])
    expected = weights[0, :, query[0], query[1]].mean(0)
    shown = module.attention_of(size, stage, 1, query)
    assert torch.allclose(torch.from_numpy(shown), expected, atol=1e-6)


def test_a_key_is_the_mean_of_its_tokens() -> None:
    size, ratio = (124, 124), 8
    attention = module.attentions_of(module.model().encoder.stages[0])[0]
    x = module.stage_inputs(size)[0]  # 31 × 31 tokens
    with torch.no_grad():
        mean = x[0, 8:16, 16:24].mean((0, 1))
        expected = attention.key(mean[None])[0]
    _, keys = module.keys_of(size, 1, ratio)
    assert torch.allclose(keys[0, 0, 1 * 3 + 2], expected, atol=1e-5)


def test_the_unseen_margin_is_hatched_where_there_is_one() -> None:
    def hatchings(state) -> int:
        shapes = module.unseen(0, state, module.bill(state.size, state.ratios).stages[0])
        return sum(isinstance(shape, Lines) for shape in shapes)

    assert hatchings(State()) == 0
    assert hatchings(State(size=(124, 124))) == 2


@pytest.mark.parametrize("size", module.SIZES)
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_the_query_is_framed_in_the_size_of_its_token_or_is_a_dot_that_is_no_larger_than_a_key(
    size: tuple[int, int], stage: int
) -> None:
    tokens = module.bill(size, CONFIG.reduction_ratios).stages[stage - 1]
    _, (height, width) = module.token_scale(State(size, stage), tokens)
    *_, mark = module.marker(0, (height, width), (2, 1))
    assert mark.x + mark.width / 2 == pytest.approx(1.5 * width)
    assert mark.y + mark.height / 2 - module.TOP == pytest.approx(2.5 * height)
    if mark.fill == "none":
        assert (mark.height, mark.width) == pytest.approx((height + 2, width + 2))
    else:
        assert max(mark.height, mark.width) < tokens.reduction_ratio * min(height, width) / 2


def test_the_attention_panel_covers_what_is_seen() -> None:
    state = State(size=(124, 124))
    shapes = SpatialReduction.picture_of(state).shapes
    heat = [shape for shape in shapes if isinstance(shape, Raster) and shape.map_]
    assert [round(shape.width / module.SIDE, 3) for shape in heat] == [round(24 / 31, 3)]


def test_the_model_is_the_same_every_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    module.model.cache_clear()
    first = module.model().state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    module.model.cache_clear()
    assert all(torch.equal(first[name], each) for name, each in module.model().state_dict().items())
