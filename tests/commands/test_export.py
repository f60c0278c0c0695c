"""export: the file's reader gives the same answers as the model, or the file is not kept."""

import contextlib
import io
import json
import sys

import numpy as np
import onnx
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


def export_to(folder, out, *more):
    return main(["export", "--weights", str(folder / "weights"), "--out", str(out), *more])


def test_a_fixed_size_in_an_older_opset(exported, tmp_path, capsys):
    folder, _, model = exported
    out = tmp_path / "fixed.onnx"
    assert export_to(folder, out, "--size", "53x96", "--opset", "17") == 0
    assert "within" in capsys.readouterr().out
    file = onnx.load(out)
    assert {each.domain: each.version for each in file.opset_import}[""] == 17
    used = {name for node in file.graph.node for name in node.input}
    assert {each.name for each in file.graph.initializer} <= used  # the others would be warned of
    shape = [each.dim_value for each in file.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 2, 53, 96]
    images = torch.randn(1, 2, 53, 96)
    (logits,) = onnxruntime.InferenceSession(out).run(None, {"images": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(logits), model(images), rtol=1e-4, atol=1e-4)


def test_weights_take_sixteen_bits_and_the_file_is_used_as_one_of_thirty_two(
    exported, tmp_path, capsys
):
    folder, _, model = exported
    out = tmp_path / "half.onnx"
    assert export_to(folder, out, "--labels", "--float16", "--size", "101x75") == 0
    kinds = {x.data_type for x in onnx.load(out).graph.initializer if np.prod(x.dims) > 100}
    assert kinds == {onnx.TensorProto.FLOAT16}
    images = torch.randn(1, 2, 101, 75)
    logits, labels = onnxruntime.InferenceSession(out).run(None, {"images": images.numpy()})
    assert (logits.dtype, labels.dtype) == (np.float32, np.int64)
    with torch.no_grad():
        expected = model(images)
    difference = float((torch.tensor(logits) - expected).abs().max() / expected.abs().max())
    assert 1e-6 < difference < 1e-2  # rounded, and not by much
    said = capsys.readouterr().out
    assert f"{out.stat().st_size / 1e6:.1f} MB" in said and "of its labels the same" in said


@pytest.mark.parametrize("ending", [".pt", ".pt2"])
def test_torch_reads_what_it_traced_without_this_package(ending, exported, tmp_path, capsys):
    folder, _, model = exported
    out, told = tmp_path / f"model{ending}", {"class_names": "", "mean": "", "std": ""}
    size, shape = (
        ([], (3, 2, 47, 80)) if ending == ".pt2" else (["--size", "64x75"], (1, 2, 64, 75))
    )
    assert export_to(folder, out, "--labels", *size) == 0
    assert "within" in capsys.readouterr().out
    if ending == ".pt":
        read = torch.jit.load(out, _extra_files=told)
        assert "aten::alias" not in str(read.inlined_graph)  # coremltools 9.0 cannot convert it
    else:
        read = torch.export.load(out, extra_files=told).module()
    images = torch.randn(shape)
    with torch.no_grad():
        logits, labels = read(images)
        torch.testing.assert_close(logits, model(images), rtol=1e-4, atol=1e-4)
    assert (labels == model.predict(images)).float().mean() > 0.999
    assert json.loads(told["class_names"]) == list(CONFIG.class_names)
    assert json.loads(told["mean"]) == list(CONFIG.image_mean)


def test_an_opset_that_torch_cannot_write_is_refused_and_not_replaced(exported):
    with pytest.raises(ValueError, match="--opset 16: .* could not write this graph so"):
        export.to_onnx(exported[2], size=(64, 96), opset=16)


@pytest.mark.parametrize("words", [["--opset", "16"], ["--size", "512"], ["--size", "0.5x9"]])
def test_a_value_that_is_none_is_said_in_one_line(words, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--weights", "w", "--out", "m.onnx", *words])
    err = capsys.readouterr().err
    assert f"Argument {words[0]}: " in err and words[1] in err and err.count("\n") == 1


def test_a_file_that_onnx_runtime_cannot_read_is_not_kept(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "to_onnx", lambda *_: b"no graph")
    assert export_to(exported[0], tmp_path / "m.onnx") == 2
    err = capsys.readouterr().err
    assert "cannot read the file" in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("shift", "kept"), [(0.002, True), (0.05, False)])
def test_how_far_sixteen_bits_may_be_off(shift, kept, exported, monkeypatch):
    folder, _, model = exported
    real = onnxruntime.InferenceSession.run

    def wrong(self, names, inputs):
        logits, labels = real(self, names, inputs)
        return [logits + shift * np.abs(logits).max(), labels]

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", wrong)
    content = (folder / "model.onnx").read_bytes()
    with contextlib.nullcontext() if kept else pytest.raises(ValueError, match="Leave --float16"):
        export.compare(".onnx", content, model, allowed=export.ALLOWED[torch.float16])


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
    monkeypatch.setattr(export, "to_onnx", lambda *_: content)
    out = tmp_path / "model.onnx"
    assert main(["export", "--weights", str(folder / "weights"), "--out", str(out)]) == 2
    assert "was not written" in capsys.readouterr().err and not out.exists()


def test_without_onnx_runtime_it_says_that_nothing_was_checked(
    small_config, tmp_path, capsys, monkeypatch
):
    SegFormer(small_config).save_pretrained(tmp_path / "weights")
    monkeypatch.setattr(export, "to_onnx", lambda *_: b"a graph")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = tmp_path / "model.onnx"
    assert main(["export", "--weights", str(tmp_path / "weights"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "not checked" in said and '[export]"' in said and out.read_bytes() == b"a graph"


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
        (["--weights", "w", "--out", "m.tflite"], "not a .onnx or .pt or .pt2"),
        (["--weights", "w", "--out", "m.pt"], "give it, such as --size 512x512"),
        (["--weights", "nano", "--out", "m.onnx", "--size", "8x512"], "8x512 is too small"),
        (["--weights", "w", "--out", "m.pt2", "--opset", "18"], "leave --opset out"),
        (["--weights", "w", "--out", "m.pt2", "--int8", "--calibrate", "."], "leave --int8 out"),
        (
            ["--weights", "w", "--out", "m.onnx", "--float16", "--int8", "--calibrate", "."],
            "exclude each other",
        ),
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
