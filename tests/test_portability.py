"""What works on this machine works on Windows, on macOS and in other languages."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from segformer_edu.commands.parser import class_names
from segformer_edu.data.pets import read_split
from segformer_edu.training import Settings
from segformer_edu.training.curves import read_log
from tools import lessons

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("benchmarks", "experiments", "figures", "notebooks", "segformer_edu", "tests", "tools")
SCRIPTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@pytest.fixture(scope="module")
def tracked():
    """The files of the repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    command = ["git", "-c", "core.quotePath=false", "ls-files"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if run.returncode:  # an archive, or a repository of someone else
        pytest.skip(run.stderr)
    return [PurePosixPath(line) for line in run.stdout.splitlines()]


def test_every_system_allows_our_file_names(tracked):
    """Windows reserves these names for devices, forbids some characters, and allows 260 in all."""
    assert len(tracked) > 200
    for path in tracked:
        assert re.fullmatch(r"[\w.+-]+", path.name, re.ASCII), path
        assert not path.name.endswith("."), path
        assert not any(RESERVED.fullmatch(part) for part in path.parts), path
        assert len(str(path)) < 120, path


def test_no_two_names_differ_in_capitals_alone(tracked):
    folders = {parent for path in tracked for parent in path.parents}
    counts = Counter(str(path).lower() for path in {*tracked, *folders})
    assert [name for name, count in counts.items() if count > 1] == []


def unnamed_encodings(code):
    """The lines on which text is read or written in the machine's own encoding."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {keyword.arg for keyword in node.keywords}
        if name in ("read_text", "write_text"):
            unnamed = len(node.args) <= (name == "write_text")
        else:
            unnamed = name in ("run", "Popen", "check_output") and "text" in given
        if unnamed and "encoding" not in given:
            yield node.lineno


def test_text_names_its_encoding_wherever_it_is_read_or_written():
    """Ruff's PLW1514 finds it only on what it knows to be a path; this goes by names."""
    code = "p.write_text('a')\nrun(x, text=True)\np.read_text(encoding='utf-8')\nrun(x)"
    code += "\np.write_text('a', 'utf-8')\np.read_text('utf-8')\np.read_text()"
    assert list(unnamed_encodings(code)) == [1, 2, 7]
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SCRIPTS
        for line in unnamed_encodings(path.read_text(encoding="utf-8"))
    ]
    assert len(SCRIPTS) > 200 and found == []


def test_help_is_shown_even_where_the_terminal_lacks_some_letters():
    command = [sys.executable, "-m", "segformer_edu", "train", "--help"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "nano, b0 … b5".encode("ascii", "backslashreplace") in run.stdout


# ---- files with Windows' line endings ----


def test_settings_names_splits_and_logs_are_read_the_same(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.write_bytes(text.replace("\n", "\r\n").encode())
        return path

    settings = Settings(classes=("Straße", "Haus"), steps=7)
    assert Settings.from_yaml(written("run.yaml", settings.to_yaml())) == settings
    assert class_names(str(written("names.txt", "Straße\nHaus\n"))) == ("Straße", "Haus")
    assert read_split(written("test.txt", "Bombay_1 1 1 1\nBombay_2 1 1 1\n")) == (
        ["Bombay_1", "Bombay_2"]
    )
    log = read_log(written("log.csv", "step,loss\n1,0.5\n2,0.25\n"))
    assert log["step"].tolist() == [1, 2] and log["loss"].tolist() == [0.5, 0.25]


def test_a_source_checked_out_with_those_ends_makes_the_same_lesson(tmp_path):
    sources = lessons.sources(ROOT / "notebooks")
    assert len(sources) > 8
    for source in sources:
        claims = dict.fromkeys(lessons.claims_for(source), lambda: "1")
        copy = tmp_path / source.name
        copy.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
        assert lessons.assemble(copy, claims) == lessons.assemble(source, claims)
