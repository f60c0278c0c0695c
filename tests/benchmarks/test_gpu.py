"""The GPU's benchmark: without a GPU it says so; the same code runs on a CPU as far as it goes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.contenders import OURS, OURS_GRAPH, SDPA

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert child.returncode == 2 and child.stderr.count("\n") == 1 and "no GPU" in child.stderr


def test_the_same_code_measures_on_a_cpu():
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick", "--device", "cpu"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    lines = said.stdout.splitlines()
    assert sum(line.startswith("| ---") for line in lines) == len(gpu.HEADINGS)
    forward = next(line for line in lines if line.startswith(f"| Forward pass, ms | {OURS}"))
    assert SDPA in forward and "–" not in said.stdout


def test_the_table_of_a_gpu_is_what_the_issue_asks_for():
    """B0 to B5, 512² and 2048², three precisions, CUDA graphs, training and memory."""
    jobs = gpu.jobs("cuda", quick=False, compiled=False)
    assert {job.device for job in jobs} == {"cuda"}
    forward = [job for job in jobs if job.task == "forward"]
    assert {(job.model, job.size) for job in forward} == {
        (f"b{number}", size) for number in range(6) for size in (512, 2048)
    }
    assert {job.dtype for job in forward} == {"float32", "bfloat16", "float16"}
    assert OURS_GRAPH in {job.contender for job in forward}
    assert {job.task for job in jobs} == set(gpu.HEADINGS)
