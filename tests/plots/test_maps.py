"""Maps show the numbers that they were given, and mark the tokens that they were told."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from segformer_edu import plots
from segformer_edu.data.photos import sample_photo
from segformer_edu.plots.maps import liveliest, signed_colors

PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
KEY = "in its channel"
MAPS = [np.arange(12.0).reshape(3, 4), np.eye(3)]


def test_token_maps_draw_each_map_and_frame_the_marked_token():
    figure = plots.token_maps(MAPS, ["one", "two"], "Found", mark=[(2, 1), None])
    first, second = figure.axes
    for ax, values, caption in zip(figure.axes, MAPS, ["one", "two"], strict=True):
        assert np.array_equal(ax.images[0].get_array(), values)
        assert ax.get_title(loc="left") == caption
    frames = [each for each in first.patches if isinstance(each, Rectangle)]
    assert {each.get_bbox().bounds for each in frames} == {(0.5, 1.5, 1, 1)}
    assert not [each for each in second.patches if isinstance(each, Rectangle)]


def test_kinds_stand_on_their_tokens_and_a_line_wherever_two_meet():
    kinds = np.array([[1, 1, 2], [3, 1, 2]])
    (ax,) = plots.token_kinds([kinds], ["one"]).axes
    written = {each.get_position(): each.get_text() for each in ax.texts}
    assert written == {(c, r): str(kinds[r, c]) for r in range(2) for c in range(3)}
    lines = {tuple(map(tuple, line.get_xydata())) for line in ax.lines}
    above_3, left_of_2 = (
        ((-0.5, 0.5), (0.5, 0.5)),
        [((1.5, r - 0.5), (1.5, r + 0.5)) for r in (0, 1)],
    )
    assert lines == {above_3, ((0.5, 0.5), (0.5, 1.5)), *left_of_2}


def test_deviations_share_a_scale_and_cross_out_what_is_zero():
    maps = [np.array([[1e-2, 0.0], [1e-20, 1.0]]), np.array([[2.0, 1e-4], [1e-4, 0.0]])]
    figure = plots.deviations(maps, ["one", "two"], least=1e-8)
    first, second = figure.axes[:2]
    assert first.images[0].norm is second.images[0].norm
    assert (first.images[0].norm.vmin, first.images[0].norm.vmax) == (1e-8, 2.0)
    shown = first.images[0].get_array()
    assert shown.mask.tolist() == [[False, True], [False, False]]
    assert shown[1, 0] == 1e-8
    assert [tuple(point) for point in first.lines[0].get_xydata()] == [(1, 0)]
    assert [tuple(point) for point in second.lines[0].get_xydata()] == [(1, 1)]


def test_every_token_stands_where_it_is_believed_to_be():
    places = np.random.default_rng(0).uniform(size=(3, 4, 2))
    (ax,) = plots.probed_places([places], ["stage 1"]).axes
    dots, rings = [line for line in ax.lines if line.get_marker() == "o"]
    expected = places.reshape(-1, 2)[:, ::-1]  # x is the column
    assert np.array_equal(dots.get_xydata(), expected)
    centres = [(column / 4, row / 3) for row in (0.5, 1.5, 2.5) for column in (0.5, 1.5, 2.5, 3.5)]
    assert np.allclose(rings.get_xydata(), centres)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # rows count downward
    joined = [line.get_xydata() for line in ax.lines if line.get_marker() == "None"]
    assert any(np.array_equal(line, places[1, :, ::-1]) for line in joined)  # a row of tokens
    assert any(np.array_equal(line, places[:, 2, ::-1]) for line in joined)  # a column


def test_the_axes_of_believed_places_say_where_the_picture_ends():
    first, second = plots.probed_places([np.ones((2, 2, 2))] * 2, ["", ""]).axes
    for ax in (first, second):
        assert ax.get_xlabel() == "column"
        assert [each.get_text() for each in ax.get_xticklabels()] == ["left", "right"]
        assert list(ax.get_xticks()) == [0, 1]
    assert [each.get_text() for each in first.get_yticklabels()] == ["top", "bottom"]
    assert list(first.get_yticks()) == [0, 1] and not len(second.get_yticks())
    assert [text.get_text() for text in first.texts] == ["outline of the picture"]


def test_fields_keep_their_places_and_captions():
    field = np.full((6, 6), 1e-9)
    field[2, 3] = 1
    figure = plots.receptive_fields(
        {"one": [field, field.T], "two": [field.T, field]},
        {"one": ["a", "b"], "two": ["c", "d"]},
        "finding",
    )
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", "d"]
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert [np.unravel_index(each.argmax(), each.shape) for each in shown] == [
        (2, 3),
        (3, 2),
        (3, 2),
        (2, 3),
    ]
    assert shown[0].min() == 1e-4  # drawn as dark as can be
    assert [figure.axes[i].get_ylabel() for i in (0, 2)] == ["one", "two"]


def test_the_middle_of_the_first_columns_is_drawn_once_more():
    field = np.ones((8, 8))
    field[4, 4] = 2
    figure = plots.receptive_fields({"one": [field] * 2}, {"one": ["a", "b"]}, zoom=(4,))
    first, second = figure.axes
    (inset,) = first.child_axes[:1]
    assert inset.get_xlim() == (1.5, 5.5) and inset.get_ylim() == (5.5, 1.5)  # pixels 2 to 5
    assert np.array_equal(inset.images[0].get_array(), field)
    assert not second.child_axes


def test_feature_maps_draws_the_channels_that_vary_most():
    stage_map = np.random.default_rng(0).random((6, 8, 12))
    stage_map[[1, 4]] *= 10
    stage_map[2] += 100  # bright is not lively
    assert liveliest(stage_map, 2).tolist() == [1, 4]
    figure = plots.feature_maps([stage_map, stage_map[:3, ::2, ::2]], channels=2)
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(drawn) == 4
    assert np.array_equal(drawn[0], stage_map[1]) and np.array_equal(drawn[1], stage_map[4])
    beside = figure.axes[3].texts  # of the second row
    assert [text.get_text() for text in beside] == ["stage 2\n4 × 6 tokens\n3 channels"]


def test_maps_stand_beside_their_photograph_a_row_for_each_stage():
    fine = np.random.default_rng(0).random((6, 8, 12))
    fine[[1, 4]] *= 10
    figure = plots.maps_beside(PHOTO, [fine, fine[:3, ::2, ::2]], "Found", channels=2)
    titled = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert np.array_equal(titled["picture"].images[0].get_array(), PHOTO)
    rows = [ax for ax in figure.axes if ax.get_ylabel()]
    assert [ax.get_ylabel() for ax in rows] == ["stage 1: 8 × 12", "stage 2: 4 × 6"]
    assert np.array_equal(rows[0].images[0].get_array(), fine[1])
    assert np.array_equal(titled["channel 4"].images[0].get_array(), fine[4])
    (bar,) = [ax for ax in figure.axes[0].figure.findobj(Axes) if ax.get_title(loc="left") == KEY]
    assert [label.get_text() for label in bar.get_xticklabels()] == ["least", "greatest"]


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


def test_maps_share_one_scale_with_zero_in_its_middle():
    parts = np.zeros((2, 3, 3))
    parts[0, 0, 0], parts[1, 2, 2] = 2, -5
    figure = plots.contribution_maps(PHOTO, parts, ["stage 1", "stage 2"])
    scene, *panels = figure.axes
    limits = [ax.images[0].get_clim() for ax in panels[:2]]
    assert limits == [(-5, 5)] * 2
    assert [ax.get_title(loc="left") for ax in panels[:2]] == ["stage 1", "stage 2"]
    assert np.array_equal(scene.images[0].get_array(), PHOTO)


def test_six_panels_stand_in_two_rows():
    figure = plots.contribution_maps(PHOTO, np.ones((5, 3, 3)), list("abcde"))
    places = [ax.get_subplotspec() for ax in figure.axes[:6]]
    assert [(at.rowspan.start, at.colspan.start) for at in places] == [
        (row, column) for row in range(2) for column in range(3)
    ]


def test_colours_are_for_and_against():
    white, orange, violet = signed_colors(np.array([[0.0, 2.0, -2.0]]), 2.0)[0].astype(int)
    assert white.min() > 240
    assert orange[0] > orange[2] and violet[2] > violet[1]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.token_maps([], []), "0 captions"),
        (lambda: plots.token_maps(MAPS, ["one"]), "1 captions"),
        (lambda: plots.token_maps([np.ones(3)], [""]), r"\[\(3,\)\]"),
        (lambda: plots.token_kinds(MAPS, ["one"]), "1 captions"),
        (lambda: plots.token_maps(MAPS, ["", ""], mark=[(0, 0)]), "1 marks for 2 maps"),
        (lambda: plots.deviations([np.array([[-1.0, 1.0]])], [""]), "at least 0"),
        (lambda: plots.probed_places([np.ones((2, 2, 3))], [""]), r"give \(H, W, 2\)"),
        (lambda: plots.feature_maps([]), r"\(C, H, W\)"),
        (lambda: plots.maps_beside(PHOTO, []), r"\(C, H, W\)"),
        (lambda: plots.feature_maps([np.ones((4, 4))]), r"\(C, H, W\)"),
        (lambda: plots.feature_maps([np.ones((1, 3, 4, 4))]), r"\(C, H, W\)"),
        (lambda: plots.attention_rows(PHOTO, np.ones((6, 8)), [(0, 0)], ["a"]), "maps of shape"),
        (lambda: plots.attention_rows(PHOTO, np.ones((2, 6, 8)), [(0, 0)], ["a"]), "maps of shape"),
        (lambda: plots.attention_rows(PHOTO / 255, np.ones((1, 6, 8)), [(0, 0)], ["a"]), "uint8"),
        (lambda: plots.attention_over_keys(PHOTO, [np.eye(2)], (0, 0), []), "0 captions"),
        (lambda: plots.attention_over_keys(PHOTO, [np.ones(4)], (0, 0), [""]), r"\(4,\)"),
        (lambda: plots.contribution_maps(PHOTO, np.ones((2, 3, 3)), ["a"]), "captions"),
        (lambda: plots.contribution_maps(PHOTO / 255, np.ones((1, 3, 3)), ["a"]), "uint8"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


@pytest.mark.parametrize(
    ("rows", "captions"),
    [
        ({"a": [np.ones((2, 2))] * 2, "b": [np.ones((2, 2))]}, {"a": ["", ""], "b": [""]}),
        ({"a": [np.ones((2, 2))]}, {"a": []}),
        ({"a": [np.ones((2, 2))]}, {"b": [""]}),
    ],
)
def test_fields_that_do_not_fit_are_refused(rows, captions):
    with pytest.raises(ValueError, match="caption for each"):
        plots.receptive_fields(rows, captions, "")


def test_importance_maps_mark_the_place_and_tell_for_from_against():
    photo = np.zeros((64, 128, 3), np.uint8)
    maps = {"one": np.eye(4), "two": np.eye(4) - 0.5}
    figure = plots.importance_maps(photo, maps, (0.25, 0.75), "finding", columns=2)
    picture, one, two, empty = figure.axes
    assert [ax.get_title(loc="left") for ax in (picture, one, two)] == ["picture", "one", "two"]
    assert one.images[0].get_cmap().name == "magma" and two.images[0].get_cmap().name == "PuOr_r"
    assert two.images[0].get_clim() == (-0.5, 0.5) and not empty.images
    for ax in (picture, one, two):
        assert ax.lines[-1].get_xydata().tolist() == [[0.75, 0.25]]
    with pytest.raises(ValueError, match="caption for each"):
        plots.importance_maps(photo, {"one": np.zeros(3)}, (0, 0))


@pytest.mark.parametrize(("most", "top"), [(None, 3.0), (5.0, 5.0)])
def test_compared_maps_share_one_scale(most, top):
    maps = {"a": np.array([[0.0, 1.0]]), "b": np.array([[3.0, 2.0]])}
    first, second, bar = plots.compared_maps(maps, "errors, %", "Finding", most).axes
    for ax, (name, values) in zip((first, second), maps.items(), strict=True):
        assert ax.get_title(loc="left") == name
        assert np.array_equal(ax.images[0].get_array(), values)
        assert ax.images[0].get_clim() == (0, top)
    assert bar.get_ylabel() == "errors, %"


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
