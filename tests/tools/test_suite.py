"""The suite ends, whatever a test does."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.suite import environment, pytest_command


def test_a_test_that_takes_its_process_along_is_named_and_the_rest_ends(tmp_path: Path) -> None:
    (tmp_path / "test_dies.py").write_text(
        "import os\ndef test_first(): pass\ndef test_dies(): os._exit(1)\n", encoding="utf-8"
    )
    for name in ("test_lives.py", "test_lives_too.py", "test_lives_on.py"):
        (tmp_path / name).write_text("def test_lives(): pass\n", encoding="utf-8")
    ended = subprocess.run(
        pytest_command(str(tmp_path)),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ended.returncode, ended.stdout
    assert "test_dies.py::test_dies" in ended.stdout and "1 failed" in ended.stdout
