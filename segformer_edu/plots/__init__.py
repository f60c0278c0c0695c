"""Pictures: arrays in, a matplotlib Figure out, nothing shown and nothing kept.

`show(figure, alt)` displays one in a notebook, with its alt text.
"""

from segformer_edu.plots.bars import (
    class_bars,
    grouped_bars,
    stacked_bars,
    stacked_shares,
    survivors,
)
from segformer_edu.plots.curves import (
    bands,
    equal_budgets,
    growth,
    schedules,
    shares,
    shift_curves,
    step_curves,
    training_curves,
)
from segformer_edu.plots.diagrams import course_map, resized_rows
from segformer_edu.plots.grids import attention_matrix, dropped_together, gates, number_grid
from segformer_edu.plots.labels import label_maps, label_rows, labelled_pictures, segmentation
from segformer_edu.plots.maps import (
    attention_grid,
    attention_over_keys,
    attention_rows,
    contribution_maps,
    deviations,
    feature_maps,
    maps_beside,
    probed_places,
    receptive_fields,
    token_kinds,
    token_maps,
)
from segformer_edu.plots.photographs import key_grids, patches, photograph, pictures
from segformer_edu.plots.points import clouds, score_ranges, seeds, trade_off
from segformer_edu.plots.show import png, show

__all__ = [
    "attention_grid",
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
    "maps_beside",
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
    "stacked_shares",
    "step_curves",
    "survivors",
    "token_kinds",
    "token_maps",
    "trade_off",
    "training_curves",
]
