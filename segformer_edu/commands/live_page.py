"""The page that runs a model of one's own, with pictures of one's own (export --out mine.html)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from segformer_edu.checkpoints.files import locate
from segformer_edu.data.folder import ENDINGS, Folder, by_name
from segformer_edu.data.photos import read_photo
from segformer_edu.files import expanded
from segformer_edu.page import Picture, page_html, reductions_of
from segformer_edu.segformer import SegFormer

MOST = 48  # pictures that a page holds, of however many there are


def live_page(weights: str, model: SegFormer, folder: Path | None, masks: Path | None) -> bytes:
    """The page of these weights, and of what lies in the folders of pictures and of masks, if any.

    Raises:
        ValueError: there is no picture, one cannot be read, or the page would be too large.
    """
    num_classes = max(model.config.num_classes, 2)
    pictures = None if folder is None else list(pictures_of(folder, masks, num_classes))
    return page_html(model, pictures, reductions_of(locate(weights).parent)).encode()


def pictures_of(folder: Path, masks: Path | None, num_classes: int) -> Iterator[Picture]:
    """All pictures of a folder, or MOST of them, evenly spread over their names."""
    if not expanded(folder).is_dir():
        raise ValueError(f"--pictures {folder}: there is no such folder; give one of photographs.")
    paths = list(itertools.chain.from_iterable(by_name(expanded(folder)).values()))
    if not paths:
        raise ValueError(f"--pictures {folder} holds no pictures ({', '.join(ENDINGS)}).")
    try:
        labelled = None if masks is None else Folder(folder, masks, num_classes)
        paths = paths if labelled is None else [path for path, _ in labelled.pairs]
        chosen = sorted({number * len(paths) // MOST for number in range(MOST)})
        for index in tqdm(chosen, "reading", unit=" pictures", delay=2, leave=False):
            if labelled is None:
                yield Picture(paths[index].stem, read_photo(paths[index]))
            else:
                yield Picture(paths[index].stem, *labelled.picture(index))
    except ValueError as error:
        where = "" if masks is None else f", --masks {masks}"
        raise ValueError(f"--pictures {folder}{where}: {error}") from None
