"""The page that runs a model of one's own, with pictures of one's own (export --out mine.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from segformer_edu.checkpoints.files import locate
from segformer_edu.commands.given_pictures import GivenPictures
from segformer_edu.commands.segment import trained_fit
from segformer_edu.page import FIT, SIDES, Picture, page_html, reductions_of
from segformer_edu.segformer import SegFormer

MOST = 48  # pictures that a page holds, of however many there are


def live_page(
    weights: str,
    model: SegFormer,
    folder: Path | None,
    masks: Path | None,
    side: int | None = None,
    reading: Mapping[str, Any] | None = None,
) -> tuple[bytes, str]:
    """The page of these weights, and of the pictures and masks that are given, if any; and what
    else there is to say.

    Args:
        weights: what --weights says, beside which the settings of its training may lie.
        model: that of these weights.
        folder: of pictures, or a pattern.
        masks: theirs.
        side: of --fit; None takes that of the training, as far as a page can show it.
        reading: how masks are read, as `Folder` takes it.

    Raises:
        ValueError: there is no picture, one cannot be read, or the page would be too large.
    """
    trained = trained_fit(weights)
    said = "open it by a double-click"
    if side is None:
        side = min(max(trained, SIDES[0]), SIDES[-1]) if trained else FIT
        if trained > side:
            said += (
                f". Pictures have {side} pixels in it, and in training they had {trained}, so "
                f"things are smaller than those that the model knows"
            )
    pictures = None
    if folder is not None:
        pictures = list(
            shown(GivenPictures("--pictures", folder, masks, model.config, MOST, reading=reading))
        )
    return page_html(model, pictures, reductions_of(locate(weights).parent), side).encode(), said


def shown(given: GivenPictures) -> Iterator[Picture]:
    """The pictures under the names of their files."""
    bar = tqdm(given.paths, "reading", unit=" pictures", delay=2, leave=False)
    for index, path in enumerate(bar):
        yield Picture(path.stem, *given[index])
