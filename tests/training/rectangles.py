"""What the tests train on: rectangles drawn from a seed, and a model that takes 4 ms."""

import numpy as np
from PIL import Image

from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.training import Settings


class Rectangles(SegmentationDataset):
    """Three classes by colour, some pixels of each picture ignored."""

    class_names = ("ground", "red", "blue")
    colours = np.array([[40, 90, 40], [200, 40, 40], [40, 40, 200]], dtype=np.uint8)

    def __init__(self, count, size=32, seed=0):
        self.count, self.size, self.seed = count, size, seed

    def __len__(self):
        return self.count

    def picture(self, index):
        rng = np.random.default_rng([self.seed, index])
        labels = np.zeros((self.size, self.size), dtype=np.uint8)
        for label in (1, 2):
            top, left = rng.integers(self.size - 8, size=2)
            labels[top : top + 8 + index % 3, left : left + 12] = label
        noise = rng.integers(-20, 20, (self.size, self.size, 3))
        image = (self.colours[labels] + noise).clip(0, 255).astype(np.uint8)
        labels[: index % 5, :9] = 255
        return image, labels


TINY = Settings(
    config={
        "embed_dims": [8, 8],
        "depths": [1, 1],
        "num_heads": [1, 2],
        "reduction_ratios": [2, 1],
        "mlp_ratios": [2, 2],
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "decoder_dim": 8,
        "drop_path_rate": 0.3,
        "decoder_dropout": 0.2,
    },
    size=32,
    steps=12,
    batch_size=4,
    warmup_steps=3,
    validate_every=4,
    save_every=5,
    cpu=True,
)


def data():
    """What to train on, and what to validate on."""
    return Rectangles(10), Rectangles(6, seed=1)


def write_files(folder, count):
    """The pictures as PNG files, images/00.png with masks/00.png and so on."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    pictures = Rectangles(count)
    for index in range(count):
        for name, array in zip(("images", "masks"), pictures.picture(index), strict=True):
            Image.fromarray(array).save(folder / name / f"{index:02}.png")
