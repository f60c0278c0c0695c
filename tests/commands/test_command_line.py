"""What holds for every command: help that needs no other extra, and one line for what is wrong."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segformer_edu import SegFormer
from segformer_edu.__main__ import main, parser

(SUBPARSERS,) = (action for action in parser()._actions if isinstance(action.choices, dict))
COMMANDS = list(SUBPARSERS.choices)


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["segment"], ["doctor", "now"], ["segment", "--fast"]]
)
def test_a_command_line_that_makes_no_sense_points_to_help(arguments, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--help" in err


def test_python_dash_m_works():
    command = [sys.executable, "-m", "segformer_edu", "segment"]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 2 and "IMAGE" in run.stderr


CONSOLES = {  # that lack letters, and raise where one is printed to them
    "cp1252": {"PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LANG": "C"},
    "C": {"PYTHONIOENCODING": "", "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
}
NAMES = ("δρόμος", "天空", "🌳 tree", "Straße")
TYPED = """\
import runpy, sys
for arguments in {commands}:
    sys.argv = ["segformer_edu", *arguments]
    try:
        runpy.run_module("segformer_edu", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code: sys.exit(f"{{arguments}}: {{leaving.code}}")
"""


def typed(commands, console, folder):
    """Commands as if they were typed there one after another, and what they printed."""
    return subprocess.run(
        [sys.executable, "-c", TYPED.format(commands=ascii(commands))],
        env={**os.environ, **CONSOLES[console]},
        cwd=folder,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("console", CONSOLES)
def test_help_is_printed_on_a_console_that_lacks_letters(console, tmp_path):
    run = typed([["--help"], *([name, "--help"] for name in COMMANDS)], console, tmp_path)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.count(b"usage: ") == 1 + len(COMMANDS)


@pytest.fixture
def scored(small_config, tmp_path):
    """The command that scores a model whose classes have such names; all files have them, too."""
    model = SegFormer(small_config.replace(class_names=NAMES, num_classes=4))
    model.save_pretrained(tmp_path / "γ")
    pixels = np.random.default_rng(0).integers(0, 4, (2, 64, 64), dtype=np.uint8)
    for kind in ("photos", "masks"):
        (tmp_path / kind).mkdir()
        for name, each in zip("aß", pixels, strict=True):
            Image.fromarray(each).save(tmp_path / kind / f"{name}.png")
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    folder = ["--data", "folder", "--images", "photos", "--masks", "masks", "--validation", "0"]
    arguments = ["--weights", "γ", *folder, "--classes", "names.txt", "--cpu", "--out", "🌳.json"]
    return ["evaluate", *arguments]


@pytest.mark.parametrize("console", ["cp1252", "ascii"])
def test_classes_of_any_alphabet_are_printed_and_written(console, scored, tmp_path):
    """Letters that the console lacks are printed as what Python writes for them."""
    segmented = ["segment", "photos/ß.png", "--weights", "γ", "--out", "天.png", "--device", "cpu"]
    run = typed([scored, segmented], console, tmp_path)
    assert run.returncode == 0, run.stderr.decode()
    told = json.loads((tmp_path / "🌳.json").read_text(encoding="utf-8"))
    assert tuple(told["iou"]) == NAMES and told["weights"] == "γ"
    assert (tmp_path / "天.png").exists()
    for name in NAMES:
        assert name.encode(console, "backslashreplace") in run.stdout


def test_scores_are_written_before_they_are_printed(scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))  # raises at δ
    assert main(scored) == 2
    assert tuple(json.loads(Path("🌳.json").read_text(encoding="utf-8"))["iou"]) == NAMES


OF_EXTRAS = {  # what they import, none of which `pip install segformer_edu` brings
    *("matplotlib", "transformers", "onnx", "onnxruntime", "onnxscript", "accelerate", "pooch"),
    *("yaml", "huggingface_hub", "psutil", "skimage", "sklearn", "ipywidgets", "IPython"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_extra_and_gives_examples(name):
    code = (
        f"import sys\nsys.modules |= dict.fromkeys({OF_EXTRAS})\n"
        f"from segformer_edu.__main__ import main\nmain([{name!r}, '--help'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stderr
    assert name == "doctor" or "example" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 100
