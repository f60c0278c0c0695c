"""A model that has learned, and a picture that it knows: what people ask labels of.

Noise and random weights are the worst case for labels at full size: nine pixels in ten lie between
tokens that disagree.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.job import CLASSES, Job
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.data.photos import normalize, sample_labels, sample_photo
from segformer_edu.data.scenes import Scenes

SCENE = "predict, scene"
RIDGE = 1e-4  # of the features' mean square: they are nearly dependent


def model_for(job: Job) -> SegFormer:
    """The trained weights that come with the package; or random ones, whose last Linear is fitted
    to the photograph.
    """
    if job.task == SCENE:
        return SegFormer.from_pretrained(job.model)
    model = SegFormer(SegFormerConfig.named(job.model, num_classes=CLASSES)).eval()
    fit_to_photograph(model)
    return model


def picture_for(job: Job) -> Tensor:
    """A street scene, or a photograph, of the job's size, as the model takes it."""
    if job.task == SCENE:
        return Scenes(1, job.size, seed=0)[0][0][None]
    return F.interpolate(normalize(sample_photo()), (job.size, job.size), mode="area")


@torch.no_grad()
def fit_to_photograph(model: SegFormer) -> None:
    """Let the classifier tell apart what the photograph shows, by ridge regression on what random
    features of it say about outlines that were drawn by hand.

    So a few of many classes are there, in patches as large as things are, as for a model that was
    trained. The others get no weight.
    """
    classifier, seen = model.decoder.classifier, []
    hook = classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(normalize(sample_photo()))
    hook.remove()  # below: x is (tokens, D + 1), y is (tokens, K)
    x = F.pad(torch.cat(seen, dim=2)[0].flatten(1).T.double(), (0, 1), value=1)
    y = F.one_hot(torch.from_numpy(sample_labels()[0])[2::4, 2::4].flatten(), CLASSES).double()
    square = x.T @ x
    square.diagonal().add_(RIDGE * square.trace() / len(square))
    weight = torch.linalg.solve(square, x.T @ y).T
    classifier.weight.copy_(weight[:, :-1, None, None])
    classifier.bias.copy_(weight[:, -1])
