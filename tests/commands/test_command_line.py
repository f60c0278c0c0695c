"""What holds for every command: help that needs no other extra, and one line for what is wrong."""

import subprocess
import sys

import pytest

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
