"""Lesson 10's widget: its floors are those of the operations, and its clock is read, not drawn."""

import pytest
import torch

from segformer_edu import SegFormerConfig
from segformer_edu.analysis.roofline import Ceilings, work_of
from segformer_edu.plots.style import BLUE, GREY, ORANGE, digits
from segformer_edu.widgets import Roofline, roofline
from segformer_edu.widgets.picture import Rectangle, Text
from segformer_edu.widgets.roofline import (
    CHANGES,
    ELSEWHERE,
    HERE,
    LEFT,
    MODELS,
    PARTS,
    RULER,
    SIDES,
    Machine,
    State,
    draw,
    floors,
    picture,
)

CLOCK = {"stage 1": 0.5, "stage 2": 0.25, "stage 3": 0.25, "stage 4": 0.125, "decoder": 1.0}
MACHINE = Machine("slow", Ceilings(1e10, 1e9, 5e9), {("b0", 512): CLOCK})


def lengths(shapes, color):
    return [s.width for s in shapes if isinstance(s, Rectangle) and s.fill == color and s.y > 80]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("model", "side"), [("b0", 64), ("b2", 256), ("b5", 1024)])
def test_floors_are_the_sums_over_all_operations(model, side, change):
    faster, nearer = CHANGES[change]
    ceilings = Ceilings(1e10 * faster, 1e9 * nearer, 5e9 * nearer)
    config = SegFormerConfig.named(model, num_classes=150)
    for part, floor in floors(model, side, ceilings, {}).items():
        works = [work for work in work_of(config, (side, side)) if work.part == part]
        least = sum(
            max(2 * w.multiply_adds / (1e10 * faster), w.bytes / (1e9 * nearer)) for w in works
        )
        assert floor.least == pytest.approx(1000 * least)
        assert floor.clock is None
        limited = [w for w in works if 2 * w.multiply_adds / faster < 10 * w.bytes / nearer]
        moving = sum(w.bytes for w in limited) / (1e9 * nearer)
        assert floor.moving == pytest.approx(1000 * moving)
    cells = {row[0]: row[1:] for row in picture(State(model, side, HERE, change), MACHINE).table}
    assert list(cells) == ["part", *PARTS, "in all"]
    total = sum(floor.least for floor in floors(model, side, ceilings, {}).values())
    assert cells["in all"][0] == digits(total)


def test_bars_are_as_long_as_what_they_tell():
    shapes = picture(State("b0", 512), MACHINE).shapes
    clock = lengths(shapes, GREY)
    assert [round(x / clock[-1], 6) for x in clock] == [0.5, 0.25, 0.25, 0.125, 1.0]
    floor = [a + b for a, b in zip(lengths(shapes, BLUE), lengths(shapes, ORANGE), strict=True)]
    expected = [each.least for each in floors("b0", 512, MACHINE.ceilings, {}).values()]
    longest = max(*expected, 1000)
    assert floor == pytest.approx([RULER * least / longest for least in expected])


def test_a_clock_is_shown_where_it_was_read_and_nowhere_else():
    read = picture(State("b0", 512), MACHINE)
    assert "the clock says 2,120" in read.title and "clock 1,000 ms" in read.description
    for state in (State("b0", 256), State("b1", 512), State("b0", 512, change="both")):
        unread = picture(state, MACHINE)
        assert "no clock was read" in unread.title and not lengths(unread.shapes, GREY)
        assert {row[4] for row in unread.table[1:]} == {"not read"}
        assert not [s for s in unread.shapes if isinstance(s, Text) and s.text == "the clock"]


def test_twice_of_everything_halves_every_floor():
    before = floors("b1", 256, MACHINE.ceilings, {})
    after = floors("b1", 256, roofline.changed(MACHINE.ceilings, "both"), {})
    for part in PARTS:
        assert after[part].least == pytest.approx(before[part].least / 2)


def test_a_faster_memory_helps_the_decoder_and_stage_1_most_and_arithmetic_the_others():
    """The lesson says so, of B0 at 512, on the machines of the table."""
    for machine in ELSEWHERE.values():
        before = floors("b0", 512, machine.ceilings, {})
        after = floors("b0", 512, roofline.changed(machine.ceilings, "memory twice as fast"), {})
        saved = {part: before[part].least - after[part].least for part in PARTS}
        assert sorted(saved, key=saved.get)[-2:] in (["stage 1", "decoder"], ["decoder", "stage 1"])


def test_at_small_sizes_the_clock_lies_further_above_the_floor():
    for machine in ELSEWHERE.values():
        above = {}
        for side in (64, 512):
            rows = floors("b0", side, machine.ceilings, machine.seconds["b0", side])
            above[side] = roofline.summed(rows).clock / roofline.summed(rows).least
        assert above[64] > 1.5 * above[512]


def test_from_b0_to_b1_the_encoder_costs_several_times_as_much_and_the_decoder_little_more():
    for machine in ELSEWHERE.values():
        b0, b1 = (floors(model, 512, machine.ceilings, {}) for model in ("b0", "b1"))
        assert all(b1[part].least > 2 * b0[part].least for part in PARTS[:4])
        assert b1["decoder"].least < 1.5 * b0["decoder"].least


def test_the_table_holds_measured_machines():
    assert ELSEWHERE
    for machine in ELSEWHERE.values():
        assert all(value > 1e8 for value in machine.ceilings)
        for (model, side), seconds in machine.seconds.items():
            assert model in MODELS and side in SIDES and set(seconds) == set(PARTS)


def test_the_live_widget_measures_this_machine_once_and_the_stored_picture_does_not(monkeypatch):
    asked = []
    monkeypatch.setattr(roofline, "measured_ceilings", lambda: MACHINE.ceilings)
    monkeypatch.setattr(roofline, "seconds_of", lambda *given: asked.append(given) or CLOCK)
    roofline.here.cache_clear()
    threads = torch.get_num_threads()
    try:
        for _ in range(2):
            widget = Roofline()
        assert widget.state == State(machine=HERE)
        assert "the clock says 2,120" in widget.picture.value
        assert asked == [("b0", 128), ("b0", 256), ("b0", 512)]
        assert torch.get_num_threads() == threads
        data, metadata = widget._repr_mimebundle_()
        assert data["text/plain"] == metadata["image/png"]["alt"] == draw(State()).alt
        assert State().machine in ELSEWHERE
    finally:
        roofline.here.cache_clear()


def test_every_bar_stays_right_of_its_names():
    for state in (State("b0", 64), State("b5", 2048)):
        boxes = [s for s in picture(state, MACHINE).shapes if isinstance(s, Rectangle) and s.y > 80]
        assert all(box.x >= LEFT and box.x + box.width <= LEFT + RULER + 1e-6 for box in boxes)
