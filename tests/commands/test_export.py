"""export: ONNX Runtime gives the same answers at any size, or the file is not kept."""

import contextlib
import io
import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.commands import export

CONFIG = SegFormerConfig(  # odd wherever it can be: two channels, ratios that do not divide
    num_classes=3,
    in_channels=2,
    embed_dims=(4, 8, 12, 8),
    depths=(1, 1, 1, 1),
    num_heads=(1, 2, 3, 1),
    reduction_ratios=(3, 2, 1, 1),
    mlp_ratios=(2, 2, 2, 2),
    decoder_dim=8,
    class_names=("sky", "road", "pole, thin"),
    image_mean=(0.125, 3.0),
    image_std=(0.25, 7.0),
)
SIZES = [(1, 64, 64), (4, 53, 47), (2, 160, 96), (1, 101, 203)]  # traced: (2, 64, 96)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, randomized):
    """A folder with weights and their ONNX file, what was said, and the model."""
    folder = tmp_path_factory.mktemp("export")
    model = randomized(SegFormer(CONFIG)).eval()
    model.save_pretrained(folder / "weights")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        arguments = ["--weights", str(folder / "weights"), "--out", str(folder / "model.onnx")]
        assert main(["export", *arguments, "--labels"]) == 0
    return folder, said.getvalue(), model


def test_the_file_answers_as_the_model_does_at_sizes_that_it_was_not_traced_at(exported):
    folder, said, model = exported
    assert "ONNX Runtime's logits within" in said
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "weights"]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for batch, height, width in SIZES:
        images = torch.randn(batch, 2, height, width)
        logits, labels = map(torch.tensor, session.run(None, {"images": images.numpy()}))
        with torch.no_grad():
            expected = model(images)
        scale = expected.abs().max()
        torch.testing.assert_close(logits / scale, expected / scale, rtol=0, atol=1e-5)
        predicted = model.predict(images)
        assert labels.shape == predicted.shape and labels.dtype == torch.int64
        assert (labels == predicted).float().mean() > 0.9999 and len(predicted.unique()) > 1


def test_the_file_says_how_images_are_prepared_and_what_classes_are_called(exported):
    told = onnxruntime.InferenceSession(exported[0] / "model.onnx").get_modelmeta()
    told = {name: json.loads(text) for name, text in told.custom_metadata_map.items()}
    assert tuple(told["class_names"]) == CONFIG.class_names
    assert (tuple(told["mean"]), tuple(told["std"])) == CONFIG.normalization


@pytest.mark.parametrize("output", ["logits", "labels"])
def test_a_file_that_answers_otherwise_is_not_kept(exported, output, tmp_path, capsys, monkeypatch):
    folder, _, model = exported
    real = onnxruntime.InferenceSession.run

    def wrong(self, names, inputs):
        logits, labels = real(self, names, inputs)
        if output == "logits":
            return [logits + 1e-3 * np.abs(logits).max(), labels]
        return [logits, np.roll(labels, 9, axis=1)]

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", wrong)
    content = (folder / "model.onnx").read_bytes()
    monkeypatch.setattr(export, "to_onnx", lambda model, labels: content)
    out = tmp_path / "model.onnx"
    assert main(["export", "--weights", str(folder / "weights"), "--out", str(out)]) == 2
    assert "was not written" in capsys.readouterr().err and not out.exists()


def test_without_onnx_runtime_it_says_that_nothing_was_checked(
    small_config, tmp_path, capsys, monkeypatch
):
    SegFormer(small_config).save_pretrained(tmp_path / "weights")
    monkeypatch.setattr(export, "to_onnx", lambda model, labels: b"a graph")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = tmp_path / "model.onnx"
    assert main(["export", "--weights", str(tmp_path / "weights"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "not checked" in said and '".[export]"' in said and out.read_bytes() == b"a graph"


def test_without_onnxscript_it_says_what_to_type(small_config, tmp_path, capsys, monkeypatch):
    SegFormer(small_config).save_pretrained(tmp_path / "weights")

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    out = tmp_path / "model.onnx"
    assert main(["export", "--weights", str(tmp_path / "weights"), "--out", str(out)]) == 2
    assert "onnxscript is needed" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "no.pth", "--out", "m.onnx"], "no.pth"),
        (["--weights", "w", "--out", "m.pt"], "not a .onnx"),
        (["--weights", "w", "--out", "no/m.onnx"], "no folder"),
        (["--weights", "w", "--out", "m.onnx", "--int8"], "--calibrate FOLDER"),
        (["--weights", "w", "--out", "m.onnx", "--calibrate", "."], "--int8"),
        (["--weights", "w", "--out", "m.onnx", "--masks", "."], "--int8"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    arguments, words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not list(tmp_path.iterdir())
