"""The numbers that lesson 02 states: each function computes one from the package."""

from dataclasses import replace

import numpy as np

from notebooks.source.claims.shared import unreduced_stage_1
from segformer_edu import SegFormer
from segformer_edu.data.lamps import CLASSES, DISTANCE, GROUND, SKY, Lamps
from segformer_edu.data.photos import normalize
from segformer_edu.widgets import AttentionBill
from segformer_edu.widgets.attention_bill import SIDES


def attention_entries_stage1() -> str:
    return f"{unreduced_stage_1(512, stride=4).attention_entries_per_block:,}"


def attention_matrix_over_linears() -> str:
    parts = unreduced_stage_1(512, stride=4).multiply_adds_of
    return f"{parts.attention_matmuls / parts.projections:.0f}"


def attention_mib_64() -> str:
    return f"{4 * unreduced_stage_1(256, stride=4).attention_entries_per_block / 2**20:.0f}"


def bill_nominal_memory() -> str:
    return str(AttentionBill.first.memory)


def bill_largest_side() -> str:
    states = [replace(AttentionBill.first, side=side) for side in SIDES]
    return str(max(each.side for each in states if 2 * each.matrix_bytes < each.memory_bytes))


def lamp_distance() -> str:
    return str(DISTANCE)


def green_without_a_lamp() -> str:
    """Of the balls' pixels in strips of red, when night covers the lamp."""
    model, strips = SegFormer.from_pretrained("lamps"), Lamps(100, seed=2026)
    said = []
    for index in range(len(strips)):
        image, labels = strips.draw(index)
        if CLASSES[labels.max()] == "red":
            lamp = strips.discs(index)[0].raster()[0] > 0
            image[lamp] = np.add(SKY, GROUND) // 2
            pixels = model.predict(normalize(image))[0].numpy()[(labels > 0) & ~lamp]
            said.extend(pixels == CLASSES.index("green"))
    return f"{np.mean(said):.1%}"
