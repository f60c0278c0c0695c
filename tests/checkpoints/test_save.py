"""What save_pretrained writes, transformers reads; and a write that fails changes nothing."""

import builtins
import errno
import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

from segformer_edu import SegFormer
from segformer_edu.data.photos import normalize

FILES = ("config.json", "model.safetensors")
ALL = (*FILES, "preprocessor_config.json")
ODD = [
    {},
    {"num_classes": 1, "in_channels": 4},
    {"num_classes": 1, "class_names": ("rest", "crack")},
    {"num_classes": 1, "class_names": ("crack",)},
    {"class_names": ("wall", "sky", "Straße", "road", "grass")},
    {"patch_sizes": (5, 3, 3, 2), "strides": (2, 2, 1, 2), "reduction_ratios": (4, 2, 1, 1)},
    {"mlp_ratios": (1, 2, 3, 4), "decoder_dim": 24, "drop_path_rate": 0.3},
    {
        "embed_dims": (8, 16, 24),
        "depths": (1, 1, 2),
        "num_heads": (1, 2, 3),
        "reduction_ratios": (4, 2, 1),
        "mlp_ratios": (4, 4, 4),
        "patch_sizes": (7, 3, 3),
        "strides": (4, 2, 2),
    },
]


@pytest.fixture
def model(small_model):
    return small_model


@pytest.mark.parametrize("changes", ODD, ids=lambda changes: ",".join(changes) or "small")
def test_transformers_loads_it_whole_and_gives_the_same_logits(
    changes, small_config, randomized, images, tmp_path
):
    config = small_config.replace(block_norm_eps=1e-5, **changes)
    model = randomized(SegFormer(config)).eval()
    model.save_pretrained(tmp_path)
    theirs, report = SegformerForSemanticSegmentation.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values()), report
    images = torch.cat([images, images], dim=1)[:, : config.in_channels]
    with torch.no_grad():
        ours, expected = model(images), theirs(images).logits
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    if config.class_names:
        names = config.class_names[-config.num_classes :]  # of a logit each
        assert tuple(theirs.config.id2label.values()) == names
        assert theirs.config.label2id == {name: i for i, name in enumerate(names)}


def test_their_processor_and_their_model_give_our_labels(model, tmp_path):
    """What transformers' pipeline does, on a photograph of an odd size."""
    model.eval().save_pretrained(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (61, 87, 3), dtype=np.uint8)
    processor = SegformerImageProcessor.from_pretrained(tmp_path)
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path).eval()
    inputs = processor(photo, return_tensors="pt")
    torch.testing.assert_close(inputs["pixel_values"], normalize(photo), rtol=0, atol=1e-5)
    with torch.no_grad():
        found = processor.post_process_semantic_segmentation(theirs(**inputs), [photo.shape[:2]])
    assert (found[0] == model.predict(normalize(photo))[0]).float().mean() > 0.999  # a tie apart


def test_a_paper_epsilon_moves_the_logits_of_transformers_only_slightly(model, images, tmp_path):
    assert model.config.block_norm_eps == 1e-6
    model.save_pretrained(tmp_path)
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path)
    with torch.no_grad():
        ours, expected = model(images), theirs(images).logits
    difference = ((ours - expected).abs().max() / expected.abs().max()).item()
    assert 1e-7 < difference < 1e-3


@pytest.mark.parametrize("changes", ODD, ids=lambda changes: ",".join(changes) or "small")
@pytest.mark.parametrize("own", [{}, {"block_norm_eps": 1e-5, "drop_path_rule": "paper"}])
def test_there_and_back_gives_the_same_model_and_config(
    changes, own, small_config, randomized, tmp_path
):
    model = randomized(SegFormer(small_config.replace(**changes, **own)))
    model.save_pretrained(tmp_path)
    loaded = SegFormer.from_pretrained(tmp_path)
    assert loaded.config == model.config
    state = model.state_dict()
    assert all(torch.equal(x, state[name]) for name, x in loaded.state_dict().items())


def test_through_transformers_and_back_keeps_logits_and_our_own_fields(model, images, tmp_path):
    config = model.config.replace(block_norm_eps=1e-5, drop_path_rule="paper")
    changed = SegFormer(config)
    changed.load_state_dict(model.state_dict())
    changed.eval().save_pretrained(tmp_path / "ours")
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    back = SegFormer.from_pretrained(tmp_path / "theirs")
    assert torch.equal(back(images), changed(images))
    assert back.config == config


def test_the_mean_and_spread_of_bands_go_with_the_weights(small_config, tmp_path):
    measured = {"image_mean": (0.25, 300.0, -2.0, 1e-9), "image_std": (0.5, 7.0, 1e-3, 1e-12)}
    SegFormer(small_config.replace(in_channels=4, **measured)).save_pretrained(tmp_path / "ours")
    theirs = SegformerForSemanticSegmentation.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    back = SegFormer.from_pretrained(tmp_path / "theirs").config
    assert back.normalization == tuple(measured.values())
    content = (tmp_path / "ours" / "preprocessor_config.json").read_text(encoding="utf-8")
    assert {**json.loads(content), **{k: list(v) for k, v in measured.items()}} == json.loads(
        content
    )


