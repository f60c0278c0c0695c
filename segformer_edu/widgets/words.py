"""Sizes, counts and signs as sliders and pictures write them."""

from __future__ import annotations


def pixels(size: tuple[int, int]) -> str:
    """A height and a width: 384 × 512."""
    return f"{size[0]} × {size[1]}"


def percent(part: int) -> str:
    """A number of hundredths: 45 %."""
    return f"{part} %"


def plural(count: int, noun: str) -> str:
    """How many there are: 1 key, 4,096 keys."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def signed(number: float) -> str:
    """A number with its sign, a minus sign and no hyphen: +1.25, −0.73."""
    return f"{number:+.2f}".replace("-", "−")


def short(count: float, unit: str = "") -> str:
    """A count in three digits: 3.20 G, 16.4 k, 256."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:#.3g}".rstrip(".") + f" {letter}{unit}"
    return f"{count:.0f} {unit}".rstrip()
