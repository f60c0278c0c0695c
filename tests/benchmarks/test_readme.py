"""Every benchmark fills its own place in README.md, and a quick look leaves the file as it is."""

import shutil
import sys

import pytest

from benchmarks import pictures, readme, tricks
from benchmarks.contenders import OURS
from benchmarks.readme import HERE, asked, filled, publish
from benchmarks.without import TRICKS

NAMES = ["results", "gpu", "tricks", "widgets", "pictures", "page"]
MEASURED = {
    tricks: {(task, name): [10.0] for task in tricks.TASKS for name in (OURS, *TRICKS)},
    pictures: {"reading": [pictures.Measured(2, 300, 310)] * 2},
}


def outside(text, name):
    """What stands before a place, and behind it."""
    before, _, rest = text.partition(f"<!-- {name} -->")
    return before, rest.partition(f"<!-- end of {name} -->")[2]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of README.md, which the benchmarks take for theirs."""
    shutil.copy(HERE / "README.md", tmp_path)
    monkeypatch.setattr(readme, "HERE", tmp_path)
    return tmp_path / "README.md"


def test_only_what_stands_between_the_markers_of_its_name_is_replaced():
    text = "a\n<!-- b -->\n1\n<!-- end of b -->\nc\n<!-- d -->\n2\n<!-- end of d -->\ne\n"
    assert filled(text, "b", "new\n") == text.replace("1", "new")
    assert filled(text, "d", "new\n") == text.replace("2", "new")


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_printed_and_goes_into_its_own_place(name, copied, capsys):
    lines = copied.read_text(encoding="utf-8").splitlines()
    begin, end = lines.index(f"<!-- {name} -->"), lines.index(f"<!-- end of {name} -->")
    publish(name, "| new |\n", quick=False)
    written = copied.read_text(encoding="utf-8").splitlines()
    assert written == [*lines[: begin + 1], "| new |", *lines[end:]]
    assert capsys.readouterr().out == "| new |\n\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_look_is_printed_alone(name, copied, capsys):
    before = copied.read_bytes()
    publish(name, "| new |\n", quick=True)
    assert copied.read_bytes() == before
    assert capsys.readouterr().out == "| new |\n\n"


@pytest.mark.parametrize(("benchmark", "name"), [(tricks, "tricks"), (pictures, "pictures")])
def test_a_benchmark_fills_its_place_unless_it_is_quick(benchmark, name, copied, monkeypatch):
    monkeypatch.setattr(benchmark, "measure", lambda *_: MEASURED[benchmark])
    text = copied.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["", "--quick"])
    benchmark.main()
    assert copied.read_text(encoding="utf-8") == text
    monkeypatch.setattr(sys, "argv", [""])
    benchmark.main()
    written = copied.read_text(encoding="utf-8")
    assert written != text and outside(written, name) == outside(text, name)


@pytest.mark.parametrize(
    ("typed", "quick", "rounds"),
    [
        ([], False, 20),
        (["--rounds", "3"], False, 3),
        (["--quick"], True, 1),
        (["--quick", "--rounds", "3"], True, 1),
    ],
)
def test_rounds_are_those_that_are_asked_for_and_one_in_a_quick_look(
    typed, quick, rounds, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["", *typed])
    options = asked("page", "What it does.", "one round", rounds=20)
    assert (options.quick, options.rounds) == (quick, rounds)


def test_a_benchmark_without_rounds_does_not_take_them(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--rounds", "3"])
    with pytest.raises(SystemExit, match="2"):
        asked("pictures", "What it does.", "small folders")
    assert "python -m benchmarks.pictures: error:" in capsys.readouterr().err


def test_its_help_says_what_it_does_and_how_often(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--help"])
    with pytest.raises(SystemExit, match="0"):
        asked("widgets", "What it does.", "one round", rounds=8, each="each slider moves")
    said = capsys.readouterr().out
    for words in ("python -m benchmarks.widgets", "What it does.", "one round", "slider moves (8)"):
        assert words in said
