"""Jobs run in processes of their own, in rounds; a table that was interrupted goes on."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.job import Job
from benchmarks.plan import TASKS, needs_export
from segformer_edu.doctor import cores
from tools.machines import busy

ROOT = Path(__file__).parent.parent
LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "segmentation_models_pytorch")
PATIENCE = 900  # seconds for one process

Entry = dict[str, Any]


def measure(jobs: Sequence[Job], rounds: int, threads: int, log: Path | None = None) -> list[Entry]:
    """Run every job `rounds` times, the contenders in turn: A B C, A B C, …

    Args:
        jobs: what to run.
        rounds: how often.
        threads: threads of each contender.
        log: where each number is kept as it comes. What it holds already of the same jobs, versions
            and machine is not measured again.
    """
    begun = {"machine": machine(threads), "rounds": rounds}
    measured = resumed(log, begun) if log else []
    known = [(entry["round"], key(entry)) for entry in measured]
    with tempfile.TemporaryDirectory() as folder:
        jobs = [replace(job, threads=threads, exports=folder) for job in jobs]
        todo = [
            (number, job)
            for number in range(rounds)
            for job in jobs
            if (number, job.key) not in known
        ]
        exports = {
            (job.contender, job.model, job.size, job.batch): job
            for _, job in todo
            if needs_export(job)
        }
        with tqdm(total=len(exports) + len(todo), unit="process") as progress:
            for job in exports.values():
                progress.set_postfix_str(f"export: {job.contender}, {job.case}")
                run(replace(job, task="export", dtype="float32"))
                progress.update()
            for number, job in todo:
                progress.set_postfix_str(f"{job.task}: {job.contender}, {job.case}")
                measured.append({**job.key, "round": number, "values": run(job)})
                if log:
                    write_log(log, begun, measured)
                progress.update()
    return measured


def key(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name not in ("round", "values")}


def resumed(log: Path, begun: Entry) -> list[Entry]:
    """What an interrupted table measured on this machine, with these versions."""
    if not log.exists():
        return []
    found = json.loads(log.read_text(encoding="utf-8"))
    return found["measured"] if found["begun"] == begun else []


def write_log(log: Path, begun: Entry, measured: list[Entry]) -> None:
    text = json.dumps({"begun": begun, "measured": measured})
    part = log.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(log)


def run(job: Job) -> list[float]:
    """The numbers of one job, from a process of its own; none if it failed."""
    threads, task = str(job.threads), TASKS.get(job.task)
    settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if task is None or task.yielding:
        settings["GOMP_SPINCOUNT"] = "1000"
    inherited = {name: x for name, x in os.environ.items() if name != "GOMP_SPINCOUNT"}
    with busy(cores() if task and task.busy else 0):
        try:
            child = subprocess.run(
                [sys.executable, "-m", "benchmarks.contender", json.dumps(asdict(job))],
                cwd=ROOT,
                env=inherited | settings,
                capture_output=True,
                encoding="utf-8",
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return failed(job, f"it took more than {PATIENCE} s")
    if child.returncode:
        return failed(job, child.stderr[-2000:])
    return json.loads(child.stdout.splitlines()[-1])


def failed(job: Job, reason: str) -> list[float]:
    """Say it, and leave a gap in the table: one contender is not all of them."""
    tqdm.write(f"{job.contender} failed at {job.task}, {job.case}:\n{reason}", file=sys.stderr)
    return []


def machine(threads: int) -> Entry:
    """Where and how it is measured."""
    devices = [processor()]
    if torch.cuda.is_available():
        devices.append(torch.cuda.get_device_name())
    return {
        "processor": ", ".join(devices),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES if find_spec(name)},
        "threads": threads,
    }


def here() -> str:
    """This machine, and how busy it is at the moment."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown on this system"
    return f"{processor()}, {os.cpu_count()} cores; load by other programs when it began: {load}"


def processor() -> str:
    """The processor's name as it is sold, and its family, which virtual machines do not change."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.findall(
            r"^(cpu family|model name)\s*:\s*(.*)$", information.read_text(encoding="utf-8"), re.M
        )
        facts = dict(found)
        if len(facts) == 2:
            return f"{facts['model name']}, family {facts['cpu family']}"
    return platform.processor()
