"""What all tests share: random numbers from a seed, and every device of this machine."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import segformer_edu
from segformer_edu import SegFormer, SegFormerConfig

os.environ["PYTHONIOENCODING"] = "utf-8"  # for the processes that the tests start and read from
torch.backends.cudnn.allow_tf32 = False  # all bits of float32, as on the CPU

# The same cases on every machine; other ones, many, with --hypothesis-profile=many.
settings.register_profile("few", max_examples=40, derandomize=True, deadline=None, database=None)
settings.register_profile("many", max_examples=600, deadline=None, database=None, print_blob=True)
settings.load_profile("few")

HAVE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def pytest_unconfigure(config):
    """The last line of all says whether the browser tests were skipped, and what to install."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker of pytest-xdist has no terminal to report to
        return
    skipped = [
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reporter.stats.get("skipped", [])
        if report.nodeid.startswith("tests/browser/")
    ]
    if skipped:
        reporter.write_line(f"Browser tests skipped: {len(skipped)}. {skipped[0]}")


@pytest.fixture(scope="session", params=["cpu", *(name for name, there in HAVE.items() if there)])
def device(request):
    """Each device of this machine in turn."""
    return torch.device(request.param)


@pytest.fixture(autouse=True, scope="package")
def _package_stays_as_it_is():
    """No test writes weights or tables into the package."""
    before = fingerprint()
    yield
    assert fingerprint() == before


def fingerprint():
    """Every file of the package that is no program, by what it holds."""
    files = Path(segformer_edu.__file__).parent.rglob("*.*")
    return {
        file: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and not file.suffix.startswith(".py")
    }


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def threads_stay():
    """torch has as many threads after the test as before."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def one_thread(threads_stay):
    """torch computes with one thread, as the processes do that a test starts, or compares with."""
    torch.set_num_threads(1)


@pytest.fixture
def small_config():
    """A whole SegFormer, four stages and all its parts, that runs in milliseconds."""
    return SegFormerConfig(
        num_classes=5,
        embed_dims=(8, 16, 24, 32),
        depths=(1, 2, 1, 1),
        num_heads=(1, 2, 3, 4),
        decoder_dim=16,
        drop_path_rate=0.0,
        decoder_dropout=0.0,
    )


@pytest.fixture
def small_model(small_config, randomized):
    return randomized(SegFormer(small_config)).eval()


@pytest.fixture(scope="session")
def randomized():
    """A function that gives a module weights under which every part of it matters."""
    return randomize


@torch.no_grad()
def randomize(module, seed=0):
    """Weights, biases, norms and running statistics away from the zeros and ones they start at.

    Matrices are scaled to keep activations near one, so that every branch and bias matters.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(x):
        return torch.randn(x.shape, generator=generator)

    for x in module.parameters():
        x.copy_(normal(x) / x[0].numel() ** 0.5 if x.ndim > 1 else 0.2 * normal(x))
    for part in module.modules():
        if isinstance(part, torch.nn.LayerNorm | torch.nn.BatchNorm2d):
            part.weight.add_(1)
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.copy_(0.5 * normal(part.running_mean))
            part.running_var.copy_(normal(part.running_var).exp())
    return module
