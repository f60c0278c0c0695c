"""Validation of large pictures: in tiles, the same in training, and refused before it is late."""

import csv

import pytest
import torch

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.data.photos import normalize
from segformer_edu.tiles import predict_in_tiles
from segformer_edu.training import confusion_matrix, evaluate, scores, train
from tests.training.rectangles import TINY, Rectangles, write_files


@pytest.fixture
def model(randomized):
    config = {**SegFormerConfig().__dict__, **TINY.config, "num_classes": 3}
    return randomized(SegFormer(SegFormerConfig(**config)))


def by_hand(predict, pictures):
    """The confusion matrix, picture by picture."""
    total = torch.zeros(3, 3, dtype=torch.int64)
    for image, labels in map(pictures.picture, range(len(pictures))):
        total += confusion_matrix(predict(normalize(image)), torch.tensor(labels)[None].long(), 3)
    return total


def test_pictures_that_fit_are_scored_as_whole_ones_and_larger_ones_in_tiles(model):
    pictures = Rectangles(5, size=64)
    whole = by_hand(model.predict, pictures)
    assert torch.equal(evaluate(model, pictures, batch_size=2), whole)
    assert torch.equal(
        evaluate(model, pictures, batch_size=2, tile=48), whole
    )  # of two tiles' area
    tiled = by_hand(lambda images: predict_in_tiles(model, images, tile=32), pictures)
    assert torch.equal(evaluate(model, pictures, batch_size=2, tile=32), tiled)
    assert not torch.equal(tiled, whole)


def test_training_validates_in_the_tiles_of_its_settings(tmp_path):
    data = Rectangles(6), Rectangles(4, size=64)
    for tile in (0, 32):
        out = tmp_path / str(tile)
        train(TINY.replace(tile=tile, steps=4), out, data=data, progress=False)
        with (out / "log.csv").open(encoding="utf-8") as log:
            row = list(csv.DictReader(log))[-1]
        found = scores(evaluate(SegFormer.from_pretrained(out / "last"), data[1], tile=tile))
        assert float(row["pixel_accuracy"]) == pytest.approx(found.pixel_accuracy, rel=1e-6)


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_tile_that_the_model_cannot_take_is_refused_at_once(name, tmp_path, capsys, monkeypatch):
    write_files(tmp_path, count=6)
    settings = TINY.replace(
        data="folder",
        images="images",
        masks="masks",
        classes=Rectangles.class_names,
        validation=2,
        steps=1,
    )
    config = tmp_path / "mine.yaml"
    config.write_text(settings.to_yaml(), encoding="utf-8")
    arguments = ["--config", str(config)]
    assert main(["train", "--out", str(tmp_path / "run"), "--quiet", *arguments]) == 0
    for module in ("parts", "own_pictures"):  # which takes minutes where pictures are many
        monkeypatch.setattr(
            f"segformer_edu.training.{module}.check_pictures", lambda *_: pytest.fail("too late")
        )
    before = sorted(tmp_path.rglob("*"))
    arguments += {
        "train": ["--out", str(tmp_path / "other"), "--quiet"],
        "evaluate": ["--weights", str(tmp_path / "run/last")],
    }[name]
    capsys.readouterr()
    assert main([name, *arguments, "--tile", "20"]) == 2
    out, err = capsys.readouterr()
    assert (
        not out and err == "--tile 20: give a multiple of 8 from 16 on, or 0 to cut no picture.\n"
    )
    assert sorted(tmp_path.rglob("*")) == before
