"""Lesson 09's widget shows what the model attends to and says, pixel by pixel."""

import io
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from segformer_edu.analysis import attention_maps
from segformer_edu.analysis.attention_heads import cells
from segformer_edu.analysis.contributions import contributions
from segformer_edu.plots.style import BLUE, SEQUENTIAL
from segformer_edu.segformer import SegFormer
from segformer_edu.widgets import Attention
from segformer_edu.widgets.picture import Picture, Raster, Rectangle, Text, heat_map, png

module = sys.modules[Attention.__module__]
State = module.State


def tensors(picture):
    kind, number = picture
    name, data = module.DATA[kind]
    return SegFormer.from_pretrained(name), *data[number]


def number(text) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("picture", module.PICTURES)
@torch.no_grad()
def test_the_table_holds_the_probabilities_of_the_model_at_the_cursors_pixel(picture) -> None:
    model, image, _ = tensors(picture)
    logits = torch.nn.functional.interpolate(model(image[None]), image.shape[1:], mode="bilinear")
    state = State(picture=picture, down=40, across=88)
    row, column = 40 * image.shape[1] // 100, 88 * image.shape[2] // 100
    expected = logits[0, :, row, column].softmax(0)
    names, *rows = Attention.picture_of(state).table
    assert names == (
        "class",
        "attention on its pixels",
        "area",
        "probability",
        *module.PARTS,
        "lead",
    )
    assert tuple(each[0] for each in rows) == model.config.class_names
    for (_, _, _, probability, *parts, lead), true in zip(rows, expected, strict=True):
        assert float(probability.split()[0]) == pytest.approx(100 * true.item(), abs=0.06)
        assert sum(map(number, parts)) == pytest.approx(number(lead), abs=0.031)
    assert sum(number(each[-1]) for each in rows) == pytest.approx(0, abs=0.05)


def test_the_parts_are_counted_from_their_mean_over_all_pictures_of_the_kind() -> None:
    model, _, _ = tensors(("strip", 5))
    images = torch.stack([module.DATA["strip"][1][number][0] for number in range(24)])
    shares = contributions(model, images)
    leads = shares - shares.mean(dim=2, keepdim=True)
    torch.testing.assert_close(module.all_summands("strip"), leads, atol=1e-4, rtol=0)


@pytest.mark.parametrize("head", [module.MEAN, 2])
def test_the_weights_are_those_of_the_token_under_the_cursor(head) -> None:
    picture = ("scene", 10)
    model, image, _ = tensors(picture)
    maps = attention_maps(model, image[None])[2]
    for block, index in (("first", 0), ("last", 1)):
        state = State(picture=picture, stage=3, block=block, head=head, down=26, across=100)
        token = maps[index][0, :, 2, 7]  # of 8 × 8 tokens
        expected = token.mean(0) if head == module.MEAN else token[head - 1]
        np.testing.assert_allclose(module.seen(state).weights, expected, atol=1e-6)


def test_the_title_tells_the_spread_and_where_most_of_it_lies() -> None:
    state = State(picture=("scene", 3), stage=2, head=1)
    found = module.seen(state)
    even = np.full((8, 8), 1 / 64)
    assert found._replace(weights=even).spread == pytest.approx(64)
    one = np.zeros((8, 8))
    one[3, 4] = 1
    assert found._replace(weights=one).spread == 1
    told = found._replace(weights=even, on=np.array([0.1, 0, 0, 0, 0.9, 0, 0, 0]))
    assert module.finding(state, told) == (
        "The weights are as spread as over 64.0 of 64 keys; 90 % lie on pixels of sidewalk."
    )


@pytest.mark.parametrize("number", [5, 7])
def test_on_a_strip_the_title_tells_how_much_lies_on_keys_that_the_lamp_touches(number) -> None:
    state = State(picture=("strip", number), stage=2, head=2)
    found = module.seen(state)
    lamp = module.DATA["strip"][1].lamp_and_balls(number)[0]
    touched = lamp.reshape(4, 16, 16, 16).any((1, 3))
    on, off = found.weights[touched].sum(), found.weights[~touched].sum()
    assert on + off == pytest.approx(1, abs=1e-5) and touched.any()
    assert module.finding(state, found).endswith(
        f"; {100 * on:.0f} % lie on keys that the lamp touches."
    )


