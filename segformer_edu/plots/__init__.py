"""Pictures: arrays in, a matplotlib Figure out, nothing shown and nothing kept.

`show(figure, alt)` puts one into a notebook, with the words that stand for it.
"""

from segformer_edu.plots.attention_cost import attention_matrix, attention_rows, growth
from segformer_edu.plots.course_map import course_map
from segformer_edu.plots.decoder import (
    class_bars,
    contribution_maps,
    receptive_fields,
    resized_rows,
)
from segformer_edu.plots.encoder import equal_budgets, grouped_bars, label_maps
from segformer_edu.plots.feature_maps import feature_maps
from segformer_edu.plots.learning import label_rows, number_grid, step_curves
from segformer_edu.plots.patches import patches, pictures, shift_curves
from segformer_edu.plots.photograph import photograph
from segformer_edu.plots.position import deviations, probed_places, score_ranges, token_maps
from segformer_edu.plots.scenes import labelled_pictures
from segformer_edu.plots.segmentation import segmentation
from segformer_edu.plots.show import png, show
from segformer_edu.plots.spatial_reduction import (
    attention_over_keys,
    key_grids,
    shares,
    stacked_bars,
)
from segformer_edu.plots.stochastic_depth import (
    bands,
    clouds,
    dropped_together,
    gates,
    schedules,
    seeds,
    survivors,
)
from segformer_edu.plots.training import training_curves

__all__ = [
    "attention_matrix",
    "attention_over_keys",
    "attention_rows",
    "bands",
    "class_bars",
    "clouds",
    "contribution_maps",
    "course_map",
    "deviations",
    "dropped_together",
    "equal_budgets",
    "feature_maps",
    "gates",
    "grouped_bars",
    "growth",
    "key_grids",
    "label_maps",
    "label_rows",
    "labelled_pictures",
    "number_grid",
    "patches",
    "photograph",
    "pictures",
    "png",
    "probed_places",
    "receptive_fields",
    "resized_rows",
    "schedules",
    "score_ranges",
    "seeds",
    "segmentation",
    "shares",
    "shift_curves",
    "show",
    "stacked_bars",
    "step_curves",
    "survivors",
    "token_maps",
    "training_curves",
]
