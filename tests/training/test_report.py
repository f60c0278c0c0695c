"""The report of a run: its scores are those of the weights it names, its commands work."""

import os
import re
import shlex
import signal

import numpy as np
import pytest
import torch

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.training import confusion_matrix, scores, train
from segformer_edu.training.metrics import ious
from segformer_edu.training.report import label_each
from tests.plots.test_page import Reader
from tests.training.rectangles import TINY, Rectangles, write_files


class Interrupting(Rectangles):
    """Pictures of which the last one that a run needs asks it to stop."""

    asked = 0

    def picture(self, index):
        self.asked += 1
        if self.asked == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return super().picture(index)


def report_of(run):
    return Reader((run / "report.html").read_bytes())


def commands_in(read):
    return [each for each in read.text if each.startswith("python -m segformer_edu")]


def cells(read, after):
    """The words of a table's body, a list for each row, after a heading of the page."""
    words = [each.strip() for each in read.text if each.strip()]
    return words[words.index(after) + 1 :]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on fourteen files, of which it holds out five."""
    folder = tmp_path_factory.mktemp("report")
    write_files(folder, count=14)
    settings = TINY.replace(
        data="folder",
        images=str(folder / "images"),
        masks=str(folder / "masks"),
        classes=("ground", "red & <blue>", "sky"),
        validation=5,
        steps=30,
    )
    train(settings, folder / "my run", progress=False)
    return folder / "my run"


def test_the_scores_are_those_of_the_best_weights_on_the_validation_pictures(run):
    from segformer_edu.training import Settings, open_data

    _, pictures = open_data(Settings.from_yaml(run / "settings.yaml"))
    model = SegFormer.from_pretrained(run / "best")
    each = [confusion_matrix(model.predict(x[None])[0], y, 3) for x, y in pictures]
    found, total = scores(sum(each)), sum(each).double()
    words = cells(report_of(run), "Classes")
    assert f"mIoU {found.miou:.3f}" in report_of(run).text
    rows = dict(zip(words[6::5], [words[7 + n : 11 + n] for n in range(0, 15, 5)], strict=False))
    for label, name in enumerate(("ground", "red & <blue>", "sky")):
        both = total[label, label]
        expected = (
            found.iou[label],
            both / total[label].sum(),
            both / total[:, label].sum(),
            total[label].sum() / total.sum(),
        )
        for share, shown in zip(expected, rows[name], strict=True):
            known = "–" if np.isnan(float(share)) else shown
            assert shown == known
            if known != "–":
                lowest = 0.0005 if shown.startswith("<") else 0.00051
                assert abs(float(share) - float(shown.strip("<% ")) / 100) <= lowest


def test_best_and_worst_pictures_are_the_ends_of_the_order_by_miou(run):
    from segformer_edu.training import Settings, open_data
    from segformer_edu.training.own_pictures import picture_names

    _, pictures = open_data(Settings.from_yaml(run / "settings.yaml"))
    model = SegFormer.from_pretrained(run / "best")
    ranks = {}
    for name, (x, y) in zip(picture_names(pictures), pictures, strict=True):
        confusion = confusion_matrix(model.predict(x[None])[0], y, 3)
        ranks[name] = np.nanmean(ious(confusion.numpy()))
    order = sorted(ranks, key=ranks.get, reverse=True)
    shown = [each for each in report_of(run).text if re.fullmatch(r"\d\d, mIoU 0\.\d{3}", each)]
    best, worst = order[:3], order[3:][::-1]  # five in all, none of them shown twice
    assert shown == [f"{name}, mIoU {ranks[name]:.3f}" for name in (*best, *worst)]
    assert len(report_of(run).all("img")) == 1 + 3 * 5


def test_its_commands_work_as_they_stand(run, monkeypatch, tmp_path, capsys):
    lines = [shlex.split(line) for line in commands_in(report_of(run))]
    assert [line[3] for line in lines] == ["evaluate", "segment", "export"]
    assert "--fit" not in lines[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes((run.parent / "images/00.png").read_bytes())
    for line in lines:
        assert main(line[3:]) == 0, capsys.readouterr().err
    assert {"labels.png", "model.onnx"} <= {path.name for path in tmp_path.iterdir()}


def test_pictures_are_segmented_at_the_scale_of_the_run(tmp_path):
    pictures = Rectangles(4), Rectangles(4, seed=1)
    train(TINY.replace(steps=1, fit=48), tmp_path / "run", data=pictures, progress=False)
    assert " --fit 48 " in commands_in(report_of(tmp_path / "run"))[1]


def test_a_run_that_is_stopped_says_how_to_go_on(tmp_path):
    pictures = Interrupting(10), Rectangles(4, seed=1)
    settings = TINY.replace(steps=100, cache_mb=0, class_weights=False)
    with pytest.raises(KeyboardInterrupt, match="Stopped after step"):
        train(settings, tmp_path / "run", data=pictures, progress=False)
    words = report_of(tmp_path / "run").text
    assert any("of 100 steps" in each for each in words)
    assert commands_in(report_of(tmp_path / "run"))[0].endswith(
        f"train --out {tmp_path / 'run'} --resume"
    )
    train(settings, tmp_path / "run", data=pictures, progress=False, resume=True)
    assert any("100 of 100 steps" in each for each in report_of(tmp_path / "run").text)


def test_a_run_stopped_before_its_first_validation_has_a_report_too(tmp_path):
    pictures = Interrupting(10), Rectangles(4, seed=1)
    settings = TINY.replace(
        steps=100, validate_every=0, save_every=0, cache_mb=0, class_weights=False
    )
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "run", data=pictures, progress=False)
    words = report_of(tmp_path / "run").text
    assert "No result yet" in words and "Curves" in words and "Classes" not in words


def test_a_picture_without_a_labelled_pixel_has_no_score(data):
    class Bare(Rectangles):
        def picture(self, index):
            image, labels = super().picture(index)
            return image, np.full_like(labels, 255) if index == 1 else labels

    model = SegFormer(SegFormerConfig.named("nano", num_classes=3)).eval()
    answers = label_each(model, Bare(3), tile=0, progress=False)
    assert np.isnan(answers.mious).tolist() == [False, True, False]


def test_of_many_classes_the_most_frequent_mistakes_are_listed(tmp_path):
    class Many(Rectangles):
        class_names = tuple(f"class {n}" for n in range(40))

    train(TINY.replace(steps=2), tmp_path / "run", data=(Many(4), Many(2)), progress=False)
    words = cells(report_of(tmp_path / "run"), "What is taken for what")
    assert words[1:5] == ["true class", "called", "pixels", "part"]
    model = SegFormer.from_pretrained(tmp_path / "run/best")
    confusion = sum(
        confusion_matrix(model.predict(x[None])[0], y, 40)
        for x, y in map(Many(2).__getitem__, range(2))
    )
    wrong = confusion * (1 - torch.eye(40, dtype=torch.int64))
    true, called = divmod(int(wrong.argmax()), 40)
    assert words[5:8] == [f"class {true}", f"class {called}", f"{int(wrong.max()):,}"]
