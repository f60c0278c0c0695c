"""All ways to install the course agree, and the package itself stays light."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tools.constraints import oldest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONDA_NAMES = {"pytorch": "torch"}


def pins() -> dict[str, str]:
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def ranges(requirements: list[str]) -> set[tuple[str, str]]:
    parsed = [Requirement(text) for text in requirements]
    return {(CONDA_NAMES.get(r.name, r.name), str(r.specifier)) for r in parsed}


def extras_of(target: str) -> list[str]:
    """The extras that a make target installs."""
    return re.search(rf"^\.venv/{target}\.stamp: EXTRAS = (.*)$", MAKEFILE, re.M)[1].split(",")


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_every_dependency_is_pinned_within_its_range(extra):
    for text in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        requirement = Requirement(text)
        pin = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{text}, pinned to {pin}"


def test_every_pin_installs_on_the_oldest_python_that_is_allowed():
    """As on Debian 12, whose Python 3.11.2 is older than some packages require."""
    oldest_python = f"{PROJECT['requires-python'].removeprefix('>=')}.0"
    asked = {}
    for name, pin in pins().items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of another extra
            installed = importlib.metadata.distribution(name)
            if installed.version.partition("+")[0] == pin:
                asked[name] = SpecifierSet(installed.metadata["Requires-Python"] or "")
    assert [name for name, python in asked.items() if not python.contains(oldest_python)] == []


def test_the_oldest_versions_are_the_lower_bounds_of_all_requirements():
    groups = [PROJECT["dependencies"], *EXTRAS.values()]
    allowed = {r.name: r.specifier for r in map(Requirement, chain.from_iterable(groups))}
    assert len(oldest(PROJECT)) == len(allowed)  # a package has one range, in all lists
    for name, version in (line.split("==") for line in oldest(PROJECT)):
        assert f">={version}" in map(str, allowed[name])


def test_constraints_hold_versions_only():
    for line in CONSTRAINTS.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line
    assert "://" not in CONSTRAINTS


def test_conda_installs_what_make_lab_installs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *listed, last = environment["dependencies"]
    assert last == {"pip": ["--editable ."]}
    needed = [*PROJECT["dependencies"], *(text for e in extras_of("lab") for text in EXTRAS[e])]
    assert ranges(listed) == ranges([*needed, f"python{PROJECT['requires-python']}", "pip"])
    assert environment["name"] == PROJECT["name"]


def test_what_the_tests_install_holds_what_the_course_installs():
    assert set(extras_of("lab")) < set(extras_of("test"))


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ["1000", "1", str(Path.home())]),
        ({"GOMP_SPINCOUNT": "7"}, ["7", "1", str(Path.home())]),
        ({"HOME": "/no/such/folder"}, ["1000", "1", str(ROOT / ".venv/home")]),
        ({"HOME": ""}, ["1000", "1", str(ROOT / ".venv/home")]),
    ],
)
def test_what_make_starts_yields_its_core_speaks_utf_8_and_has_a_home(given, told, tmp_path):
    names = ("GOMP_SPINCOUNT", "PYTHONUTF8", "HOME")
    values = " ".join(f"'$${name}'".replace("'", '"') for name in names)
    (tmp_path / "show.mk").write_text(f"show:\n\t@printf '%s\\n' {values}\n", encoding="utf-8")
    inherited = {name: x for name, x in os.environ.items() if name not in names}
    home = {"HOME": str(Path.home())}
    shown = subprocess.run(
        ["make", "--no-print-directory", "-f", "Makefile", "-f", tmp_path / "show.mk", "show"],
        cwd=ROOT,
        env=inherited | home | given,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert shown.stdout.splitlines() == told


def test_the_public_ci_runs_on_windows_what_make_runs_elsewhere():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert "make test" in [step.get("run") for step in jobs["make"]["steps"]]
    pip = "$(VENV_PYTHON) -m pip install --constraint constraints.txt --editable"
    assert f'\t{pip} ".[$(EXTRAS)]"' in MAKEFILE
    recipe = re.search(r"^test: .*\n((?:\t.*\n)+)", MAKEFILE, re.M)[1]
    lines = [line.partition("  #")[0].strip() for line in recipe.splitlines()]
    commands = [command for line in lines for command in line.split(" && ")]
    expected = [
        "python -m venv .venv",
        f'{pip} ".[{",".join(extras_of("test"))}]"',
        *(command[command.index("$(VENV_PYTHON)") :] for command in commands),
    ]
    found = [step["run"] for step in jobs["windows"]["steps"] if "run" in step]
    assert found == [each.replace("$(VENV_PYTHON)", r".venv\Scripts\python") for each in expected]
    for name in ("make", "windows"):
        first, *_ = jobs[name]["strategy"]["matrix"]["python"]
        assert f">={first}" == PROJECT["requires-python"]


def test_a_wheel_holds_every_file_that_the_package_reads():
    package = ROOT / "segformer_edu"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = settings["setuptools"]["package-data"]["segformer_edu"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file()}
    assert not {path for path in files - packed if path.suffix not in (".py", ".pyc")}


def test_every_file_that_states_the_version_or_licence_agrees():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert (
        (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(PROJECT["license"] + " License")
    )


def test_the_syllabus_links_every_lesson_there_is_and_no_other():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((notebooks/[^)]+\.ipynb)\)", readme)
    assert linked == sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("notebooks/*.ipynb")
    )


def test_importing_the_package_brings_in_the_model_and_nothing_else():
    code = "import sys, segformer_edu; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(
        command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout
    tops = {name.partition(".")[0] for name in loaded.split()}
    assert "torch" in tops
    assert not tops & {"matplotlib", "ipywidgets", "IPython", "huggingface_hub", "transformers"}
    assert not tops & {"accelerate", "pooch", "skimage", "PIL", "onnx"}


@pytest.mark.parametrize(("name", "times"), [("README.md", 3), ("Makefile", 1)])
def test_jupyter_opens_the_first_lesson_from_the_folder_that_the_links_of_lessons_reach(
    name, times
):
    """Given a notebook, it serves the folder of that alone, and ../segformer.html is outside."""
    text = (ROOT / name).read_text(encoding="utf-8")
    opened = re.findall(r"jupyter lab .*--LabApp.default_url=/lab/tree/(\S+)", text)
    assert len(opened) == text.count("jupyter lab ") == times
    assert all((ROOT / path).exists() for path in opened)
    assert "](../segformer.html)" in (ROOT / "notebooks/source/03_spatial_reduction.py").read_text(
        encoding="utf-8"
    )
