"""Lesson 00: what it says of masks, of what the model refuses, and of labels moved by one."""

import numpy as np
import pytest
import torch
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.data.photos import sample_labels


def test_a_palette_paints_a_masks_numbers_and_grey_changes_them(tmp_path):
    labels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    mask = Image.fromarray(labels)
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])  # black, red, green, blue
    mask.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as file:
        assert np.array_equal(np.array(file), labels)
        assert np.array(file.convert("L")).tolist() == [[0, 76], [150, 29]]


def test_the_wall_between_shoulder_and_table_narrows_to_a_single_pixel():
    labels, names = sample_labels()
    wall, table, person = (names.index(name) for name in ("wall", "table", "person"))
    widths = []
    for row in labels:
        edges = np.flatnonzero(np.diff(row)) + 1
        runs = np.split(row, edges)
        around = zip(runs, runs[1:], runs[2:], strict=False)
        widths += [
            len(strip)
            for left, strip, right in around
            if (left[0], strip[0], right[0]) == (person, wall, table)
        ]
    assert min(widths) == 1 and max(widths) > 10


def test_labels_from_zero_that_go_down_by_one_lose_a_class_and_rename_the_others():
    labels = np.arange(4, dtype=np.uint8)
    assert (labels - np.uint8(1)).tolist() == [255, 0, 1, 2]


def test_three_messages_lead_from_a_photograph_as_it_is_to_an_answer():
    advice = {
        "x[None]": lambda x: x[None],
        "x.float() / 255": lambda x: x.float() / 255,
        "x.permute(0, 3, 1, 2)": lambda x: x.permute(0, 3, 1, 2),
    }
    model = SegFormer(SegFormerConfig.named("nano")).eval()
    photo = torch.randint(256, (64, 96, 3), dtype=torch.uint8)
    while advice:
        with pytest.raises(ValueError) as caught:
            model(photo)
        (said,) = [words for words in advice if words in str(caught.value)]
        photo = advice.pop(said)(photo)
    assert model(photo).shape[-2:] == (16, 24)


def test_eval_changes_what_layers_do_and_no_grad_only_keeps_no_notes():
    torch.manual_seed(0)
    model = SegFormer(SegFormerConfig.named("nano", drop_path_rate=0.5)).eval()
    images = torch.randn(1, 3, 64, 64)
    answer = model(images)
    assert answer.requires_grad
    with torch.no_grad():
        assert torch.equal(model(images), answer) and not model(images).requires_grad
        model.train()
        assert not torch.equal(model(images), answer)
