"""analysis.errors: drawn mistakes get the kind that they were drawn as."""

import numpy as np
import pytest

from segformer_edu.analysis.errors import (
    BORDER,
    INVENTED,
    KINDS,
    MISSED,
    NAMED_OTHERWISE,
    PIECE,
    THIN,
    Patch,
    Rules,
    count_kinds,
    has_near,
    kinds_of_errors,
    resampled_shares,
    thin_parts,
    worst,
)

SKY, ROAD, CAR, POLE = range(4)


@pytest.fixture
def street():
    """Sky above, road below, a car of 10×10 pixels on the road, and a pole 3 pixels wide."""
    labels = np.full((40, 60), SKY)
    labels[20:] = ROAD
    labels[24:34, 10:20] = CAR
    labels[5:30, 45:48] = POLE
    return labels


def kinds_in(predicted, labels, rules=None):
    found = kinds_of_errors(predicted, labels, rules)
    assert ((found > 0) == (predicted != labels)).all()
    return {KINDS[kind]: int((found == kind).sum()) for kind in np.unique(found[found > 0])}


def test_what_is_right_is_no_error(street):
    assert not kinds_of_errors(street, street).any()


@pytest.mark.parametrize("shift", [1, 2])
def test_a_car_that_is_a_little_aside_has_its_border_shifted(street, shift):
    predicted = street.copy()
    predicted[24:34, 10 : 10 + shift] = ROAD
    predicted[24:34, 20 : 20 + shift] = CAR
    assert kinds_in(predicted, street) == {"border shifted": 20 * shift}


def test_a_border_that_is_far_off_leaves_a_piece_of_the_region(street):
    predicted = street.copy()
    predicted[20:25, :10] = SKY  # five rows of road; two of them are near the true sky
    assert kinds_in(predicted, street) == {"border shifted": 20, "piece of a region": 30}
    assert kinds_in(predicted, street, Rules(near=4)) == {
        "border shifted": 40,
        "piece of a region": 10,
    }


def test_a_car_that_is_missed(street):
    predicted = street.copy()
    predicted[24:34, 10:20] = ROAD
    assert kinds_in(predicted, street) == {"thing missed": 100}
    assert kinds_in(predicted, street, Rules(found=0)) == {"thing missed": 100}
    predicted[26, 12:22] = CAR  # eight of its hundred pixels found, and two beside it called by it
    assert kinds_in(predicted, street) == {"thing missed": 92, "border shifted": 2}
    predicted[27, 12:16] = CAR  # twelve
    assert "thing missed" not in kinds_in(predicted, street)
    assert kinds_in(predicted, street, Rules(found=0.2))["thing missed"] == 88


def test_a_pole_that_is_missed_in_part_or_whole(street):
    predicted = np.where(street == POLE, np.where(np.arange(40)[:, None] < 20, SKY, ROAD), street)
    assert kinds_in(predicted, street) == {"thin part missed": 75}
    assert kinds_in(predicted, street, Rules(thin=2)) == {"thing missed": 75}
    predicted[10, 45:48] = POLE  # 3 of its 75 pixels
    assert kinds_in(predicted, street) == {"thin part missed": 72}
    predicted[10:20, 45:48] = POLE  # two fifths of it found; two rows on either side are near
    assert kinds_in(predicted, street) == {"thin part missed": 33, "border shifted": 12}


def test_two_regions_of_the_first_class_are_two(street):
    street[34:40, 50:56] = SKY  # a puddle
    predicted = street.copy()
    predicted[34:40, 50:56] = ROAD
    assert kinds_in(predicted, street) == {"thing missed": 36}


def test_a_car_where_there_is_none(street):
    predicted = street.copy()
    predicted[3:9, 30:36] = CAR
    assert kinds_in(predicted, street) == {"thing invented": 36}


def test_a_car_that_is_found_and_called_a_pole(street):
    predicted = street.copy()
    predicted[24:34, 10:20] = POLE
    assert kinds_in(predicted, street) == {"named otherwise": 100}


def test_regions_hang_together_at_corners(street):
    predicted = street.copy()
    predicted[24:34, 10:20] = ROAD
    predicted[29:34, 15:20] = CAR  # a quarter of the car, and a block that touches it by a corner
    predicted[34:39, 20:25] = CAR
    assert kinds_in(predicted, street).get("thing invented") is None


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_thin_is_what_no_larger_square_covers(side):
    labels = np.random.default_rng(0).integers(0, 2, (3, 4)).repeat(5, 0).repeat(5, 1)
    labels[:, ::7] = 2
    inside = np.pad(labels, 9, mode="edge")
    thick = np.zeros(inside.shape, dtype=bool)
    for top, left in np.ndindex(inside.shape[0] - side, inside.shape[1] - side):
        square = inside[top : top + side + 1, left : left + side + 1]
        if (square == square[0, 0]).all():
            thick[top : top + side + 1, left : left + side + 1] = True
    assert np.array_equal(thin_parts(labels, side), ~thick[9:-9, 9:-9])


def test_near_is_counted_along_the_axes():
    labels = np.zeros((7, 9), dtype=int)
    labels[2, 3] = 5
    near = has_near(labels, np.full((7, 9), 5), 2)
    assert near[0:5, 1:6].all() and near.sum() == 25
    assert not has_near(labels, np.full((7, 9), 255), 2).any()  # beyond the frame there is nothing


def test_shares_of_kinds_are_those_of_all_pixels_together(street):
    shifted = street.copy()
    shifted[20, 20:40] = SKY
    invented = street.copy()
    invented[3:8, 30:42] = CAR
    counts = count_kinds([kinds_of_errors(each, street) for each in (shifted, invented)])
    names = list(KINDS.values())
    assert counts[:, names.index("border shifted")].tolist() == [20, 0]
    assert counts[:, names.index("thing invented")].tolist() == [0, 60]
    drawn = resampled_shares(counts, draws=2000)
    share = drawn[:, names.index("border shifted")]
    assert set(share.round(6)) == {0, 0.25, 1}  # both are the one, one of each, both the other
    assert np.mean(share == 0.25) == pytest.approx(0.5, abs=0.05)


def test_the_worst_is_the_largest_patch_of_each_picture(street):
    small, large = street.copy(), street.copy()
    small[3:9, 30:36] = CAR
    small[12:16, 25:29] = CAR
    large[2:10, 29:37] = POLE
    predicted = [street, small, large]
    kinds = [kinds_of_errors(each, street) for each in predicted]
    assert worst(INVENTED, kinds, predicted, [street] * 3) == [
        Patch(2, 64, (5, 32), SKY, POLE),
        Patch(1, 36, (5, 32), SKY, CAR),
    ]
    assert len(worst(INVENTED, kinds, predicted, [street] * 3, count=1)) == 1
    others = (NAMED_OTHERWISE, MISSED, THIN, BORDER, PIECE)
    assert not any(worst(kind, kinds, predicted, [street] * 3) for kind in others)


def test_maps_that_do_not_fit_are_refused(street):
    with pytest.raises(ValueError, match="give one"):
        kinds_of_errors(street[None], street)


@pytest.mark.parametrize(
    ("middle", "corner"), [((5, 32), (0, 24)), ((39, 59), (24, 44)), ((20, 3), (12, 0))]
)
def test_a_window_lies_around_the_patch_and_inside_the_picture(middle, corner):
    rows, columns = Patch(0, 9, middle, SKY, CAR).window((40, 60), 16)
    assert (rows.start, columns.start) == corner
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
