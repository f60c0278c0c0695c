"""What the situations are made of: pictures whose labels are known, a model that is known to find
them, and the outcomes that a command may have.

The picture is three upright strips, 8 pixels wide and 16 high: dark ground, red, blue. The model
has learned nothing. Its channels are a half, and how red and how blue a square of 4 × 4 pixels is.
All that follows keeps their order, so it labels each square by its colour. Its answers are known
without running it, and a picture that is turned, cut, or read in other colours is labelled
otherwise.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.data.photos import IMAGENET_MEAN, IMAGENET_STD

CLASSES = ("ground", "red", "blue")
COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], dtype=np.uint8)  # in masks
DARK = 60  # of 255, in photographs: four times as bright, it would no longer be ground
SHOWN = np.array([(DARK, 0, DARK), (255, 0, 0), (0, 0, 255)], dtype=np.uint8)
STRIPS = np.repeat([[0, 1, 2]], 8, axis=1).repeat(16, axis=0).astype(np.uint8)  # (16, 24)
HALVES = np.repeat([[0, 1, 1]], 8, axis=1).repeat(16, axis=0).astype(np.uint8)
UNEQUAL = np.repeat([0, 1, 2], (48, 32, 16))[None].repeat(64, axis=0).astype(np.uint8)  # (64, 96)
STRIP = 128  # pixels of each strip
SEEN = np.diag([STRIP] * 3).tolist()  # the confusion of one picture that was read rightly
BRIGHT_SEEN = [[STRIP, 0], [0, 2 * STRIP]]
FIELDS = {each.name for each in fields(SegFormerConfig)}  # --set takes them as NAME=VALUE
TINY = (
    "--set embed_dims=[8,8] --set depths=[1,1] --set num_heads=[1,2] --set reduction_ratios=[2,1] "
    "--set mlp_ratios=[2,2] --set patch_sizes=[7,3] --set strides=[4,2] --set decoder_dim=8 "
    "--size 16 --steps 1 --batch-size 2 --warmup-steps 0 --cpu --quiet"
)


@cache
def seeing(
    in_channels: int = 3, bright: bool = False, names: Sequence[str] | None = None
) -> SegFormer:
    """A model that labels squares of 4 pixels by their colour: ground, red, blue; or dark, bright.
    Of four bands, the last stands for blue.
    """
    classes = 2 if bright else 3
    other = {"image_mean": (0.0,) * in_channels, "image_std": (1.0,) * in_channels}
    config = SegFormerConfig(
        num_classes=classes,
        in_channels=in_channels,
        embed_dims=(classes,),
        depths=(1,),
        num_heads=(1,),
        reduction_ratios=(1,),
        mlp_ratios=(1,),
        patch_sizes=(7,),
        strides=(4,),
        decoder_dim=classes,
        class_names=names if names is not None else ("dark", "bright") if bright else CLASSES,
        **(other if in_channels != 3 else {}),
    )
    model = SegFormer(config).eval()
    stage, decoder = model.encoder.stages[0], model.decoder
    mean, spread = (torch.tensor(each) for each in (IMAGENET_MEAN, IMAGENET_STD))
    if in_channels != 3:
        mean, spread = torch.zeros(in_channels), torch.ones(in_channels)
    weight = torch.zeros(classes, in_channels)
    for label in range(1, classes):
        weight[label, -1 if label == 2 else 0] = 1
    with torch.no_grad():
        kernel = stage.patch_embedding.projection
        kernel.weight.zero_()
        kernel.weight[:, :, 3:, 3:] = (weight * spread / 16)[:, :, None, None]
        kernel.bias.copy_(weight @ mean)
        kernel.bias[0] = 0.5
        for branch in (stage.blocks[0].attention.output, stage.blocks[0].mix_ffn.contract):
            branch.weight.zero_()
            branch.bias.zero_()
        for linear in (decoder.projections[0], decoder.fuse, decoder.classifier):
            linear.weight.copy_(torch.eye(classes).view_as(linear.weight))
            if linear.bias is not None:
                linear.bias.zero_()
    return model


def save_weights(folder: Path, **changes: object) -> None:
    seeing(**changes).save_pretrained(folder)


def picture(labels: np.ndarray = STRIPS) -> np.ndarray:
    """The photograph that has these labels, `(H, W, 3)`."""
    return SHOWN[labels]


def shades(labels: np.ndarray = HALVES) -> np.ndarray:
    """The same for a model that tells dark from bright, `(H, W)`."""
    return np.where(labels > 0, 255, DARK).astype(np.uint8)


def grey(labels: np.ndarray = HALVES) -> np.ndarray:
    """A mask in black and white, `(H, W)`."""
    return np.where(labels > 0, 255, 0).astype(np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def pair(
    folder: Path,
    name: str = "a",
    labels: np.ndarray = STRIPS,
    mask: np.ndarray | None = None,
    images: str = "images",
    masks: str = "masks",
) -> None:
    """A photograph and its mask, as PNG files."""
    save(folder / images / f"{name}.png", picture(labels))
    save(folder / masks / f"{name}.png", labels if mask is None else mask)


def pairs(folder: Path, count: int = 4, **options: object) -> None:
    for number in range(count):
        pair(folder, f"{number:02}", **options)


def raw_png(
    path: Path, rows: Sequence[bytes], width: int, height: int, depth: int, kind: int
) -> None:
    """A PNG of a depth that Pillow does not write, from the bytes of its rows.

    Args:
        kind: 0 grey, 2 red, green and blue.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str
    folder: Path
    typed: tuple[str, ...]

    @property
    def command(self) -> str:
        return self.typed[0]


