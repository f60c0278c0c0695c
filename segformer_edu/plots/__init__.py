"""Pictures: arrays in, a matplotlib Figure out, nothing shown and nothing kept.

`show(figure, alt)` displays one in a notebook, with its alt text.
"""

from segformer_edu.plots.attention import attention_grid, attention_over_keys, attention_rows
from segformer_edu.plots.bars import (
    class_bars,
    grouped_bars,
    parts_of_each,
    stacked_bars,
    stacked_shares,
    survivors,
)
from segformer_edu.plots.curves import (
    bands,
    equal_budgets,
    growth,
    over_amounts,
    power_laws,
    reliability_diagram,
    removal_curves,
    schedules,
    shares,
    shift_curves,
)
from segformer_edu.plots.diagrams import course_map, resized_rows
from segformer_edu.plots.grids import (
    attention_matrix,
    dropped_together,
    gates,
    number_grid,
    number_grids,
)
from segformer_edu.plots.importance import contribution_maps, importance_maps
from segformer_edu.plots.labels import (
    error_gallery,
    label_maps,
    label_rows,
    labelled_pictures,
    segmentation,
)
from segformer_edu.plots.maps import (
    compared_maps,
    deviations,
    probed_places,
    token_kinds,
    token_maps,
)
from segformer_edu.plots.photographs import key_grids, patches, photograph, pictures
from segformer_edu.plots.points import (
    by_block,
    clouds,
    differences,
    intervals,
    score_ranges,
    seeds,
    size_scatter,
    trade_off,
    trade_offs,
)
from segformer_edu.plots.roofline import roofline
from segformer_edu.plots.show import png, show
from segformer_edu.plots.stages import feature_maps, maps_beside, receptive_fields
from segformer_edu.plots.training import step_curves, training_curves

__all__ = [
    "attention_grid",
    "attention_matrix",
    "attention_over_keys",
    "attention_rows",
    "bands",
    "by_block",
    "class_bars",
    "clouds",
    "compared_maps",
    "contribution_maps",
    "course_map",
    "deviations",
    "differences",
    "dropped_together",
    "equal_budgets",
    "error_gallery",
    "feature_maps",
    "gates",
    "grouped_bars",
    "growth",
    "importance_maps",
    "intervals",
    "key_grids",
    "label_maps",
    "label_rows",
    "labelled_pictures",
    "maps_beside",
    "number_grid",
    "number_grids",
    "over_amounts",
    "parts_of_each",
    "patches",
    "photograph",
    "pictures",
    "png",
    "power_laws",
    "probed_places",
    "receptive_fields",
    "reliability_diagram",
    "removal_curves",
    "resized_rows",
    "roofline",
    "schedules",
    "score_ranges",
    "seeds",
    "segmentation",
    "shares",
    "shift_curves",
    "show",
    "size_scatter",
    "stacked_bars",
    "stacked_shares",
    "step_curves",
    "survivors",
    "token_kinds",
    "token_maps",
    "trade_off",
    "trade_offs",
    "training_curves",
]
