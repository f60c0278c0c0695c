"""Memory that one pass frees is reused by the next."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from segformer_edu.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
block = 16 * 2**20  # as a map in the middle of a forward pass; 4,096 pages
torch.zeros(block, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(block, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a hint to glibc, and to no other")
def test_a_block_that_was_freed_costs_no_page_faults_again():
    def faults(choice):
        command = [sys.executable, "-c", COUNT, choice]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    assert faults("keep") * 10 < faults("let go")
