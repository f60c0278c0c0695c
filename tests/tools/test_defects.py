"""The table of seeded defects fits the files, and its runner tells what became of each defect."""

import ast
import json
import tomllib
from pathlib import Path

import pytest

from tools import defects
from tools.defects import CHECK, DEFECTS, ROOT, Defect

PARSERS = {".py": ast.parse, ".toml": tomllib.loads, ".json": json.loads, ".ipynb": json.loads}
PROJECT = {
    "pytest.ini": "[pytest]\n",
    "numbers_of.py": "def double(x):\n    return x + x\n\n\nTHREE = 3\nUNTESTED = 4\n",
    "tests/test_numbers.py": """\
import subprocess
import sys

from numbers_of import THREE


def test_double():
    program = "from numbers_of import double; print(double(2))"
    found = subprocess.run([sys.executable, "-c", program], cwd="..", stdout=subprocess.PIPE)
    assert int(found.stdout) == 4


def test_three():
    assert THREE == 3


def test_that_is_red_anyway():
    assert False
""",
    "lesson.txt": "3 keys",
    "tools/lessons.py": "import sys\nsys.exit('3 keys' not in open('lesson.txt').read())\n",
}
DOUBLE, THREE, RED_ANYWAY = (
    f"tests/test_numbers.py::test_{name}" for name in ("double", "three", "that_is_red_anyway")
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.what)
def test_a_defect_changes_a_piece_of_one_line_that_is_there_once(defect: Defect) -> None:
    text = (ROOT / defect.path).read_text(encoding="utf-8")
    assert text.count(defect.old) == 1
    assert defect.new != defect.old
    assert "\n" not in defect.old + defect.new
    PARSERS.get(Path(defect.path).suffix, str)(text.replace(defect.old, defect.new))


@pytest.mark.parametrize("name", sorted({defect.test for defect in DEFECTS} - {CHECK}))
def test_a_named_test_is_there(name: str) -> None:
    file, *path = name.partition("[")[0].split("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".ipynb"):
        assert not path
        return
    body = ast.parse(text).body
    for part in path:
        (found,) = (node for node in body if getattr(node, "name", "") == part)
        body = found.body
    assert isinstance(found, ast.FunctionDef) and found.name.startswith("test_")


def test_no_two_defects_are_the_same() -> None:
    assert len({defect.what for defect in DEFECTS}) == len(DEFECTS) >= 44
    assert len({(defect.path, defect.old) for defect in DEFECTS}) == len(DEFECTS)


def test_numbers_and_words_choose_defects() -> None:
    every = [Defect(what, "loss.py", "a", "b", CHECK) for what in ("Sums", "means", "sums of 2")]
    assert list(defects.chosen(every, [])) == [1, 2, 3]
    assert list(defects.chosen(every, ["2"])) == [2]  # and not the third, which says so
    assert list(defects.chosen(every, ["sums"])) == [1, 3]
    assert list(defects.chosen(every, ["means", "3"])) == [2, 3]
    assert not defects.chosen(every, ["4", "keys"])


def test_a_defect_is_taken_back_whatever_happens(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n")
    defect = Defect("", "a.py", "1", "2", CHECK)
    with pytest.raises(KeyboardInterrupt), defects.seeded(defect, tmp_path):
        assert (tmp_path / "a.py").read_bytes() == b"x = 2\r\n"
        raise KeyboardInterrupt
    assert (tmp_path / "a.py").read_bytes() == b"x = 1\r\n"


@pytest.mark.parametrize("old", ["y", " "])
def test_what_is_not_there_once_is_refused(tmp_path: Path, old: str) -> None:
    (tmp_path / "a.py").write_text("x = 1", encoding="utf-8")
    defect = Defect("", "a.py", old, "z", CHECK)
    with pytest.raises(ValueError, match=r"a\.py: correct"), defects.seeded(defect, tmp_path):
        pass


def test_each_defect_is_red_red_elsewhere_or_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a third of the time
    monkeypatch.setattr(defects, "ROOT", tmp_path)
    monkeypatch.setattr(defects, "tracked", lambda root: PROJECT)
    seeded = (
        Defect("caught", "numbers_of.py", "x + x", "x * 3", DOUBLE),
        Defect("caught by the check", "lesson.txt", "3", "4", CHECK),
        Defect("caught elsewhere", "numbers_of.py", "THREE = 3", "THREE = 4", DOUBLE),
        Defect("survivor", "numbers_of.py", "UNTESTED = 4", "UNTESTED = 5", THREE),
        Defect("no proof", "numbers_of.py", "THREE = 3", "THREE = 5", RED_ANYWAY),
    )
    monkeypatch.setattr(defects, "DEFECTS", seeded)
    assert defects.main([]) == 1
    _, _, *rows, last = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [(row[3], row[1], row[4]) for row in table] == [
        ("caught", "red", DOUBLE),
        ("caught by the check", "red", CHECK),
        ("caught elsewhere", "red elsewhere", f"{THREE}, not {DOUBLE}"),
        ("survivor", "SURVIVED", THREE),
        ("no proof", "RED WITHOUT IT", RED_ANYWAY),
    ]
    assert last == "3 of 5 caught"
    assert all(
        (tmp_path / name).read_text(encoding="utf-8") == text for name, text in PROJECT.items()
    )
    assert defects.main(["1", "check"]) == 0
    assert capsys.readouterr().out.endswith("2 of 2 caught\n")


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        defects.main(["1000"])
    assert f"no defect of 1 to {len(DEFECTS)} has this name: 1000" in capsys.readouterr().err
