"""The numbers that lesson 02 states: each function computes one from the package."""

from dataclasses import replace

from notebooks.source.claims.shared import unreduced_stage_1
from segformer_edu.widgets import AttentionBill
from segformer_edu.widgets.attention_bill import SIDES


def attention_entries_stage1() -> str:
    return f"{unreduced_stage_1(512, stride=4).attention_entries_per_block:,}"


def attention_pixels_512() -> str:
    return f"{unreduced_stage_1(512, stride=1).tokens:,}"


def attention_entries_512_pixels() -> str:
    return f"{unreduced_stage_1(512, stride=1).attention_entries_per_block:,}"


def attention_entries_1024_pixels() -> str:
    return f"{unreduced_stage_1(1024, stride=1).attention_entries_per_block:,}"


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