Look = Callable[[Outcome, dict[Path, bytes]], None]


def run(folder: Path, command: str) -> Outcome:
    """A command line, in this process."""
    out, err, typed = io.StringIO(), io.StringIO(), shlex.split(command)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(typed)
        except SystemExit as leaving:
            code = leaving.code
    return Outcome(code, out.getvalue(), err.getvalue().strip(), folder, (*typed,))


class Situation(NamedTuple):
    """What somebody has, types, and should get.

    Attributes:
        make: makes the files, in the current folder, which holds weights.
        command: what is typed.
        outcome: looks at what came of it, given the files that there were before.
    """

    make: Callable[[Path], object]
    command: str
    outcome: Look


def files_in(folder: Path) -> dict[Path, bytes]:
    """All files and folders, with what they hold."""
    return {
        path: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))
    }


def happens(situation: Situation, folder: Path) -> None:
    """Make it, type it, look at it."""
    situation.make(folder)
    before = files_in(folder)
    situation.outcome(run(folder, situation.command), before)


# ---- outcomes ----


@cache
def flags_of(command: str) -> frozenset[str]:
    """The flags that --help of a command lists."""
    text = run(Path(), f"{command} --help").out
    return frozenset(re.findall(r"--[a-z][a-z0-9-]*", text)) | {"--help"}


def check_words(found: Outcome, words: Sequence[str]) -> None:
    """What was said holds these words, speaks of flags that there are, and not in Python."""
    said = found.out + found.err
    assert [word for word in words if word not in said] == [], said
    assert "Traceback" not in said, said
    flags = set(re.findall(r"(?<![\w/.-])--[a-z][a-z0-9-]*", found.err))
    assert flags - flags_of(found.command) - {*found.typed} == set(), said
    python = {*re.findall(r"(?<!-)\b([a-z_]+) ?= ?[\w…('\[\"]", found.err)}
    assert python - FIELDS - {"weights_only"} == set(), said


def refused(*words: str) -> Look:
    """Exit code 2, and one sentence or a list of faults with these words; nothing is written."""

    def look(found: Outcome, before: dict[Path, bytes]) -> None:
        assert (found.code, found.out) == (2, ""), found
        check_words(found, words)
        assert files_in(found.folder) == before

    return look


def scored(confusion: Sequence[Sequence[int]], *words: str) -> Look:
    """evaluate --out scores.json finds this confusion matrix, and says these words, or nothing."""

    def look(found: Outcome, before: dict[Path, bytes]) -> None:
        assert found.code == 0, found
        check_words(found, words)
        written = json.loads((found.folder / "scores.json").read_text(encoding="utf-8"))
        assert written["confusion"] == np.array(confusion).tolist(), found
        assert bool(found.err) == bool(words), found.err

    return look


def labelled(*files: str, labels: np.ndarray = STRIPS) -> Look:
    """segment --write labels writes these labels into these files, and nothing else."""

    def look(found: Outcome, before: dict[Path, bytes]) -> None:
        assert found.code == 0, found
        for file in files:
            with Image.open(found.folder / file) as written:
                np.testing.assert_array_equal(np.array(written), labels)
        new = {path for path in {*files_in(found.folder)} - {*before} if path.is_file()}
        assert new == {found.folder / file for file in files}

    return look


def some_labelled(files: Sequence[str], *words: str) -> Look:
    """Exit code 1: these files hold the labels, and what is said of the others has these words."""

    def look(found: Outcome, before: dict[Path, bytes]) -> None:
        assert found.code == 1, found
        check_words(found, words)
        labelled(*files)(found._replace(code=0), before)

    return look
