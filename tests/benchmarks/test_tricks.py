"""A trick changes the time and no number; how much time it saves is not asked here."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import OURS
from benchmarks.tricks import TASKS, table
from benchmarks.without import TRICKS

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from dataclasses import replace

import torch

from benchmarks.contender import made
from benchmarks.job import Job

job = Job("forward", "segformer_edu", size=128, threads=1)
with torch.inference_mode():
    torch.manual_seed(0)
    ours, images = made(job), torch.randn(1, 3, 200, 120)
    for x in ours.model.buffers():
        x.copy_(torch.rand(x.shape) + 0.5)
    expected = ours.forward(images)
    without = made(replace(job, contender=sys.argv[1]))
    without.model.load_state_dict(ours.model.state_dict())
    torch.testing.assert_close(without.forward(images), expected, rtol=1e-4, atol=1e-4)
"""


@pytest.mark.parametrize("trick", TRICKS)
def test_without_a_trick_the_model_gives_the_same_logits(trick):
    """In a process of its own: the contender changes the package."""
    subprocess.run([sys.executable, "-c", CODE, trick], cwd=ROOT, check=True)


def test_ratios_worked_by_hand():
    """In rounds of 10, 20 and 40 ms: 12, 30 and 44 are 1.2, 1.5 and 1.1 times as long."""
    first, *others = TRICKS
    times = {(task, name): [10.0, 20.0, 40.0] for task in TASKS for name in (OURS, *others)}
    times |= {(task, first): [12.0, 30.0, 44.0] for task in TASKS}
    lines = table(times).splitlines()
    assert lines[2] == f"| {first} | 1.20 (1.10 to 1.50) | 1.20 (1.10 to 1.50) |"
    assert lines[3] == f"| {others[0]} | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |"
