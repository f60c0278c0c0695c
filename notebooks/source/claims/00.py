"""The numbers that lesson 00 states: each function computes one from the package."""

from notebooks.source.claims.shared import b0


def b0_megabytes() -> str:
    return f"{4 * b0(512).parameters / 1e6:.0f}"  # float32
