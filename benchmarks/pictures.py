"""Train on a folder of many pictures: seconds and memory of each part, and of ten times as many.

python -m benchmarks.pictures           # its table in README.md
python -m benchmarks.pictures --quick   # two small folders; writes nothing
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image, ImageDraw
from tqdm import tqdm

from benchmarks.readme import asked, publish
from benchmarks.report import markdown
from benchmarks.runs import here
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.views import CachedDataset, Selection
from segformer_edu.memory import keep_freed_memory
from segformer_edu.segformer import SegFormer
from segformer_edu.training import Settings, evaluate, open_data, train
from segformer_edu.training.own_pictures import check_pictures

SIZE = (400, 300)  # of a picture, width and height
DIFFERENT = 100  # pictures that are drawn; the rest are copies of their files
CLASSES = ("ground", "red", "blue")
COLOURS = np.array([[90, 110, 90], [200, 50, 40], [40, 60, 190]], dtype=np.uint8)


class Measured(NamedTuple):
    """What a task took, in a process of its own with its workers.

    Attributes:
        seconds: without the start of the process.
        first, second: the most megabytes held in the first half of this time, and in the second.
    """

    seconds: float
    first: float
    second: float


def main() -> None:
    options = asked("pictures", __doc__, "small folders; writes nothing")
    counts, steps = ((40, 80), 4) if options.quick else ((1_000, 10_000), 200)
    where = here()
    publish("pictures", report(measure(counts, steps), counts, where), options.quick)


def measure(counts: tuple[int, int], steps: int) -> dict[str, list[Measured]]:
    """Every task on a folder of each of these sizes."""
    tasks: dict[str, Callable[[Settings], None]] = {
        "reading all before the first step": look,
        f"{steps} steps of 16, no workers": partial(learn, steps=steps, workers=0),
        f"{steps} steps of 16, 2 workers": partial(learn, steps=steps, workers=2),
        "validation on a tenth of the pictures": score,
    }
    measured: dict[str, list[Measured]] = {name: [] for name in tasks}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(counts) * len(tasks)) as bar:
        for count in counts:
            settings = write(Path(folder) / str(count), count)
            for name, task in tasks.items():
                bar.set_postfix_str(f"{name}, {count} pictures")
                measured[name].append(run(task, settings))
                bar.update()
    return measured


def write(folder: Path, count: int) -> Settings:
    """A folder of so many photographs and masks, and settings that hold out a tenth of them."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        files = [f"images/{number:05}.jpg", f"masks/{number:05}.png"]
        if number < DIFFERENT:
            for file, picture in zip(files, draw(number), strict=True):
                picture.save(folder / file)
        else:
            for file in files:
                first = file.replace(f"{number:05}", f"{number % DIFFERENT:05}")
                shutil.copyfile(folder / first, folder / file)
    return Settings(
        data="folder",
        images=str(folder / "images"),
        masks=str(folder / "masks"),
        classes=CLASSES,
        validation=count // 10,
        validate_every=0,
        cpu=True,
    )


def draw(number: int) -> tuple[Image.Image, Image.Image]:
    """A photograph of blots with noise, and its mask."""
    rng = np.random.default_rng(number)
    mask = Image.new("L", SIZE)
    for label in (1, 2, 1, 2):
        x, y = (int(rng.integers(side - 80)) for side in SIZE)
        ImageDraw.Draw(mask).ellipse((x, y, x + 80, y + 80), fill=label)
    noise = rng.integers(-20, 20, (*SIZE[::-1], 3))
    photo = (COLOURS[np.array(mask)] + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(photo), mask


def run(task: Callable[[Settings], None], settings: Settings) -> Measured:
    """A task in a process of its own, watched from here."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=perform, args=(task, settings, theirs))
    process.start()
    theirs.close()
    ours.recv()  # it begins
    begun, seen = time.perf_counter(), []
    while not ours.poll(0.3):  # to look takes time, too
        seen.append(held_by(process.pid))
    ours.recv()  # it has ended; a process that failed has closed the pipe, which is an error here
    seconds = time.perf_counter() - begun
    process.join()
    middle = len(seen) // 2
    return Measured(seconds, max(seen[: middle + 1]), max(seen[middle:]))


def perform(task: Callable[[Settings], None], settings: Settings, done: Connection) -> None:
    """What the process of its own does."""
    multiprocessing.set_start_method(None, force=True)  # workers start as they usually do here
    keep_freed_memory()
    done.send("begins")
    task(settings)
    done.send("has ended")


def held_by(pid: int | None) -> float:
    """Megabytes that a process and its workers hold; what they share counts once."""
    total = 0
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        try:
            held = each.memory_full_info()
        except psutil.Error:  # it has ended
            continue
        total += getattr(held, "pss", held.uss)
    return total / 1e6


def look(settings: Settings) -> None:
    parts = dict(zip(("training", "validation"), open_data(settings), strict=True))
    check_pictures(settings, parts, least=32)


def learn(settings: Settings, steps: int, workers: int) -> None:
    training, validation = open_data(settings)
    settings = settings.replace(steps=steps, workers=workers)
    with tempfile.TemporaryDirectory() as folder:
        data = (training, Selection(validation, [0]))
        train(settings, Path(folder) / "run", data=data, progress=False)


def score(settings: Settings) -> None:
    _, validation = open_data(settings)
    model = SegFormer(SegFormerConfig.named("nano", num_classes=len(CLASSES)))
    evaluate(model, CachedDataset(validation, settings.cache_mb))


def report(measured: dict[str, list[Measured]], counts: tuple[int, int], where: str) -> str:
    """The text between the markers of README.md."""
    lines = [["", *(f"{count:,} pictures: s, MB" for count in counts)], ["---", "---:", "---:"]]
    for name, row in measured.items():
        cells = [f"{each.seconds:.0f}, {each.first:.0f} → {each.second:.0f}" for each in row]
        lines.append([name, *cells])
    return (
        f"{markdown(lines)}\nPictures of {SIZE[0]} × {SIZE[1]} pixels, nano at "
        f"{Settings().size} pixels, --cache-mb {Settings().cache_mb}; {where}.\n"
    )


if __name__ == "__main__":
    main()