def test_weights_of_photographs_say_nothing_of_a_mean_in_their_config(model, tmp_path):
    model.save_pretrained(tmp_path)
    block = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["segformer_edu"]
    assert not [name for name in block if "image" in name]
    assert SegFormer.from_pretrained(tmp_path).config.normalization is None


def test_half_precision_is_saved_as_such(model, tmp_path):
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    assert SegformerForSemanticSegmentation.from_pretrained(tmp_path).dtype == torch.bfloat16


def test_the_mode_and_device_of_the_model_are_left_alone(model, tmp_path, device):
    model.train().to(device).save_pretrained(tmp_path)
    assert model.training
    assert next(model.parameters()).device.type == device.type


def test_missing_folders_are_made_and_readable_as_any_new_file(model, tmp_path):
    folder = tmp_path / "a" / "b"
    model.save_pretrained(str(folder))
    (tmp_path / "ordinary").touch()
    for path in folder.iterdir():
        assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert sorted(path.name for path in folder.iterdir()) == sorted(ALL)
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((tmp_path / "a").stat().st_mode)


def test_saving_again_replaces_the_old_model_and_keeps_other_files(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine", encoding="utf-8")
    other = SegFormer(model.config.replace(num_classes=3))
    other.save_pretrained(tmp_path / "model")
    assert SegFormer.from_pretrained(tmp_path / "model").config.num_classes == 3
    assert (tmp_path / "model" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert os.listdir(tmp_path) == ["model"]


# Writes that fail ------------------------------------------------------------------------------


@pytest.fixture
def written(model, tmp_path):
    """A saved model, and a function that says whether it and its surroundings are unchanged."""
    model.save_pretrained(tmp_path / "model")
    before = snapshot(tmp_path)
    return tmp_path / "model", lambda: snapshot(tmp_path) == before


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def disk_full(path, *_, **__):
    """Half of the bytes fit."""
    with builtins.open(path, "wb") as file:
        file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def not_permitted(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied")


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "owner, name, failure",
    [
        (Path, "write_bytes", disk_full),
        (os, "replace", not_permitted),
        (os, "replace", interrupted),
    ],
    ids=["disk full", "folder not writable", "Ctrl-C"],
)
def test_a_write_that_fails_changes_nothing(owner, name, failure, written, model, monkeypatch):
    folder, unchanged = written
    other = SegFormer(model.config.replace(num_classes=3))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failure)
        with pytest.raises((OSError, KeyboardInterrupt)) as caught:
            other.save_pretrained(folder)
    if caught.type is not KeyboardInterrupt:
        assert re.search(r"could not be written to .*unchanged. Free some space", str(caught.value))
    assert unchanged()
    assert SegFormer.from_pretrained(folder).config.num_classes == 5


@pytest.mark.parametrize("name", ["write_bytes", "mkdir"])
def test_a_folder_that_cannot_be_filled_is_not_made(name, model, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, name, disk_full if name == "write_bytes" else not_permitted)
        with pytest.raises(OSError, match="could not be written to"):
            model.save_pretrained(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocked, other", [FILES, FILES[::-1]])
@pytest.mark.parametrize("there", [True, False])
def test_if_one_of_the_two_files_cannot_be_replaced_neither_is(
    blocked, other, there, written, model
):
    folder, _ = written
    (folder / blocked).unlink()
    (folder / blocked).mkdir()  # a file cannot replace a folder
    if not there:
        (folder / other).unlink()
    before = snapshot(folder)
    with pytest.raises(OSError, match=r"unchanged"):
        SegFormer(model.config.replace(num_classes=3)).save_pretrained(folder)
    assert snapshot(folder) == before


def test_nothing_is_written_outside_the_folder(model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    tmp_path.chmod(0o555)  # as if the folder were a disk of its own, mounted here
    seen = tmp_path.stat().st_mtime_ns
    try:
        model.save_pretrained(folder)
    finally:
        tmp_path.chmod(0o755)
    assert tmp_path.stat().st_mtime_ns == seen
    assert sorted(path.name for path in folder.iterdir()) == sorted(ALL)


def test_a_target_that_is_a_file_is_refused(model, tmp_path):
    (tmp_path / "model").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is a file: give the name of a folder"):
        model.save_pretrained(tmp_path / "model")
    with pytest.raises(OSError, match=r"could not be written"):
        model.save_pretrained(tmp_path / "model" / "below")
    assert (tmp_path / "model").read_text(encoding="utf-8") == "mine"


def test_a_folded_model_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"save the model that folded\(\) copied"):
        model.folded().save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_config_json_is_plain_json_with_our_block(model, tmp_path):
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written["segformer_edu"] == {
        "block_norm_eps": 1e-6,
        "drop_path_rule": "linspace",
        "gradient_checkpointing": False,
    }
    assert written["model_type"] == "segformer"
    assert written["architectures"] == ["SegformerForSemanticSegmentation"]
