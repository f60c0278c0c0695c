"""What `python -m benchmarks` measures: the tasks, the models and sizes, and who takes part."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from benchmarks.contenders import (
    COMPILED,
    DROP_PATH,
    EAGER,
    ENGINES,
    FOLDED,
    INT8,
    ORT,
    OURS,
    OURS_ORT,
    OURS_OV,
    OV,
    SDPA,
    SDPA_COMPILED,
    SMP,
)
from benchmarks.job import Job

MACHINE = "this machine"  # whose rates are measured, in place of a contender
IN_TORCH = (OURS, FOLDED, SDPA, EAGER, SMP)
IN_ENGINES = (OURS_ORT, INT8, OURS_OV, ORT, OV)
EVERYBODY = (OURS, FOLDED, COMPILED, *IN_ENGINES[:3], SDPA, EAGER, SDPA_COMPILED, ORT, OV, SMP)


@dataclass(frozen=True)
class Task:
    """A task of contender.py: its heading, its unit, who takes part, at how many images, whether
    other programs keep every core busy meanwhile, whether waiting threads give up their core, and
    of which model it is asked first.
    """

    heading: str
    unit: str
    contenders: tuple[str, ...]
    batch: int = 1
    busy: bool = False
    yielding: bool = True
    model: str = "b0"


BUSY = (OURS, FOLDED, *IN_ENGINES[:3], SDPA, EAGER, ORT, OV)
TASKS = {
    "forward": Task("Forward pass", "ms", EVERYBODY),
    "forward, busy": Task("Forward, all cores busy", "ms", BUSY, busy=True),
    "forward, busy, spinning": Task(
        "… without GOMP_SPINCOUNT", "ms", (OURS,), busy=True, yielding=False
    ),
    "predict": Task("Labels at full size", "ms", IN_TORCH),
    "predict, photograph": Task("Labels of a photograph", "ms", (OURS, SDPA)),
    "predict, scene": Task("Labels of a scene", "ms", (OURS, SDPA), model="nano"),
    "training": Task("Training step", "ms", (OURS, DROP_PATH, SDPA, EAGER, SMP), batch=2),
    "forward memory": Task("Forward, peak memory", "MB", (*BUSY, SMP)),
    "training memory": Task("Training, peak memory", "MB", (OURS, SDPA, EAGER, SMP), batch=2),
    "import": Task("Import, over torch", "ms", (OURS, SDPA)),
    "arithmetic rate": Task("Arithmetic", "10⁹ multiply-adds/s", (MACHINE,)),
    "bandwidth": Task("Bandwidth", "GB/s", (MACHINE,)),
}
SCENE = Job("forward", OURS)  # B0, 512², one image, float32: what the first table is about
NANO = Job("training", OURS, model="nano", size=128, batch=16)
LABELS = Job("predict, scene", OURS, model="nano")
# Forward passes elsewhere, and who takes part: where an engine would need 5 GB, torch alone.
ELSEWHERE = [
    (replace(SCENE, size=256), (OURS, SDPA, OURS_ORT, OURS_OV, ORT, OV)),
    (replace(SCENE, size=1024), (OURS, SDPA, OURS_ORT, OURS_OV, ORT, OV)),
    (replace(SCENE, size=2048), (OURS, SDPA)),
    (replace(SCENE, batch=8), (OURS, SDPA, OURS_ORT, OURS_OV, ORT, OV)),
    (replace(SCENE, dtype="bfloat16"), (OURS, SDPA, OURS_OV, OV)),
    (replace(SCENE, model="b2"), (OURS, SDPA, OURS_ORT, OURS_OV, ORT, OV)),
    (replace(SCENE, model="b2", dtype="bfloat16"), (OURS, SDPA, OURS_OV, OV)),
]
LARGE = replace(SCENE, task="forward memory", size=2048)


def jobs(
    contenders: Sequence[str] = EVERYBODY, tasks: Collection[str] = TASKS, quick: bool = False
) -> list[Job]:
    """Every job of a round, the contenders of each comparison one after another.

    Args:
        contenders: those to measure; what is not installed is left out.
        tasks: those to measure.
        quick: an eighth of every size, fewer passes, and nothing that takes minutes to compile.
    """
    wanted = [job for job in every_job() if job.task in tasks and takes_part(job, contenders)]
    if quick:
        slow = (COMPILED, SDPA_COMPILED)
        small = (replace(job, size=max(job.size // 8, 64), repeats=2) for job in wanted)
        wanted = list(dict.fromkeys(job for job in small if job.contender not in slow))
    return wanted


def takes_part(job: Job, contenders: Sequence[str]) -> bool:
    if job.contender == SMP and not find_spec(SMP):
        return False
    owner = OURS if job.contender == DROP_PATH else job.contender
    return owner in (*contenders, MACHINE)


def every_job() -> Iterator[Job]:
    for name, task in TASKS.items():
        repeats = 3 if name == "training" else 10
        for contender in task.contenders:
            yield Job(name, contender, model=task.model, batch=task.batch, repeats=repeats)
    for case, contenders in ELSEWHERE:
        repeats = 3 if case.warm_up == 1 else 10
        yield from (replace(case, contender=each, repeats=repeats) for each in contenders)
    yield Job("arithmetic rate", MACHINE, dtype="bfloat16")
    yield from (replace(LARGE, contender=each) for each in (OURS, SDPA))
    yield NANO


def needs_export(job: Job) -> bool:
    return job.contender in ENGINES
