"""What this machine has, what it lacks, and how fast it is: `python -m segformer_edu doctor`."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import textwrap
import time
from pathlib import Path

import torch

from segformer_edu.config import SegFormerConfig
from segformer_edu.extras import CORE, Dependency, dependencies, install_command
from segformer_edu.segformer import SegFormer

NEEDED = (CORE, "lab")  # what the lessons stand on
DEVICES = ("cuda", "mps", "cpu")  # in the order of choice
RUNS = 5
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, and of how many


def examine() -> tuple[str, bool]:
    """The doctor's report, and whether everything that the lessons need is here."""
    device = pick_device()
    size = main_memory()
    report = [
        _line("Python", f"{platform.python_version()} on {platform.system()}"),
        _line("device", describe(device)),
        _line("processor", f"{cores()} cores, {torch.get_num_threads()} threads for torch"),
        _line("load", crowding() or "each of torch's threads has a core to itself"),
        _line("memory", f"{size / 2**30:.0f} GiB" if size else "not told by this system"),
    ]
    every = dependencies()
    healthy = True
    for extra in dict.fromkeys(each.extra for each in every):
        asked = [each for each in every if each.extra == extra]
        here = ", ".join(f"{each.name} {each.installed}" for each in asked if each.met)
        report.append(_line(extra or "packages", here or "nothing yet"))
        if missing := ", ".join(_lack(each) for each in asked if not each.met):
            need = "the lessons need" if extra in NEEDED else "optional, and not here:"
            report.append(_line("", f"{need} {missing}; type"))
            report.append(f"{' ' * 10}{install_command(extra)}")
            healthy = healthy and extra not in NEEDED
    report.append(_line("speed", f"{milliseconds(device):.0f} ms for B0 on a 512×512 image"))
    report.append(
        "All that the lessons need is here."
        if healthy
        else "The lessons cannot run yet: see the lines above for what to type."
    )
    return "\n".join(report), healthy


def pick_device(name: str = "") -> torch.device:
    """The device of that name, or the fastest that this machine has.

    Raises:
        ValueError: a device that this machine, or this build of torch, does not have.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.mps.is_available(), "cpu": True}
    available = [device for device in DEVICES if here[device]]
    if name and name not in available:
        raise ValueError(f"There is no device {name!r} here; choose one of {', '.join(available)}.")
    return torch.device(name or available[0])


def describe(device: torch.device) -> str:
    """The device as its maker calls it, and its memory."""
    if device.type != "cuda":
        return {"mps": "mps, the GPU of this Mac", "cpu": "cpu, no GPU needed"}[device.type]
    properties = torch.cuda.get_device_properties(device)
    return f"cuda, {properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def main_memory() -> int | None:
    """The bytes of memory of this machine, if the system tells."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> int:
    """How many cores this process may use, by its affinity and by the quota of its container."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    if QUOTA.exists():
        quota, period = QUOTA.read_text(encoding="ascii").split()
        if quota != "max":
            allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def free_cores(seconds: float = 0.3) -> float | None:
    """How many cores other programs leave free, over a moment; None where psutil is missing."""
    try:
        import psutil
    except ModuleNotFoundError:
        return None
    return psutil.cpu_count() * (1 - psutil.cpu_percent(seconds) / 100)


def crowding() -> str:
    """Advice for when torch's threads will have to share a core; empty if they will not.

    Threads wait for one another many times in a forward pass. One that has lost its core to another
    program holds up all of them, and by default they spin meanwhile, which keeps the core from it.
    """
    threads, available = torch.get_num_threads(), cores()
    if threads > available:
        return (
            f"torch has {threads} threads, and this process may use {available} of the cores, so "
            f"threads wait for one another. Set OMP_NUM_THREADS={available} before you start."
        )
    free = free_cores()
    if free is None or free > threads - 0.5:
        return ""
    wanted = "torch's one thread" if threads == 1 else f"torch's {threads} threads"
    busy = f"Other programs leave {free:.1f} cores free for {wanted}"
    if sys.platform == "linux" and "GOMP_SPINCOUNT" not in os.environ:
        return (
            f"{busy}. Set GOMP_SPINCOUNT=1000 before you start (make lab does it): threads that "
            f"wait then give up their core, which is several times faster on a busy machine."
        )
    return f"{busy}, so everything takes longer. Close them if you can."


def milliseconds(device: torch.device) -> float:
    """The median time of B0 on one 512×512 image, after one run that does not count."""
    model = SegFormer(SegFormerConfig.named("b0")).to(device).eval()
    image = torch.zeros(1, 3, 512, 512, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(1 + RUNS):
            start = time.perf_counter()
            model(image).sum().item()  # item() waits for the device
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _lack(dependency: Dependency) -> str:
    wanted = f"{dependency.name}{dependency.specifier}"
    return f"{wanted} (here: {dependency.installed})" if dependency.installed else wanted


def _line(name: str, text: str) -> str:
    return textwrap.fill(text, 88, initial_indent=f"{name:<10}", subsequent_indent=" " * 10)
