"""What the package asks for: read alike from pyproject.toml and from what pip recorded."""

import pytest
from packaging.specifiers import SpecifierSet

from segformer_edu import extras
from segformer_edu.extras import Dependency, dependencies, install_command

RECORD = """\
Metadata-Version: 2.4
Name: segformer_edu
Version: 0.1.0
Requires-Dist: torch<3,>=2.9
Requires-Dist: packaging>=24.2
Provides-Extra: lab
Requires-Dist: ipywidgets<9,>=8.1; extra == "lab"
Requires-Dist: numpy<3; (python_version >= "3") and extra == "lab"
Provides-Extra: test
Requires-Dist: ipywidgets<9,>=8.1 ; extra == 'test'
"""
PROJECT = """\
[project]
dependencies = ["torch>=2.9,<3", "packaging >=24.2"]
[project.optional-dependencies]
lab = ["ipywidgets>=8.1,<9", "numpy<3"]
test = ["ipywidgets>=8.1, <9"]
"""


def test_pyproject_and_the_record_of_pip_say_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "installed_version", {"torch": "2.13.0+cpu"}.get)
    monkeypatch.setattr(extras, "PROJECT", tmp_path / "pyproject.toml")
    record = tmp_path / "segformer_edu-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(RECORD, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    recorded = dependencies()
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    expected = [
        ("torch", ">=2.9,<3", "", "2.13.0+cpu"),
        ("packaging", ">=24.2", "", None),
        ("ipywidgets", ">=8.1,<9", "lab", None),
        ("numpy", "<3", "lab", None),
        ("ipywidgets", ">=8.1,<9", "test", None),
    ]
    expected = [Dependency(name, SpecifierSet(x), *rest) for name, x, *rest in expected]
    assert recorded == dependencies() == expected


def test_the_command_for_an_extra_works_in_any_folder_for_a_clone_and_for_a_wheel(
    tmp_path, monkeypatch
):
    """pip takes the installed package for the wheel's, and reads its extras from the record."""
    monkeypatch.setattr(extras, "PROJECT", tmp_path / "pyproject.toml")
    assert install_command("lab") == 'python -m pip install "segformer_edu[lab]"'
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    assert install_command("lab") == f'python -m pip install --editable "{tmp_path}[lab]"'
    assert install_command("") == f'python -m pip install --editable "{tmp_path}"'


@pytest.mark.parametrize(
    ("version", "met"),
    [
        ("2.13.0+cpu", True),
        ("2.9", True),
        ("2.10.0.dev20250901", True),  # a nightly build
        ("2.9.0rc1", False),
        ("2.8.9", False),
        ("3.0.0", False),
        ("3.0.0.dev20260101", False),
        (None, False),
    ],
)
def test_a_dependency_is_met_by_a_version_within_its_bounds(version, met):
    assert Dependency("torch", SpecifierSet(">=2.9,<3"), "", version).met == met
