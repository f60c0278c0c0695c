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
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in range(8, 30):  # each larger than what was freed before
    torch.zeros(size * 2**20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a hint to glibc, and to no other")
def test_a_block_that_was_freed_costs_no_page_faults_again():
    def faults(choice):
        command = [sys.executable, "-c", COUNT, choice]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    assert faults("keep") * 3 < faults("let go")  # 9,000 or 19,000, and 104,000