def test_attention_on_classes_is_weighed_by_their_pixels() -> None:
    labels = module.drawn(("strip", 5))[1]
    area = module.on_classes(("strip", 5), (4, 16))
    assert area[:, 1, 3].tolist() == [(labels[16:32, 48:64] == k).mean() for k in range(3)]
    found = module.seen(State(picture=("strip", 5), stage=2, head=0))
    assert found.on.sum() == pytest.approx(1, abs=1e-5)


def test_a_head_that_a_stage_does_not_have_is_explained() -> None:
    words = Attention.picture_of(State(stage=2, head=3)).description
    assert words.startswith("Stage 2 has 2 heads, so it has no head 3")
    assert "has 1 head, so" in Attention.picture_of(State(stage=1, head=8)).description


def test_the_attention_lies_over_the_picture_and_does_not_hide_it() -> None:
    shapes = [shape for shape in module.draw(State()).shapes if isinstance(shape, Raster)]
    below, above = shapes[:2]
    assert (below.x, below.y, below.width, below.height) == (
        above.x,
        above.y,
        above.width,
        above.height,
    )
    assert below.opacity == 1 and 0.3 < above.opacity < 0.7 and above.map_


def test_a_browser_and_a_png_let_as_much_shine_through() -> None:
    black, white = (png(np.full((2, 2, 3), colour, np.uint8)) for colour in (0, 255))
    shapes = [Raster(0, 0, 40, 40, black), Raster(0, 0, 40, 40, white, opacity=0.25)]
    picture = Picture(40, shapes, "", "")
    with Image.open(io.BytesIO(picture.png())) as image:
        assert image.convert("RGB").getpixel((20, 20)) == (64, 64, 64)
    below, above = ElementTree.fromstring(picture.svg()).iter("{http://www.w3.org/2000/svg}image")
    assert below.get("opacity") is None and float(above.get("opacity")) == 0.25


@pytest.mark.parametrize("head", [module.MEAN, 2])
def test_the_maps_are_coloured_by_the_chosen_weights_and_each_heads_own(head) -> None:
    state = State(stage=3, head=head)
    found = module.seen(state)
    maps = [shape for shape in module.draw(state).shapes if isinstance(shape, Raster)]
    coloured = [shape.file for shape in maps if shape.map_]
    expected = [found.weights, *found.heads]
    assert coloured == [heat_map(weights, SEQUENTIAL) for weights in expected]
    chosen = [shape.text for shape in module.draw(state).shapes[2:] if getattr(shape, "bold", 0)]
    assert [text for text in chosen if text.isdigit()] == [str(head)] * (head != module.MEAN)


@pytest.mark.parametrize("picture", [("scene", 4), ("strip", 7)])
def test_frames_stand_around_the_token_and_the_pixel_of_the_cursor(picture) -> None:
    state = State(picture=picture, stage=2, head=1, down=26, across=70)
    shapes = module.draw(state).shapes
    frames = [s for s in shapes if isinstance(s, Rectangle) and s.stroke == BLUE][:4]
    photo, *pictures = [s for s in shapes if isinstance(s, Raster)][1:5]
    for shape, frame in zip((photo, *pictures), frames, strict=True):
        x, y = (shape.x + 0.7 * shape.width, shape.y + 0.26 * shape.height)
        assert frame.x <= x <= frame.x + frame.width and frame.y <= y <= frame.y + frame.height
    rows, columns = (16, 16) if picture[0] == "scene" else (8, 32)
    assert frames[0].width == photo.width / columns and frames[0].height == photo.height / rows


