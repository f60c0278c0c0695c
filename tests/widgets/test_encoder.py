"""Lesson 06's widget shows the numbers of analysis.cost and the sentences of the config."""

import itertools
import random
import sys
from dataclasses import fields, replace

import pytest

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.widgets import Pyramid

module = sys.modules[Pyramid.__module__]
State = module.State
VALUES = {field.name: field.metadata["values"] for field in fields(State)}


def state_of(name: str, side: int):
    config = SegFormerConfig.named(name)
    own = {field: getattr(config, field) for field in VALUES if field != "side"}
    return State(**own, side=side)


def shown(state) -> dict[str, str]:
    table = Pyramid.picture_of(state).table[1:]
    assert len(dict(table)) == len(table)  # no two rows of one name
    return dict(table)


def test_the_table_holds_the_numbers_of_analysis_cost() -> None:
    chance, compared = random.Random(2), 0
    for _ in range(200):
        state = State(*map(chance.choice, VALUES.values()))
        settings = {name: getattr(state, name) for name in VALUES if name != "side"}
        try:
            bill = cost(SegFormerConfig(**settings), (state.side, state.side))
        except ValueError as error:
            assert Pyramid.picture_of(state).description == str(error)
            assert "heads do not divide" in str(error) or "no key left" in str(error)
            continue
        numbers = shown(state)
        pairs = {
            "parameters": bill.parameters,
            "parameters of the encoder": bill.encoder_parameters,
            "multiply-adds": bill.reference_multiply_adds,
            "multiply-adds of the encoder": bill.encoder_multiply_adds,
            "peak memory, bytes": bill.peak_activation_bytes,
        }
        for number, stage in enumerate(bill.stages, start=1):
            pairs |= {f"stage {number}: tokens": stage.tokens, f"stage {number}: keys": stage.keys}
        for name, count in pairs.items():
            assert int(numbers[name].replace(",", "")) == count
        compared += 1
    assert compared > 100


@pytest.mark.parametrize(("name", "side"), [("b0", 512), ("b2", 512), ("b5", 640)])
def test_the_published_variants_can_be_set_and_are_recognised(name: str, side: int) -> None:
    picture = Pyramid.picture_of(state_of(name, side))
    assert picture.title.startswith(f"{name.upper()}: ")
    model = SegFormer(SegFormerConfig.named(name)) if name == "b0" else None
    if model:
        count = sum(weight.numel() for weight in model.parameters())
        assert shown(state_of(name, side))["parameters"] == f"{count:,}"


def test_a_design_stands_where_its_numbers_say() -> None:
    small, large = (module.place(module.published(512)[name]) for name in ("b0", "b5"))
    assert small[0] < large[0] and small[1] > large[1]  # to the right, and up
    left, width, top, bottom = module.PLOT
    decade = module.place(cost(SegFormerConfig.named("b1"), (512, 512)))[0] - small[0]
    assert decade == pytest.approx(width / 3 * 0.563, abs=0.5)  # log10(13,715,798 / 3,752,694)
    for name in module.PUBLISHED:
        x, y = module.place(module.published(512)[name])
        assert left < x < left + width and top < y < bottom


def test_every_design_stands_on_the_map() -> None:
    """The bill grows with every slider but the ratios, so its extremes are at theirs."""
    left, width, top, bottom = module.PLOT
    ends = [VALUES[name] for name in VALUES if name not in ("num_heads", "reduction_ratios")]
    for chosen in itertools.product(*((values[0], values[-1]) for values in ends)):
        for ratios in VALUES["reduction_ratios"]:
            dims, depths, mlp_ratios, decoder_dim, side = chosen
            state = State(dims, depths, (1, 2, 4, 8), ratios, mlp_ratios, decoder_dim, side)
            try:
                bill = cost(state.config, (side, side))
            except ValueError:
                continue  # no key left
            x, y = module.place(bill)
            assert left <= x <= left + width and top <= y <= bottom, state


def test_no_two_names_on_the_map_overlap() -> None:
    names = [name.upper() for name in module.PUBLISHED]
    for side in VALUES["side"]:
        shapes = Pyramid.picture_of(State(side=side)).shapes
        named = [each for each in shapes if getattr(each, "text", "") in names]
        assert len(named) == 6
        for one, other in itertools.combinations(named, 2):  # a name is 15 wide and 9 high
            assert abs(one.x - other.x) > 16 or abs(one.y - other.y) > 9


def test_each_slider_of_the_task_moves_what_the_lesson_says() -> None:
    def bill(state) -> tuple[int, int, int]:
        found = cost(state.config, (state.side, state.side))
        return found.parameters, found.reference_multiply_adds, found.peak_activation_bytes

    def moved(field: str) -> set[tuple[bool, ...]]:
        """Which of the three change, for every value of a slider that can be built."""
        found = set()
        for value in VALUES[field]:
            state = replace(State(), **{field: value})
            if value == getattr(State(), field):
                continue
            try:
                pairs = zip(bill(state), bill(State()), strict=True)
                found.add(tuple(now != then for now, then in pairs))
            except ValueError:
                continue
        return found

    alone = {field: moved(field) for field in VALUES}
    no_memory = [field for field, found in alone.items() if found == {(True, True, False)}]
    assert no_memory == ["depths", "reduction_ratios", "mlp_ratios"]
    assert [field for field, found in alone.items() if found == {(False, True, True)}] == ["side"]
    free = [field for field, found in alone.items() if found == {(False, False, False)}]
    assert free == ["num_heads"]


def test_the_deepest_network_within_b1_is_the_narrowest() -> None:
    limit = cost(SegFormerConfig.named("b1"), (512, 512))
    deepest: dict[int, set] = {}
    for chosen in itertools.product(*(VALUES[name] for name in VALUES if name != "side")):
        state = State(*chosen, side=512)
        try:
            bill = cost(state.config, (512, 512))
        except ValueError:
            continue
        dearer = bill.reference_multiply_adds > limit.reference_multiply_adds
        if bill.parameters <= limit.parameters and not dearer:
            deepest.setdefault(sum(state.depths), set()).add(state.embed_dims)
    assert max(deepest) == 52 and deepest[52] == {(16, 32, 64, 128)}


def test_words_say_where_a_design_stands() -> None:
    assert "Larger and dearer than B0." in Pyramid.picture_of(state_of("b1", 512)).description
    assert "Smaller and cheaper than B1, B2" in Pyramid.picture_of(State()).description
