"""Attention is drawn as it is, and its query is marked where it stands."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from segformer_edu import plots
from segformer_edu.data.photos import sample_photo

PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_each_row_is_drawn_as_its_map_with_a_frame_around_its_query():
    maps = np.random.default_rng(0).random((2, 6, 8))
    queries = [(1, 2), (4, 7)]
    photo_ax, *axes = plots.attention_rows(PHOTO, maps, queries, ["sky", "sea"]).axes
    assert len(photo_ax.patches) == 4 and [note.get_text() for note in photo_ax.texts] == [
        "sky",
        "sea",
    ]
    for ax, each, (row, column), name in zip(axes, maps, queries, ["sky", "sea"], strict=True):
        assert np.array_equal(ax.images[0].get_array(), each)
        assert ax.get_title(loc="left") == name
        for frame in ax.patches:  # the token (row, column) fills the unit square from there
            assert frame.get_center() == pytest.approx((column + 0.5, row + 0.5))


def test_one_query_in_several_maps_is_named_once():
    maps = np.ones((3, 6, 8))
    figure = plots.attention_rows(PHOTO, maps, [(1, 2)] * 3, ["head 1", "head 2", "head 3"])
    assert [note.get_text() for note in figure.axes[0].texts] == ["query"]


def test_the_photograph_is_as_tall_as_it_is():
    wide = plots.attention_rows(PHOTO, np.ones((1, 6, 8)), [(0, 0)], ["a"])
    square = plots.attention_rows(sample_photo(), np.ones((1, 8, 8)), [(0, 0)], ["a"])
    assert wide.get_figheight() < square.get_figheight()


def test_attention_over_keys_draws_each_map_and_marks_the_query_in_all():
    maps = [np.eye(4), np.eye(2)]
    figure = plots.attention_over_keys(PHOTO, maps, (0.25, 0.75), ["16 keys", "4 keys"], "Found")
    photo, *panels = figure.axes
    assert np.array_equal(photo.images[0].get_array(), PHOTO)
    for ax, weights, caption in zip(panels, maps, ["16 keys", "4 keys"], strict=True):
        assert np.array_equal(ax.images[0].get_array(), weights)
        assert ax.get_title(loc="left") == caption
    for ax in figure.axes:
        assert {tuple(line.get_xydata()[0]) for line in ax.lines} == {(0.75, 0.25)}


def test_the_mark_of_the_query_leaves_its_key_to_be_seen():
    maps = [np.eye(16), np.eye(8)]
    figure = plots.attention_over_keys(sample_photo(), maps, (0.5, 0.5), ["many", "few"])
    figure.draw_without_rendering()
    panel = figure.axes[1].get_window_extent().width * 72 / figure.dpi  # in points
    assert max(line.get_markersize() for line in figure.axes[1].lines) < panel / 16 / 2


def test_a_grid_of_attention_has_a_row_for_each_picture_on_one_scale():
    pictures = [np.full((4, 16, 3), value, dtype=np.uint8) for value in (10, 200)]
    maps = [[np.full((2, 8), weight), np.eye(2, 8)] for weight in (0.02, 0.5)]
    queries = [(0.25, 0.5), (0.75, 0.125)]
    figure = plots.attention_grid(pictures, maps, queries, ["head 1", "head 2"])
    *panels, scale = figure.axes
    shown = [ax.images[0] for ax in panels]
    expected = [pictures[0], *maps[0], pictures[1], *maps[1]]
    for image, each in zip(shown, expected, strict=True):
        assert np.array_equal(image.get_array(), each)
        assert image.get_clim() == (0, 1)
    for ax, query in zip(panels, [queries[0]] * 3 + [queries[1]] * 3, strict=True):
        assert all(line.get_xydata().tolist() == [[query[1], query[0]]] for line in ax.lines)
    captions = [ax.get_title(loc="left") for ax in panels]
    assert captions == ["the picture", "head 1", "head 2", "", "", ""]
    with pytest.raises(ValueError, match="captions"):
        plots.attention_grid(pictures, maps, queries, ["head 1"])


def test_what_lies_under_the_mark_of_a_grid_is_seen_with_a_ring_around_it():
    color = (10, 120, 200)
    picture = np.full((64, 256, 3), color, dtype=np.uint8)  # as large as a strip of lamps
    figure = plots.attention_grid([picture], [[np.eye(8, 32)] * 2], [(0.5, 0.25)], ["a", "b"])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ax = figure.axes[0]
    x, y = ax.transData.transform((0.25, 0.5)).astype(int)
    pixels = np.flipud(np.asarray(canvas.buffer_rgba())[..., :3])
    ball = 10 / 256 * ax.get_window_extent().width  # the largest radius, in dots
    across = (pixels[y, x : x + 30] == color).all(axis=1)
    assert across[: int(ball)].all() and not across.all()


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.attention_rows(PHOTO, np.ones((6, 8)), [(0, 0)], ["a"]), "maps of shape"),
        (lambda: plots.attention_rows(PHOTO, np.ones((2, 6, 8)), [(0, 0)], ["a"]), "maps of shape"),
        (lambda: plots.attention_rows(PHOTO / 255, np.ones((1, 6, 8)), [(0, 0)], ["a"]), "uint8"),
        (lambda: plots.attention_over_keys(PHOTO, [np.eye(2)], (0, 0), []), "0 captions"),
        (lambda: plots.attention_over_keys(PHOTO, [np.ones(4)], (0, 0), [""]), r"\(4,\)"),
    ],
)
def test_attention_that_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
