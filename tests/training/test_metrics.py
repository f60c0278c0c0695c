"""Scores against a 3×3 example worked by hand, and against scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from sklearn import metrics

from segformer_edu.training import confusion_matrix, scores
from segformer_edu.training.metrics import confusion_matrices, mious, redrawn_mious

# Nine pixels: one is ignored, and of class 2, which has two, one is called 1.
LABELS = torch.tensor([[0, 0, 0], [1, 1, 255], [2, 2, 0]])
PREDICTED = torch.tensor([[0, 0, 1], [1, 1, 2], [2, 1, 0]])


def test_nine_pixels_by_hand():
    confusion = confusion_matrix(PREDICTED, LABELS, num_classes=3)
    assert confusion.tolist() == [[3, 1, 0], [0, 2, 0], [0, 1, 1]]
    found = scores(confusion)
    # class 0: 3 of 4 pixels found, nothing else called so; class 1: 2 found, 2 others called so
    assert found.iou == pytest.approx((3 / 4, 2 / 4, 1 / 2))
    assert found.miou == pytest.approx((3 / 4 + 2 / 4 + 1 / 2) / 3)
    assert found.pixel_accuracy == pytest.approx(6 / 8)


@pytest.mark.parametrize("ignore_index", [255, -1, 3])
def test_scores_are_those_of_scikit_learn(device, ignore_index):
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 3, 4, 5], size=(4, 20, 30), p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    predicted = np.where(rng.random(labels.shape) < 0.7, labels, rng.integers(6, size=labels.shape))
    labels[rng.random(labels.shape) < 0.2] = ignore_index
    counts = labels != ignore_index
    classes = range(6)
    confusion = confusion_matrix(
        *(torch.tensor(x, device=device) for x in (predicted, labels)), 6, ignore_index
    )
    theirs = metrics.confusion_matrix(labels[counts], predicted[counts], labels=classes)
    assert confusion.dtype == torch.int64 and np.array_equal(confusion.cpu(), theirs)
    found = scores(confusion)
    iou = metrics.jaccard_score(labels[counts], predicted[counts], average=None, labels=classes)
    assert np.allclose(found.iou, iou, rtol=1e-12)
    assert found.miou == pytest.approx(iou.mean(), rel=1e-12)
    accuracy = metrics.accuracy_score(labels[counts], predicted[counts])
    assert found.pixel_accuracy == pytest.approx(accuracy, rel=1e-12)


@pytest.mark.filterwarnings("error")  # such as NumPy's of 0 / 0
def test_a_class_that_occurs_nowhere_does_not_count_and_one_never_found_does():
    labels, predicted = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0])
    found = scores(confusion_matrix(predicted, labels, num_classes=3))
    assert found.iou[:2] == pytest.approx((2 / 3, 0)) and np.isnan(found.iou[2])
    assert found.miou == pytest.approx(1 / 3)


@pytest.fixture
def matrices():
    return np.random.default_rng(0).integers(1, 50, (2, 6, 4, 4))


def test_miou_of_many_matrices_is_that_of_each_also_where_a_class_does_not_occur(matrices):
    matrices[0, 0, 2] = matrices[0, 0, :, 2] = 0
    found = mious(matrices)
    for index in itertools.product(range(2), range(6)):
        expected = scores(torch.from_numpy(matrices[index])).miou
        assert found[index] == pytest.approx(expected)


def test_a_picture_counts_as_often_as_it_was_drawn(matrices):
    counts = np.array([[1, 0, 3, 0, 2, 0], [1, 1, 1, 1, 1, 1]])
    found = redrawn_mious(matrices, counts)
    for model in range(2):
        by_hand = matrices[model, 0] + 3 * matrices[model, 2] + 2 * matrices[model, 4]
        assert found[model, 0] == pytest.approx(float(mious(by_hand)))
        assert found[model, 1] == pytest.approx(float(mious(matrices[model].sum(0))))


def test_matrices_of_parts_add_up_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    predicted, labels = (torch.randint(5, (6, 9, 9), generator=generator) for _ in range(2))
    parts = [confusion_matrix(p, y, 5) for p, y in zip(predicted, labels, strict=True)]
    assert torch.equal(sum(parts), confusion_matrix(predicted, labels, 5))
    assert np.array_equal(confusion_matrices(predicted, labels, 5), np.stack(parts))


@pytest.mark.parametrize(
    ("predicted", "labels", "words"),
    [
        (PREDICTED[None], LABELS, "(1, 3, 3)"),
        (PREDICTED, LABELS + 1, "labels hold a class outside 0 … 2"),
        (PREDICTED, LABELS - 1, "from -1 to"),
        (PREDICTED * 2, LABELS, "predicted hold a class outside 0 … 2: from 0 to 4"),
        (PREDICTED + 1, LABELS, "predicted hold a class outside 0 … 2: from 1 to 3"),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted, labels, words):
    with pytest.raises(ValueError) as refusal:
        confusion_matrix(predicted, labels, num_classes=3)
    assert words in str(refusal.value)


def test_no_pixel_at_all_has_no_score():
    with pytest.raises(ValueError, match="all ignored"):
        scores(confusion_matrix(PREDICTED, torch.full_like(LABELS, 255), 3))
