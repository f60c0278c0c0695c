"""Where the balls' queries look, and whether balls are labelled rightly, in strips whose layout is
known.
"""

import pytest
import torch

from segformer_edu import SegFormer
from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.analysis.lamps import (
    ball_looks,
    middles,
    rightly_labelled_balls,
    shares_on_lamp,
)
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.photos import normalize

STRIPS = Lamps(6, seed=2026)


@pytest.fixture(scope="module")
def model() -> SegFormer:
    return SegFormer.from_pretrained("lamps").eval()


def test_each_ball_has_the_weights_of_its_middle_token(model):
    discs = STRIPS.discs(1)
    looks = ball_looks(model, STRIPS, 1, stage=2)
    weights = attention_maps(model, normalize(STRIPS.draw(1)[0]))[2][0][0]  # tokens of 16 pixels
    assert len(looks) == len(discs) - 1 == 3
    for look, (x, y, _) in zip(looks, discs[1:], strict=True):
        assert torch.equal(look, weights[:, int(y // 16), int(x // 16)])
    assert middles(discs)[2] == (discs[2].y / 64, discs[2].x / 256)


def test_what_looks_nowhere_in_particular_gives_the_lamp_an_even_share(model):
    flat = SegFormer.from_pretrained("lamps").eval()
    torch.nn.init.zeros_(flat.encoder.stages[1].blocks[0].attention.query.weight)
    torch.nn.init.zeros_(flat.encoder.stages[1].blocks[0].attention.query.bias)
    for share, even in shares_on_lamp(flat, STRIPS, stage=1).values():
        assert share == pytest.approx(even)
    found = shares_on_lamp(model, STRIPS, stage=1)
    assert found["red"][0] > 0.5 and found["green"][0] < found["green"][1]


def test_only_the_pixels_of_balls_count(model, monkeypatch):
    true = {index: torch.from_numpy(STRIPS.draw(index)[1]) for index in range(len(STRIPS))}
    said = iter(range(0, len(STRIPS), 25))

    def only_lamps(images):
        next(said)
        labels = torch.stack(list(true.values())).long()
        lamps = [torch.from_numpy(STRIPS.discs(index)[0].raster()[0] > 0) for index in true]
        return labels.where(torch.stack(lamps), 0)

    assert rightly_labelled_balls(model, STRIPS) > 0.99
    monkeypatch.setattr(model, "predict", only_lamps)
    assert rightly_labelled_balls(model, STRIPS) == 0
