"""What a page holds, read by other means than its own program."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib

import numpy as np
from PIL import Image


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def shown(picture: dict) -> tuple[np.ndarray, np.ndarray | None]:
    """A picture of a page, and the classes of its pixels."""
    file = base64.b64decode(picture["image"].removeprefix("data:image/webp;base64,"))
    image = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), float)
    if picture["labels"] is None:
        return image, None
    labels = zlib.decompress(base64.b64decode(picture["labels"]), 31)
    return image, np.frombuffer(labels, np.uint8).reshape(image.shape[:2])