def test_the_key_with_most_weight_is_named_by_row_and_column() -> None:
    state = State(stage=3)
    weights = np.zeros((8, 8))
    weights[2, 6] = 1
    told = module.description(state, module.seen(state)._replace(weights=weights))
    assert "most weight (1) is in row 3 of 8 and column 7 of 8." in told


def test_the_scale_names_the_least_the_greatest_and_an_even_share() -> None:
    state = State(stage=3)
    weights = np.full((8, 8), 0.01)
    weights[2, 6], weights[0, 0] = 0.36, 0.02
    panel = module.attention_panel(state, module.seen(state)._replace(weights=weights), 1)
    assert panel[-1].text.startswith("dark 0.010, bright 0.36; all alike: 0.016.")


@torch.no_grad()
def test_the_bars_add_up_to_the_lead_of_the_likeliest_class_over_the_next() -> None:
    model, image, _ = tensors(("scene", 10))
    logits = torch.nn.functional.interpolate(model(image[None]), image.shape[1:], mode="bilinear")
    values, classes = logits[0, :, 51, 112].topk(2)
    found = module.seen(State(("scene", 10), down=40, across=88))
    assert [found.winner, found.second] == classes.tolist()
    assert found.lead.sum() == pytest.approx((values[0] - values[1]).item(), abs=1e-3)


def test_where_the_model_errs_the_bars_are_of_what_it_says() -> None:
    across = (State(("scene", 4), 3, "last", 1, 20, percent) for percent in module.PERCENTS)
    seen = ((state, module.seen(state)) for state in across)
    state, found = next(each for each in seen if each[1].winner != each[1].true)
    texts = [shape.text for shape in module.draw(state).shapes if isinstance(shape, Text)]
    assert [f"{value:+.2f}" for value in found.lead] == [
        text.replace("−", "-") for text in texts if text[0] in "+−"
    ][:-1]  # the last is their sum


def test_numbers_are_written_for_people() -> None:
    assert [module.weight(share) for share in (1.0, 1 / 64, 3e-14)] == [
        "1.0",
        "0.016",
        "under 0.0001",
    ]
    assert [module.probability(share) for share in (1.0, 0.9999, 0.9994, 0.5)] == [
        "100.0 %",
        "over 99.9 %",
        "99.9 %",
        "50.0 %",
    ]


def on_balls(number) -> list:
    """States of stage 2 of a strip, the cursor on a ball."""
    _, balls = module.DATA["strip"][1].lamp_and_balls(number)
    return [
        State(("strip", number), 2, "last", 1, down, across)
        for down in module.PERCENTS
        for across in module.PERCENTS
        if balls[module.token_at(balls.shape, down, across)]
    ]


@pytest.mark.parametrize("number", [5, 7])
def test_the_cursor_stands_on_the_pixel_that_is_described(number) -> None:
    colour = module.DATA["strip"][1].picture(number)[1].max()
    assert len(on_balls(number)) > 10
    for state in on_balls(number)[::5]:
        assert module.seen(state).true == module.seen(state).winner == colour


def test_the_task_can_be_solved() -> None:
    """A red lamp draws stage 2 to it. One head looks at one key, and one nearly everywhere."""
    lamp, _ = module.DATA["strip"][1].lamp_and_balls(5)
    keys = cells(torch.from_numpy(lamp)[None], (4, 16))[0].numpy()
    assert all(module.seen(state).weights[keys].sum() > 0.9 for state in on_balls(5)[::5])
    narrow, wide = (
        [
            module.seen(State(("scene", 4), stage, "last", 1, 50, across)).spread
            for across in (20, 60)
        ]
        for stage in (4, 1)
    )
    assert min(narrow) < 1.5 and max(wide) > 40


def test_texts_of_the_three_pictures_do_not_meet() -> None:
    texts = [shape for shape in module.draw(State()).shapes if isinstance(shape, Text)]
    names = [text for text in texts if text.y == module.TOP - 12][1:]
    assert [text.text for text in names] == ["strip", "the model's answer", "the truth"]
    assert all(a.x + 7 * len(a.text) < b.x for a, b in zip(names, names[1:], strict=False))
