"""--int8: the file answers nearly as in float, or is not kept; a wrong request costs nothing."""

import contextlib
import io
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from segformer_edu import SegFormer
from segformer_edu.__main__ import main
from segformer_edu.commands import export, quantize
from segformer_edu.data.photos import IMAGENET_MEAN, normalize
from segformer_edu.data.scenes import Scenes
from segformer_edu.training import confusion_matrix, scores


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twelve street scenes and their masks, as files."""
    folder = tmp_path_factory.mktemp("scenes")
    for kind in ("photos", "masks"):
        (folder / kind).mkdir()
    for number, pair in enumerate(Scenes(12, 96, seed=5).picture(index) for index in range(12)):
        for kind, pixels in zip(("photos", "masks"), pair, strict=True):
            Image.fromarray(pixels).save(folder / kind / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, scenes):
    """nano in 8 bits and in float, and what was said of the first."""
    folder = tmp_path_factory.mktemp("int8")
    said = io.StringIO()
    arguments = ["export", "--weights", "nano", "--out", str(folder / "int8.onnx"), "--int8"]
    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        given = []
        patch.setattr(
            export, "to_int8", lambda x, *rest: given.append(x) or quantize.to_int8(x, *rest)
        )
        photos, masks = str(scenes / "photos"), str(scenes / "masks")
        assert main([*arguments, "--calibrate", photos, "--masks", masks]) == 0
    (folder / "float.onnx").write_bytes(given[0])
    return folder, said.getvalue()


def test_nano_loses_at_most_a_hundredth_of_miou_on_pictures_that_it_was_not_calibrated_on(made):
    folder, _ = made
    model = SegFormer.from_pretrained("nano")
    session = onnxruntime.InferenceSession(folder / "int8.onnx")
    pictures = [Scenes(30, 128, seed=2026).picture(index) for index in range(30)]
    confusions = torch.zeros(2, 8, 8, dtype=torch.int64)
    for image, labels in pictures:
        (logits,) = session.run(["logits"], {"images": normalize(image).numpy()})
        full = torch.nn.functional.interpolate(torch.tensor(logits), (128, 128), mode="bilinear")
        truth = torch.tensor(labels)[None]
        for found, total in zip(
            (model.predict(normalize(image)), full.argmax(1)), confusions, strict=True
        ):
            total += confusion_matrix(found, truth, 8)
    before, after = (scores(each).miou for each in confusions)
    assert before > 0.75 and after > before - 0.01


def test_weights_take_a_byte_each_and_the_metadata_stays(made):
    folder, _ = made
    small, large = ((folder / f"{name}.onnx").stat().st_size for name in ("int8", "float"))
    assert small < 0.4 * large
    graph = onnx.load(folder / "int8.onnx").graph
    kinds = {each.data_type for each in graph.initializer if np.prod(each.dims) > 1000}
    assert kinds == {onnx.TensorProto.INT8}
    told = onnxruntime.InferenceSession(folder / "int8.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(told["mean"]) == list(IMAGENET_MEAN)
    assert json.loads(told["class_names"])[0] == "sky"


def test_what_is_printed_was_measured_on_every_second_picture(made, scenes):
    """By running both files here on the pictures that did not calibrate."""
    folder, said = made
    model = [onnxruntime.InferenceSession(folder / f"{x}.onnx") for x in ("float", "int8")]
    same, confusions = [], torch.zeros(2, 8, 8, dtype=torch.int64)
    for number in range(1, 12, 2):
        image = np.array(Image.open(scenes / "photos" / f"{number:02}.png"))
        truth = torch.tensor(np.array(Image.open(scenes / "masks" / f"{number:02}.png")))
        found = []
        for session, total in zip(model, confusions, strict=True):
            (logits,) = session.run(["logits"], {"images": normalize(image).numpy()})
            full = torch.nn.functional.interpolate(torch.tensor(logits), (96, 96), mode="bilinear")
            found.append(full.argmax(1)[0])
            total += confusion_matrix(found[-1], truth, 8)
        same.append((found[0] == found[1]).float().mean())
    before, after = (scores(each).miou for each in confusions)
    numbers = re.search(r"([\d.]+)% of .* mIoU ([\d.]+) \(([\d.]+) in float\)", said).groups()
    expected = (100 * float(torch.stack(same).mean()), after, before)
    assert [float(x) for x in numbers] == pytest.approx(expected, abs=0.02)


def test_a_file_that_answers_otherwise_is_not_kept(scenes, tmp_path, capsys, monkeypatch):
    """Weights are rounded to one bit; by what is left of them nobody could label a street."""
    model = SegFormer.from_pretrained("nano")
    monkeypatch.setattr(export, "to_onnx", lambda *_: b"float")
    monkeypatch.setattr(export, "compare", lambda *_: 0.0)
    monkeypatch.setattr(export, "to_int8", lambda *_: b"int8")
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda content, **_: content)

    def labels_of(session, image):
        labels = model.predict(image)
        return labels if session == b"float" else labels.roll(20, dims=2)

    monkeypatch.setattr(quantize, "labels_of", labels_of)
    monkeypatch.setattr(quantize, "seconds", lambda *_: 1.0)
    out, photos = tmp_path / "m.onnx", str(scenes / "photos")
    arguments = ["export", "--weights", "nano", "--out", str(out), "--int8", "--calibrate", photos]
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "was not written" in err and err.count("\n") == 1 and not out.exists()


def damaged(folder):
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])


def small(folder):
    for name in ("a", "b"):
        Image.new("RGB", (64, 8)).save(folder / f"{name}.png")


def one(folder):
    Image.new("RGB", (64, 64)).save(folder / "a.png")


def test_pictures_of_another_size_than_the_files_are_refused(scenes, tmp_path, capsys):
    arguments = ["--weights", "nano", "--out", str(tmp_path / "m.onnx"), "--size", "96x64"]
    photos = str(scenes / "photos")
    assert main(["export", *arguments, "--int8", "--calibrate", photos]) == 2
    assert "00.png has 96×96 pixels, not those of --size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (None, "no such folder"),
        (lambda folder: None, "holds no pictures"),
        (one, "holds one picture"),
        (damaged, "b.png cannot be read"),
        (small, "a.png has 8×64 pixels"),
    ],
)
def test_pictures_that_cannot_calibrate_are_refused_before_any_work(
    fill, words, tmp_path, capsys, monkeypatch
):
    def to_onnx(*_):
        raise AssertionError("the export began")

    monkeypatch.setattr(export, "to_onnx", to_onnx)
    folder, out = tmp_path / "photos", tmp_path / "m.onnx"
    if fill:
        folder.mkdir()
        fill(folder)
    arguments = ["--weights", "nano", "--out", str(out), "--int8", "--calibrate", str(folder)]
    assert main(["export", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and "--calibrate" in err and err.count("\n") == 1 and not out.exists()


def test_a_mask_without_its_photograph_is_refused(scenes, tmp_path, capsys):
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.new("L", (96, 96)).save(masks / "other.png")
    arguments = ["--weights", "nano", "--out", str(tmp_path / "m.onnx"), "--int8"]
    photos = str(scenes / "photos")
    assert main(["export", *arguments, "--calibrate", photos, "--masks", str(masks)]) == 2
    assert "--masks" in capsys.readouterr().err


def test_every_second_picture_is_held_out(scenes):
    config = SegFormer.from_pretrained("nano").config
    pictures = quantize.Pictures("--calibrate", scenes / "photos", scenes / "masks", config, 5)
    assert [path.name for path in pictures.paths] == [
        "00.png",
        "02.png",
        "04.png",
        "07.png",
        "09.png",
    ]
    calibrating, held_out = list(pictures.calibrating()), list(pictures.held_out())
    assert len(calibrating) == 3 and len(held_out) == 2
    for number, image in zip((0, 4, 9), calibrating, strict=True):
        assert torch.equal(
            image, normalize(np.array(Image.open(pictures.paths[0].parent / f"{number:02}.png")))
        )
    for number, (_, labels) in zip((2, 7), held_out, strict=True):
        truth = np.array(Image.open(scenes / "masks" / f"{number:02}.png"))
        assert (labels[0].numpy() == truth).all()


def test_a_model_of_bands_is_refused_even_if_they_are_three(small_config, scenes, tmp_path, capsys):
    measured = {"image_mean": (0.5,) * 3, "image_std": (0.25,) * 3}
    SegFormer(small_config.replace(**measured)).save_pretrained(tmp_path / "bands")
    arguments = ["--weights", str(tmp_path / "bands"), "--out", str(tmp_path / "a.onnx"), "--int8"]
    assert main(["export", *arguments, "--calibrate", str(scenes / "photos")]) == 2
    assert "--int8 reads photographs" in capsys.readouterr().err


@pytest.mark.parametrize("masks", [False, True])
def test_large_pictures_are_refused_until_they_are_scaled(masks, scenes, monkeypatch):
    config = SegFormer.from_pretrained("nano").config
    given = scenes / "photos", scenes / "masks" if masks else None, config
    whole, truth = quantize.open_pictures(*given).sample(3)
    monkeypatch.setattr(quantize, "LARGEST", 96 * 96 - 1)
    with pytest.raises(ValueError, match=r"00.png has 96×96 pixels, too many .* give --fit"):
        quantize.open_pictures(*given)
    pictures = quantize.open_pictures(*given, side=64)
    image, labels = pictures.sample(3)
    expected = torch.nn.functional.interpolate(whole, (64, 64), mode="bilinear", antialias=True)
    assert image.shape == (1, 3, 64, 64) and (image - expected).abs().max() < 0.05
    if masks:
        nearest = torch.nn.functional.interpolate(truth[None].float(), (64, 64), mode="nearest")
        assert (labels == nearest[0]).float().mean() > 0.9  # they differ in where they round
    with pytest.raises(ValueError, match="--fit 8: the model needs"):
        quantize.open_pictures(*given, side=8)


def test_a_scale_is_for_pictures_that_calibrate(tmp_path, capsys):
    assert (
        main(["export", "--weights", "nano", "--out", str(tmp_path / "m.onnx"), "--fit", "64"]) == 2
    )
    assert "--fit is for --int8" in capsys.readouterr().err


def test_pictures_are_scaled_on_the_command_line_and_nothing_else_is_said(scenes, tmp_path, capfd):
    arguments = ["export", "--weights", "nano", "--out", str(tmp_path / "m.onnx"), "--int8"]
    assert main([*arguments, "--calibrate", str(scenes / "photos"), "--fit", "64"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{tmp_path / 'm.onnx'}: ") and "onnxruntime" not in err
