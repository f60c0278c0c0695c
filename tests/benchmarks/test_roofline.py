"""A machine is measured and joins the widget's table; no test here asks how fast it is."""

import json

import pytest
import torch

from benchmarks import roofline
from segformer_edu.analysis.roofline import Ceilings
from segformer_edu.widgets.roofline import PARTS, machine_from

SLOW = Ceilings(1e9, 1e9, 1e9)


@pytest.fixture
def table(monkeypatch, tmp_path, threads_stay):
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"name": "old"}, {"name": "mine"}]), encoding="utf-8")
    monkeypatch.setattr(roofline, "TABLE", path)
    monkeypatch.setattr(roofline, "measured_ceilings", lambda: SLOW)
    monkeypatch.setattr(roofline, "SIDES", (64, 1024))
    monkeypatch.setattr(roofline, "MODELS", ("b0",))
    return path


def test_a_machine_takes_the_place_of_its_old_row(table, monkeypatch):
    monkeypatch.setattr("sys.argv", ["roofline", "mine"])
    roofline.main()
    old, row = json.loads(table.read_text(encoding="utf-8"))
    assert (old["name"], row["name"]) == ("old", "mine")
    machine = machine_from(row)
    assert machine.ceilings == SLOW
    # At a billion operations a second, B0 at 1024×1024 would take longer than anybody waits.
    assert set(machine.seconds) == {("b0", 64)}
    assert set(machine.seconds["b0", 64]) == set(PARTS)
    assert row["torch"] == torch.__version__


def test_a_quick_look_writes_nothing(table, monkeypatch, capsys):
    before = table.read_bytes()
    monkeypatch.setattr("sys.argv", ["roofline", "--quick", "mine"])
    roofline.main()
    assert json.loads(capsys.readouterr().out)["name"] == "mine"
    assert table.read_bytes() == before
