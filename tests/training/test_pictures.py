"""The data sets that settings can name: which pictures a run gets, and none of them twice."""

import numpy as np
import pytest
from PIL import Image

from segformer_edu.data.scenes import CLASSES, scene
from segformer_edu.training import Settings, open_data
from tests.training.rectangles import Rectangles, write_files


def ids(dataset):
    return [dataset.picture(index)[0].tobytes() for index in range(len(dataset))]


def test_every_run_on_scenes_is_validated_on_the_same_ones_which_none_trains_on():
    settings = Settings(size=32, pictures=3, validation=2)
    training, validation = open_data(settings)
    other_training, other_validation = open_data(settings.replace(seed=1))
    assert training.class_names == CLASSES and (len(training), len(validation)) == (3, 2)
    assert np.array_equal(training.picture(0)[0], scene(0, 32)[0])
    assert ids(validation) == ids(other_validation)
    assert len({*ids(training), *ids(other_training), *ids(validation)}) == 3 + 3 + 2


def test_scenes_have_no_end_to_validate_on():
    with pytest.raises(ValueError, match="validation = 0"):
        open_data(Settings(validation=0))


@pytest.fixture
def folder(tmp_path):
    write_files(tmp_path, count=9)
    return Settings(
        data="folder",
        images=str(tmp_path / "images"),
        masks=str(tmp_path / "masks"),
        classes=("ground", "red", "blue"),
        validation=4,
    )


def test_a_folder_is_split_once_and_for_all(folder):
    training, validation = open_data(folder)
    assert training.class_names == validation.class_names == ("ground", "red", "blue")
    assert (len(training), len(validation)) == (5, 4)
    everything = sorted(ids(Rectangles(9)))
    assert sorted(ids(training) + ids(validation)) == everything
    assert ids(validation) == ids(open_data(folder.replace(seed=1))[1])
    nothing, every = open_data(folder.replace(validation=0))
    assert len(nothing) == 0 and sorted(ids(every)) == everything


def test_a_folder_is_read_as_the_settings_say(folder):
    reordered = folder.replace(
        classes=("blue", "ground"), values=(2, 0), ignore=(1, 255), fit=16, validation=0
    )
    _, every = open_data(reordered)
    image, labels = every.picture(0)
    assert image.shape == (16, 16, 3) and set(np.unique(labels)) == {0, 1, 255}


@pytest.mark.parametrize("name", ["images", "masks", "classes"])
def test_a_folder_with_a_missing_setting_is_refused(folder, name):
    empty = () if name == "classes" else ""
    with pytest.raises(ValueError, match=f"{name} = … is missing"):
        open_data(folder.replace(**{name: empty}))


def test_pets_are_trained_on_and_tested_as_published(tmp_path):
    """Three photographs to train on and four to test on, in the layout of the archives."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations/trimaps").mkdir(parents=True)
    trimap = np.repeat(np.array([1, 2, 3], dtype=np.uint8), 20)[:, None].repeat(40, axis=1)
    splits = {"trainval": ["Abyssinian_1", "beagle_2", "pug_3"], "test": list("abcd")}
    for split, names in splits.items():
        lines = "".join(f"{name} 1 1 1\n" for name in names)
        (tmp_path / f"annotations/{split}.txt").write_text(lines, encoding="utf-8")
        for name in names:
            image = np.full((60, 40, 3), 99, dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / f"images/{name}.jpg")
            Image.fromarray(trimap).save(tmp_path / f"annotations/trimaps/{name}.png")
    settings = Settings(data="pets", root=str(tmp_path), validation=0)
    training, test = open_data(settings)
    assert (len(training), len(test)) == (3, 4) and len(training.class_names) == 3
    assert training.picture(0)[1].shape == (60, 40)
    _, first = open_data(settings.replace(validation=3, border="ignore", fit=32))
    assert len(first) == 3 and len(first.class_names) == 2
    assert set(np.unique(first.picture(0)[1])) == {0, 1, 255}
