"""Write the page that comes with the package.

python -m segformer_edu.page segformer.html
"""

import sys
from pathlib import Path

from segformer_edu.checkpoints.files import SHIPPED
from segformer_edu.files import write_atomically
from segformer_edu.page.build import drawn_scenes, page_html, reductions_of
from segformer_edu.segformer import SegFormer

NOTE = (
    "This model has only ever seen streets that the course draws. On a photograph most of its "
    "answers are wrong, and its confidence does not say so."
)


def write(path: Path) -> None:
    """Write the page of the shipped nano, which answers at every reduction ratio."""
    nano, reductions = SegFormer.from_pretrained("nano"), reductions_of(SHIPPED / "nano")
    write_atomically(path, page_html(nano, drawn_scenes(), reductions, note=NOTE).encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
