"""Training, on one CPU, one GPU or many.

The loop, in `loop.py`, can be read in one sitting. Its parts are functions that can be used alone.
"""

from segformer_edu.training.evaluation import evaluate
from segformer_edu.training.loop import train
from segformer_edu.training.metrics import Scores, confusion_matrix, scores
from segformer_edu.training.optimizer import (
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
    update_average,
)
from segformer_edu.training.pictures import balanced_weights, open_data
from segformer_edu.training.samples import Samples
from segformer_edu.training.settings import Settings

__all__ = [
    "Samples",
    "Scores",
    "Settings",
    "balanced_weights",
    "confusion_matrix",
    "evaluate",
    "update_average",
    "learning_rate_factor",
    "make_optimizer",
    "open_data",
    "scores",
    "set_learning_rate",
    "train",
]
