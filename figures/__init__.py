"""The pictures that README and lessons show from files; `python -m figures` draws them anew."""

from collections.abc import Callable

import torch
from matplotlib.figure import Figure

from segformer_edu import SegFormer, SegFormerConfig, plots
from segformer_edu.data.photos import normalize, sample_labels, sample_photo

DPI = 150  # sharp on a page that is shown larger than a notebook's column


def course_map() -> Figure:
    """The architecture with the lesson of each part, around maps of a B0 with random weights."""
    photo, (labels, _) = sample_photo(), sample_labels()
    config = SegFormerConfig.named("b0")
    torch.manual_seed(0)
    with torch.no_grad():
        maps = SegFormer(config).eval().encoder(normalize(photo))
    return plots.course_map(photo, [stage_map[0].numpy() for stage_map in maps], labels)


def segmentation() -> Figure:
    """What semantic segmentation is: a photograph, and a class for each of its pixels."""
    photo, (labels, names) = sample_photo(), sample_labels()
    return plots.segmentation(photo, labels, names, "Every pixel has one class, and only one")


PICTURES: dict[str, Callable[[], Figure]] = {
    "course_map": course_map,
    "segmentation": segmentation,
}
