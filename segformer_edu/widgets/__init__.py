"""Pictures that respond to sliders: a pure function from a state to a picture, in a thin shell."""

from segformer_edu.extras import install_command

try:
    import ipywidgets  # noqa: F401
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"The widgets need {error.name}, which is not installed: run {install_command('lab')}."
    ) from error

from segformer_edu.widgets.attention import Attention
from segformer_edu.widgets.attention_bill import AttentionBill
from segformer_edu.widgets.branches import Branches
from segformer_edu.widgets.contributions import Contributions
from segformer_edu.widgets.encoder import Pyramid
from segformer_edu.widgets.patches import Patches
from segformer_edu.widgets.position import Position
from segformer_edu.widgets.progress_bar import progress
from segformer_edu.widgets.roofline import Roofline
from segformer_edu.widgets.spatial_reduction import SpatialReduction
from segformer_edu.widgets.stochastic_depth import StochasticDepth
from segformer_edu.widgets.training_run import TrainingRun

__all__ = [
    "Attention",
    "AttentionBill",
    "Branches",
    "Contributions",
    "Patches",
    "Position",
    "Pyramid",
    "Roofline",
    "SpatialReduction",
    "StochasticDepth",
    "TrainingRun",
    "progress",
]
