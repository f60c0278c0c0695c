"""Training on bands: measured once, kept with the weights, and used wherever these are used."""

import json
import re

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.data.bands import prepare, read_bands, read_image
from segformer_edu.training import Settings
from segformer_edu.training import loop as loop_module
from segformer_edu.training.gradient import compute_gradient
from segformer_edu.training.parts import for_channels

MODEL = {"embed_dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reduction_ratios": [2, 1]}
MODEL |= {"mlp_ratios": [2, 2], "patch_sizes": [3, 3], "strides": [2, 2], "decoder_dim": 16}
TRAIN = {"data": "folder", "classes": ["dry", "wet"], "bands": 4, "validation": 4, "size": 32}
TRAIN |= {"steps": 40, "batch_size": 4, "validate_every": 0, "save_every": 0, "warmup_steps": 2}
TRAIN |= {"config": {**MODEL, "drop_path_rate": 0.0, "decoder_dropout": 0.0}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures of four bands in 16 bits. Only the last, with its few steps far from black,
    tells wet from dry; the others are noise.
    """
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(12):
        labels = np.kron(rng.integers(0, 2, (4, 4)), np.ones((10, 10), int))
        image = rng.integers(0, 4000, (40, 40, 4), dtype=np.uint16)
        image[..., 3] = 3000 + 100 * labels + rng.integers(0, 20, (40, 40))
        tifffile.imwrite(tmp_path / "images" / f"{number}.tif", image, photometric="rgb")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    settings = Settings(**TRAIN, images="images", masks="masks", cpu=True)
    (tmp_path / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more, out="run"):
    return main(["train", "--out", out, "--config", "mine.yaml", "--quiet", *map(str, more)])


def evaluate(capsys, *more):
    capsys.readouterr()
    code = main(["evaluate", "--weights", "run/best", "--config", "run/settings.yaml", *more])
    said = capsys.readouterr()
    assert code == 0, said.err
    return float(re.search(r"mIoU ([\d.]+)", said.out)[1])


def pixels_of(folder, names):
    images = [read_bands(folder / "images" / f"{name}.tif", 4).reshape(-1, 4) for name in names]
    return np.concatenate(images).astype(float)


def test_what_is_measured_on_the_training_pictures_goes_with_the_weights(folder, capsys):
    assert train() == 0
    names = (folder / "run" / "training.txt").read_text(encoding="utf-8").split()
    assert len(names) == 8
    pixels = pixels_of(folder, names)
    config = SegFormer.from_pretrained(folder / "run" / "best").config
    assert config.in_channels == 4
    np.testing.assert_allclose(config.image_mean, pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(config.image_std, pixels.std(0), rtol=1e-9)
    preprocessor = folder / "run" / "best" / "preprocessor_config.json"
    content = json.loads(preprocessor.read_text(encoding="utf-8"))
    assert content["image_mean"] == list(config.image_mean) and not content["do_rescale"]
    assert content["image_std"] == list(config.image_std)
    shown = (folder / "run" / "report.html").read_text(encoding="utf-8").count("<img")
    assert shown >= 12  # of each of four pictures, the first bands, the truth and the answer
    score = evaluate(capsys)
    assert score > 0.9
    alone = ["--data", "folder", "--images", "images", "--masks", "masks", "--classes", "dry,wet"]
    more = [*alone, "--validation-names", "run/validation.txt", "--cpu"]
    assert main(["evaluate", "--weights", "run/best", *more]) == 0
    assert f"mIoU {score:.4f}" in capsys.readouterr().out  # the weights know of what they are


def test_evaluate_takes_the_mean_of_the_weights_and_not_that_of_its_pictures(folder, capsys):
    """Pictures that are brighter all over look wet, in whatever number they are."""
    assert train() == 0
    assert evaluate(capsys) > 0.9
    for path in (folder / "images").iterdir():
        image = tifffile.imread(path)
        image[..., 3] += 100
        tifffile.imwrite(path, image, photometric="rgb")
    assert evaluate(capsys) < 0.6


def test_a_run_on_bands_that_is_resumed_ends_with_the_same_weights(folder, monkeypatch):
    assert train("--steps", 6) == 0
    steps = []

    def interrupted(*arguments):
        steps.append(None)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return compute_gradient(*arguments)

    monkeypatch.setattr(loop_module, "compute_gradient", interrupted)
    assert train("--steps", 6, "--save-every", 3, out="second") == 130
    assert main(["train", "--out", "second", "--resume", "--quiet"]) == 0
    assert len(steps) == 5 + 3  # from step 3 on
    one, two = (SegFormer.from_pretrained(folder / run / "last") for run in ("run", "second"))
    assert one.config == two.config and one.config.image_mean
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_model_of_bands_labels_a_file_as_it_was_trained(folder):
    assert train() == 0
    model = SegFormer.from_pretrained(folder / "run" / "best")
    image = read_image(folder / "images" / "0.tif", model.config.normalization)
    pixels = prepare(image, model.config.normalization)
    with Image.open(folder / "masks" / "0.png") as mask:
        truth = torch.tensor(np.array(mask))
    assert (model.predict(pixels)[0] == truth).float().mean() > 0.9


def test_segment_labels_bands_and_draws_over_the_first_three(folder):
    assert train() == 0
    more = ["--weights", "run/best", "--out", "found", "--write", "both", "--device", "cpu"]
    assert main(["segment", "images", *more]) == 0
    model = SegFormer.from_pretrained(folder / "run" / "best")
    for number in range(12):
        image = read_image(folder / "images" / f"{number}.tif", model.config.normalization)
        expected = model.predict(prepare(image, model.config.normalization))[0]
        with Image.open(folder / "found" / "labels" / f"{number}.png") as labels:
            assert (np.array(labels) == expected.numpy()).all()
        assert (folder / "found" / "overlay" / f"{number}.png").exists()
    assert main(["segment", "images/0.tif", *more[:2], "--out", "fit.png", "--fit", "80"]) == 0


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_kernels_for_other_channels_answer_grey_alike(channels):
    kernels = torch.randn(8, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    grey = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(1))
    expected = torch.conv2d(grey.expand(1, 3, 20, 20), kernels)
    spread = for_channels(kernels, channels)
    assert spread.shape == (8, channels, 7, 7)
    found = torch.conv2d(grey.expand(1, channels, 20, 20), spread)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [3, 5])
def test_weights_of_other_channels_start_a_run_on_bands_and_it_is_said(folder, capsys, channels):
    measured = {"image_mean": (1.0,) * 5, "image_std": (2.0,) * 5} if channels == 5 else {}
    other = SegFormer(SegFormerConfig(num_classes=2, in_channels=channels, **MODEL, **measured))
    other.save_pretrained(folder / "other")
    assert train("--weights", "other", "--steps", "1", "--learning-rate", "1e-12") == 0
    said = capsys.readouterr().err
    assert f"other takes {channels} channels, and the pictures have 4" in said
    model = SegFormer.from_pretrained(folder / "run" / "last")
    assert model.config.in_channels == len(model.config.image_mean) == 4
    first = other.encoder.stages[0].patch_embedding.projection.weight
    found = model.encoder.stages[0].patch_embedding.projection.weight
    torch.testing.assert_close(found, for_channels(first, 4), rtol=0, atol=1e-6)


def test_weights_of_bands_keep_their_mean_in_another_run(folder, capsys):
    assert train("--steps", "1") == 0
    first = SegFormer.from_pretrained(folder / "run" / "last").config
    for path in (folder / "images").iterdir():
        tifffile.imwrite(path, tifffile.imread(path) + 1000, photometric="rgb")
    assert train("--weights", "run/last", "--steps", "1", out="second") == 0
    assert SegFormer.from_pretrained(folder / "second" / "last").config == first


REFUSED = {
    "photographs": (("--bands", "0"), "as bands in TIFF files"),
    "another number": (("--bands", "3"), "40 × 40 × 4 numbers"),
    "other channels": (("--set", "in_channels=5"), "in_channels = 5: the pictures have 4"),
    "other data": (("--data", "scenes"), "--bands 4: --data scenes has photographs"),
    "below 0": (("--bands", "-1"), "--bands -1: give at least 0"),
    "weights of bands": (("--weights", "bands", "--bands", "0"), "bands: give --bands 4"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(folder, capsys, case):
    more, words = case
    normalization = {"image_mean": (0.5,) * 4, "image_std": (0.1,) * 4}
    config = SegFormerConfig(num_classes=2, in_channels=4, **MODEL, **normalization)
    SegFormer(config).save_pretrained(folder / "bands")
    if "bands" in more:
        for path in (folder / "images").glob("*.tif"):
            Image.new("RGB", (40, 40)).save(path)
    assert train(*more) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "run").exists()
