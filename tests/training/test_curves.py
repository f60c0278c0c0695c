"""A run's log, read and drawn."""

import csv

import numpy as np
import pytest
from PIL import Image

from segformer_edu import plots
from segformer_edu.plots.training import running_mean, spread
from segformer_edu.training import train
from segformer_edu.training.curves import draw_curves, read_log


@pytest.fixture
def log():
    """Six steps, validated after the third and the last."""
    nan = np.nan
    return {
        "step": np.arange(1.0, 7),
        "loss": np.array([4, 2, 1, 0.5, 0.25, 0.125]),
        "learning_rate": np.array([1, 2, 3, 2, 1, 0.5]),
        "gradient_norm": np.ones(6),
        "miou": np.array([nan, nan, 0.4, nan, nan, 0.6]),
        "pixel_accuracy": np.array([nan, nan, 0.5, nan, nan, 0.8]),
        "iou sky": np.array([nan, nan, 0.4, nan, nan, 0.61]),
        "iou road, wet": np.array([nan, nan, 0.4, nan, nan, 0.6]),
    }


def lines(figure):
    return {line.get_label(): line.get_xydata() for ax in figure.axes for line in ax.lines}


def texts(figure):
    return [text.get_text().strip() for ax in figure.axes for text in ax.texts]


def test_a_run_leaves_its_curves(settings, data, tmp_path):
    train(settings, tmp_path / "run", data=data, progress=False)
    with Image.open(tmp_path / "run/curves.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
    with (tmp_path / "run/log.csv").open(newline="") as file:
        theirs = list(csv.DictReader(file, restval="nan"))
    ours = read_log(tmp_path / "run/log.csv")
    assert list(ours) == list(theirs[0]) and "iou ground" in ours
    for name, column in ours.items():
        assert np.array_equal(column, [float(row[name]) for row in theirs], equal_nan=True)


def test_a_run_does_not_fail_without_matplotlib(settings, data, tmp_path, monkeypatch):
    import sys

    drawing = ("segformer_edu.plots", "segformer_edu.training.report")
    for name in [name for name in sys.modules if name.startswith(drawing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("segformer_edu.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    train(settings.replace(steps=1), tmp_path / "run", data=data, progress=False)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert "last" in files and not {"curves.png", "report.html"} & files


def test_the_curves_are_the_columns(log):
    figure = plots.training_curves(log)
    drawn = lines(figure)
    assert np.array_equal(drawn["of each step"], np.transpose([log["step"], log["loss"]]))
    assert np.array_equal(drawn["learning rate"][:, 1], log["learning_rate"])
    assert drawn["mIoU"].tolist() == [[3, 0.4], [6, 0.6]]
    assert drawn["pixel accuracy"].tolist() == [[3, 0.5], [6, 0.8]]
    assert figure.get_suptitle() == "mIoU 0.600 after 6 steps"
    assert texts(figure) == ["sky", "road, wet"]
    low, high = sorted(text.get_position()[1] for text in figure.axes[1].texts)
    assert high - low > 0.04  # one above the other, though the curves end 0.01 apart


def test_on_a_narrow_page_the_scores_stand_below_the_loss(log):
    for columns in (1, 2):
        figure = plots.training_curves(log, columns=columns)
        losses, found = (ax.get_subplotspec() for ax in figure.axes[:2])
        assert (losses.colspan == found.colspan) == (columns == 1)
        assert figure.get_figwidth() == 4 * columns


def test_a_run_that_was_never_validated_has_a_loss_all_the_same(log):
    for name in log:
        if name[:3] in ("mio", "pix", "iou"):
            log[name][:] = np.nan
    figure = plots.training_curves(log)
    assert len(lines(figure)["mIoU"]) == 0 and figure.get_suptitle() == ""


def test_a_hundred_classes_are_not_drawn(log):
    figure = plots.training_curves(log | {f"iou {n}": log["miou"] for n in range(100)})
    assert not texts(figure)


@pytest.mark.parametrize("name", ["loss", "miou"])
def test_a_log_without_a_column_is_refused(log, name):
    del log[name]
    with pytest.raises(ValueError, match=f"no '{name}'"):
        plots.training_curves(log)


def test_the_running_mean_is_that_of_the_last_twentieth():
    values = np.random.default_rng(0).random(100)
    expected = [values[max(i - 4, 0) : i + 1].mean() for i in range(100)]
    assert np.allclose(running_mean(values), expected)
    assert np.allclose(running_mean(values[:7]), values[:7])


def test_labels_are_moved_apart_and_no_further():
    assert spread([0.5, 0.1, 0.52, 0.9], 0.1) == pytest.approx([0.5, 0.1, 0.6, 0.9])


@pytest.mark.parametrize("text", ["", "step,loss\n", "step,loss\n1,many\n"])
def test_a_file_that_is_not_a_log_is_refused(tmp_path, text):
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="not the log of a run"):
        read_log(tmp_path / "log.csv")
    with pytest.raises(ValueError, match="not the log of a run"):
        draw_curves(tmp_path / "nowhere.csv", tmp_path / "curves.png")
