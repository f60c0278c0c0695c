"""The reader finds what is linear in the maps, and borders and correlations are as by hand."""

import pytest
import torch

from segformer_edu import SegFormer
from segformer_edu.analysis.map_contents import (
    alike,
    fit_reader,
    gain,
    maps_of,
    near_a_border,
    rightly_labelled,
)
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, Scenes


@pytest.fixture(scope="module")
def encoder():
    return SegFormer.from_pretrained("nano").encoder


def test_near_a_border_is_within_two_pixels():
    labels = torch.zeros(1, 8, 12, dtype=torch.long)
    labels[:, :, 6:] = 1
    assert near_a_border(labels)[0, 0].nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_the_reader_finds_a_linear_rule():
    """Where classes are a linear function of the tokens, ridge regression finds them."""
    labels = torch.zeros(2, 16, 16, dtype=torch.long)
    labels[:, :, 8:] = 5
    tokens = torch.randn(2, 4, 4, 6) * 0.01
    tokens[:, :, 2:, 0] += 1
    assert torch.equal(
        fit_reader([tokens[..., :2], tokens[..., 2:]], labels).read([tokens]), labels
    )


def test_the_maps_of_scenes_stand_side_by_side_at_the_finest_size(encoder):
    pictures = [Scenes(2, 64, seed=0).picture(index) for index in range(2)]
    maps, labels = maps_of(encoder, pictures)
    assert [each.shape for each in maps] == [(2, 16, 16, c) for c in (16, 32, 64, 128)]
    with torch.no_grad():
        finest = encoder(normalize(pictures[1][0]))[0]
    torch.testing.assert_close(maps[0][1:].permute(0, 3, 1, 2), finest, atol=1e-4, rtol=1e-4)
    assert torch.equal(labels[1], torch.as_tensor(pictures[1][1]).long())


def test_alike_is_the_mean_of_the_channels_correlations():
    maps, others = torch.randn(2, 5, 4, 6)
    expected = [
        torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]
        for x, y in zip(maps, others, strict=True)
    ]
    assert alike(maps, others) == pytest.approx(sum(expected).item() / 5, abs=1e-6)
    assert alike(maps, 3 * maps + 1) == pytest.approx(1, abs=1e-6)


def test_a_gain_is_paired():
    trials = [{"a": (50.0 + i, 1.0), "b": (49.0 + i, 2.0 + i)} for i in (0, 10, 20)]
    assert gain(trials, "a", "b") == ["+1.0 ± 0.0", "-11.0 ± 5.8"]


@pytest.mark.parametrize("seed", [606, 607, 608])  # the lesson's
def test_maps_together_are_read_better_than_any_alone_and_most_near_borders(encoder, seed):
    """Nothing is said of stage 2 against 3 at borders."""
    found = rightly_labelled(encoder, seed)
    (far, near), best = found.pop("1 to 3"), found.pop("true shares at 1/32")
    assert 0.5 < found.pop("all four")[0] - far < 4
    gains = far - max(x[0] for x in found.values()), near - max(x[1] for x in found.values())
    assert gains[1] > gains[0] > 0
    assert found["stage 3"][0] == max(x[0] for x in found.values())
    assert {*sorted(found, key=lambda name: found[name][1])[:2]} == {"stage 1", "stage 4"}
    assert all(best[place] > found["stage 4"][place] + 5 for place in (0, 1))


@pytest.mark.parametrize("seed", [606, 607, 608])
def test_at_the_size_of_its_training_stage_2_leads_near_borders(encoder, seed):
    found = rightly_labelled(encoder, seed, side=128)
    single = {name: found[name] for name in ("stage 1", "stage 2", "stage 3", "stage 4")}
    assert max(single, key=lambda name: single[name][1]) == "stage 2"
    assert all(single["stage 2"][place] > single["stage 4"][place] + 3 for place in (0, 1))


@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, 5])  # 3 is the lesson's
def test_where_the_window_moves_all_four_stages_follow_the_content(encoder, index):
    tall = Scenes(40, 320, seed=6).picture(index)[0]
    with torch.no_grad():
        above, below = (encoder(normalize(tall[top : top + 256].copy())) for top in (0, 64))
    for tokens, before, after in zip((16, 8, 4, 2), above, below, strict=True):
        assert alike(before[0, :, tokens:], after[0, :, :-tokens]) > 0.9
        assert alike(before[0], after[0]) < 0.6


def test_one_linear_finds_less_of_the_lamp_post_in_stage_3_than_in_stage_2(encoder):
    pole = CLASSES.index("pole")
    unseen = Scenes(20, 256, seed=606)
    seen, seen_labels = maps_of(encoder, [unseen.picture(index) for index in range(20)])
    maps, labels = maps_of(encoder, [Scenes(40, 256, seed=6).picture(3)])
    post, found = labels == pole, []
    for stage in (1, 2):
        read = fit_reader([seen[stage]], seen_labels).read([maps[stage]]) == pole
        found.append(((read & post).sum() / (read | post).sum()).item())
    assert found[0] > 0.3 and found[1] < 0.7 * found[0]


def test_a_greater_penalty_lowers_stage_4_alone(encoder):
    tiny, great = (rightly_labelled(encoder, 606, strength) for strength in (1e-6, 1e-3))
    changes = {name: tiny[name][0] - great[name][0] for name in tiny}
    assert changes.pop("stage 4") > 3
    assert all(abs(change) < 1 for change in changes.values())
