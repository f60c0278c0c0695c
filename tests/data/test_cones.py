"""Cones stand on the road, and their pixels are labelled."""

import numpy as np

from segformer_edu.data.cones import Cones
from segformer_edu.data.scenes import CLASSES, Scenes


def test_cones_stand_on_the_road_with_their_pixels_labelled():
    scenes = Scenes(12, 96, seed=1)
    cones = Cones(scenes)
    assert len(cones) == 12 and cones.class_names == (*CLASSES, "cone")
    for index in range(12):
        (image, labels), (with_cones, new) = scenes.picture(index), cones.picture(index)
        is_cone = new == 8
        assert 10 < is_cone.sum() < 0.3 * new.size
        assert np.array_equal(labels[~is_cone], new[~is_cone])
        changed = (image != with_cones).any(axis=-1)
        assert (changed & ~is_cone).sum() <= 0.1 * changed.sum()
        assert (changed & is_cone).sum() > 0.9 * is_cone.sum()
        assert np.array_equal(cones.picture(index)[1], new)
