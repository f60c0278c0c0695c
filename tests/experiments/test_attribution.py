"""The stored table is what the command computes, and holds what the lesson says of it."""

import json
import math

import pytest

from experiments import attribution as trial
from segformer_edu import SegFormer

STORED = json.loads(trial.RESULTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nano():
    return SegFormer.from_pretrained("nano").folded()


def test_every_part_is_there_for_every_place():
    names = STORED["main"]["areas"].keys()
    assert len(names) == 18
    for setting in trial.SETTINGS:
        told = STORED[setting]
        assert len({scene for scene, *_ in told["places"]}) == trial.PLACES
        assert told["areas"].keys() == told["curves"].keys() == names
        for areas in told["areas"].values():
            assert [len(each) for each in areas.values()] == [trial.PLACES] * 4
    assert STORED["strips"].keys() == trial.QUESTIONS.keys()
    assert STORED["strips, reversed"].keys() == trial.REVERSED.keys()
    assert STORED["strips, night"].keys() == trial.AT_NIGHT.keys()
    for rows in (STORED["strips"] | STORED["strips, reversed"] | STORED["strips, night"]).values():
        assert rows.keys() == names and len(rows["random"]["on the lamp"]) == trial.PLACES
    assert len(STORED["lights"]) == trial.PLACES and set(STORED["lights"]) == {"red", "green"}
    assert STORED["sanity"].keys() == names
    assert {len(each["fresh weights"]) for each in STORED["sanity"].values()} == {trial.SANE}


def test_half_of_the_second_draw_are_other_scenes():
    first, second = ({p[0] for p in STORED[name]["places"]} for name in ("main", "other scenes"))
    assert not first & second
    assert STORED["grey"]["places"] == STORED["main"]["places"]


def test_the_first_places_again_give_what_is_stored(nano):
    again = trial.ask_scenes(nano, "main", 2)
    assert again["places"] == STORED["main"]["places"][:2]
    for name in ("nearness", "occlusion 8", "gradient × input", "Grad-CAM 4", "rollout 4"):
        for what, values in again["areas"][name].items():
            scale = 10 if "lead" in what else 1
            stored = STORED["main"]["areas"][name][what][:2]
            assert values == pytest.approx(stored, abs=0.02 * scale), (name, what)


def test_the_first_strip_and_the_first_sane_scene_again(nano):
    lamps = SegFormer.from_pretrained("lamps").folded()
    again = trial.ask_strips(lamps, 1, trial.QUESTIONS | trial.REVERSED)
    again |= trial.ask_strips(lamps, 1, trial.AT_NIGHT, trial.in_the_night)
    parts = STORED["strips"] | STORED["strips, reversed"] | STORED["strips, night"]
    for question, rows in again.items():
        for name, row in rows.items():
            stored = parts[question][name]
            found = row["lamp above night"]
            assert name == "random" or found == pytest.approx(
                stored["lamp above night"][:1], abs=0.03
            )
    for name, row in trial.check_sanity(nano, 1).items():
        stored = STORED["sanity"][name]["another class"][:1]
        assert name == "random" or row["another class"] == pytest.approx(stored, abs=0.05)


@pytest.mark.parametrize("index", range(5))
def test_the_place_in_the_night_is_as_far_from_all_discs_as_there_is_one(index):
    def room(row, column):
        here = 4 * column + 2, 4 * row + 2
        return min(math.dist(here, disc[:2]) - disc.radius for disc in trial.STRIPS.discs(index))

    every = [room(row, column) for row in range(16) for column in range(64)]
    assert room(*trial.in_the_night(index)) == pytest.approx(max(every))
    assert max(every) > 20


def test_attention_and_rollout_do_not_know_the_class_and_random_knows_nothing():
    for name, row in STORED["sanity"].items():
        if name.startswith(("attention", "rollout", "nearness")):
            assert set(row["another class"]) == {1.0}
    assert abs(sum(STORED["sanity"]["random"]["fresh weights"])) / trial.SANE < 0.1


def test_bands_hold_their_means():
    for curves in STORED["main"]["curves"].values():
        for band in curves.values():
            for mean, low, high in zip(*(band[k] for k in ("mean", "low", "high")), strict=True):
                assert low <= mean <= high
