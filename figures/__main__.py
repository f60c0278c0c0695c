"""Redraw every picture of this folder: `python -m figures`."""

from pathlib import Path

from figures import DPI, PICTURES
from segformer_edu.plots import png

for name, draw in PICTURES.items():
    path = Path(__file__).parent / f"{name}.png"
    path.write_bytes(png(draw(), DPI))
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
