"""The pictures that README and lessons show from files; `python -m figures` redraws them."""

from collections.abc import Callable

import torch
from matplotlib.figure import Figure

from segformer_edu import SegFormer, SegFormerConfig, plots
from segformer_edu.data.photos import normalize, sample_labels, sample_photo
from segformer_edu.data.scenes import CLASSES, Scenes

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


def scenes() -> Figure:
    """Streets that the package draws, by day and night, in sun, fog and rain, with their labels."""
    drawn = Scenes(18, size=192, seed=8)
    images, labels = zip(*(drawn.picture(index) for index in range(len(drawn))), strict=True)
    finding = "Streets drawn from a seed, and the class of every pixel"
    return plots.labelled_pictures(images, labels, CLASSES, finding=finding)


PICTURES: dict[str, Callable[[], Figure]] = {
    "course_map": course_map,
    "scenes": scenes,
    "segmentation": segmentation,
}
