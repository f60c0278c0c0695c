"""A run that is killed again and again ends bit for bit like an undisturbed one.

One process imports torch and forks the runs, so that a kill costs no new start. Half of the kills
come at a random call of a function, half before a random operation on a file.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segformer_edu.training import loop, run_folder, train
from tests.training import rectangles

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = rectangles.TINY.replace(steps=30, save_every=2, ema_decay=0.9)
KILLS = 12  # of each kind
OPERATIONS = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
def test_a_run_killed_again_and_again_ends_bit_for_bit_as_an_undisturbed_one(tmp_path):
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    disturbed = sorted(tmp_path.glob("run*"))
    kills = [sum(map(int, line.split())) for line in run.stdout.splitlines()]
    assert len(kills) == len(disturbed) - 1 and sum(kills) == 2 * KILLS
    expected = files(tmp_path / "undisturbed")
    state = torch.load(tmp_path / "undisturbed/last.pt")
    assert state["step"] == SETTINGS.steps
    for folder in disturbed:
        found = files(folder)
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        torch.testing.assert_close(torch.load(folder / "last.pt"), state, rtol=0, atol=0)


def files(folder):
    """Every file but last.pt, whose bytes hold no more than its tensors."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "last.pt"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# ---- what the subprocess runs ----


def main(folder):
    torch.set_num_threads(1)
    run_folder.draw_curves = lambda log, picture: None
    loop.report = lambda run, parts, progress: None
    go(folder / "undisturbed")  # in this process, so that the others inherit what torch prepared
    calls = count_calls(folder / "run0")
    rng, left, number = random.Random(0), [KILLS, KILLS], 1
    while any(left):  # as many runs as these kills need
        killed = [0, 0]
        for attempt in range(1000):
            kind = attempt % 2 if all(left) else int(not left[0])
            kill = None
            if any(left):
                kill = (at_call(rng.randint(1, calls // 4)), before_file(rng.randint(1, 30)))[kind]
            code = wait(fork(folder / f"run{number}", kill))
            if code == 0:
                break
            assert code == -signal.SIGKILL, code
            killed[kind] += 1
            left[kind] -= 1
        print(*killed)
        number += 1


def go(folder):
    train(SETTINGS, folder, resume=True, data=rectangles.data(), progress=False)


def count_calls(folder):
    """How many functions an undisturbed run calls."""
    counted = itertools.count()
    sys.setprofile(lambda frame, event, argument: event == "call" and next(counted))
    go(folder)
    sys.setprofile(None)
    return next(counted)


def fork(folder, kill):
    """Begin or resume a run in a child that is killed when `kill` says so, unless it is None."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if kill is not None:
            kill()
        go(folder)
        code = 0
    finally:
        os._exit(code)


def at_call(number):
    """Kills this process as it calls a function, counted from its start."""
    counted = itertools.count(1)

    def look(frame, event, argument):
        if event == "call" and next(counted) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.setprofile(look)


def before_file(number):
    """Kills this process before an operation on a file of the run, counted from its start."""
    counted = itertools.count(1)

    def look(event, arguments):
        if event in OPERATIONS and "/run" in str(arguments[0]) and next(counted) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(look)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
