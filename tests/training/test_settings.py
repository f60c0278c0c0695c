"""Impossible settings are refused; possible ones survive YAML and flags unchanged."""

import math
from dataclasses import fields

import pytest

from segformer_edu.__main__ import parser
from segformer_edu.commands.settings import read_settings
from segformer_edu.training import Settings

OTHERS = {  # a value other than the default for every setting: as a flag, and as what it means
    "model": ("b0", "b0"),
    "weights": ("nvidia/mit-b0", "nvidia/mit-b0"),
    "config": ("depths=[1, 2]", {"depths": [1, 2]}),
    "data": ("pets", "pets"),
    "size": ("64", 64),
    "pictures": ("7", 7),
    "validation": ("0", 0),
    "images": ("a b/c", "a b/c"),
    "masks": ("m", "m"),
    "classes": ("wet road, sky", ("wet road", "sky")),
    "values": ("0,255", (0, 255)),
    "ignore": ("", ()),
    "colors": ("c.txt", "c.txt"),
    "upright": (None, False),
    "validation_images": ("vi", "vi"),
    "validation_masks": ("vm", "vm"),
    "validation_names": ("v.txt", "v.txt"),
    "training_names": ("t.txt", "t.txt"),
    "root": ("r", "r"),
    "border": ("ignore", "ignore"),
    "fit": ("128", 128),
    "workers": ("2", 2),
    "cache_mb": ("0", 0),
    "scale": ("1,1.5", (1.0, 1.5)),
    "flip": ("0", 0.0),
    "colour": ("0.1", 0.1),
    "steps": ("5", 5),
    "batch_size": ("8", 8),
    "accumulation": ("2", 2),
    "learning_rate": ("6e-5", 6e-5),
    "head_lr_factor": ("10", 10.0),
    "weight_decay": ("0", 0.0),
    "warmup_steps": ("0", 0),
    "power": ("0.9", 0.9),
    "clip_norm": ("0", 0.0),
    "class_weights": (None, False),
    "ema_decay": ("0.99", 0.99),
    "precision": ("bf16", "bf16"),
    "cpu": (None, True),
    "seed": ("3", 3),
    "validate_every": ("0", 0),
    "save_every": ("9", 9),
}
FLAGS = {"config": "--set", "class_weights": "--no-class-weights", "upright": "--no-upright"}


def flag(name):
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def parsed(*arguments):
    return read_settings(parser().parse_args(["train", "--out", "run", *arguments]))


def test_every_setting_has_a_flag_a_help_text_and_another_value_here():
    names = {each.name for each in fields(Settings)}
    assert set(OTHERS) == names
    for name, (_, value) in OTHERS.items():
        assert getattr(Settings(), name) != value
    assert all(each.metadata["help"] and each.metadata["group"] for each in fields(Settings))


@pytest.mark.parametrize("name", OTHERS)
def test_a_flag_sets_its_own_setting_and_no_other(name):
    text, value = OTHERS[name]
    found = parsed(flag(name), *([] if text is None else [text]))
    assert found == Settings().replace(**{name: value})


def test_yaml_gives_back_what_it_was_given(tmp_path):
    other = Settings().replace(**{name: value for name, (_, value) in OTHERS.items()})
    for settings in (Settings(), other):
        (tmp_path / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
        found = Settings.from_yaml(tmp_path / "settings.yaml")
        assert found == settings.anchored(tmp_path)
    assert other.anchored(tmp_path).images == str(tmp_path / "a b/c")


def test_ranges_stand_for_the_numbers_in_them(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("values: 1-150\nignore: [0, 151-255]\n", encoding="utf-8")
    found = Settings.from_yaml(path)
    assert found.values == tuple(range(1, 151)) and found.ignore == (0, *range(151, 256))
    assert found == parsed("--values", "1-150", "--ignore", "0,151-255")
    assert "values: 1-150\n" in found.to_yaml() and "ignore: 0,151-255\n" in found.to_yaml()


def test_paths_hold_wherever_the_command_is_run(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    content = "weights: weights\nimages: ../a\nmasks: /m\n"
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    found = Settings.from_yaml(tmp_path / "mine.yaml")
    assert found.weights == str(tmp_path / "weights") and found.masks == "/m"
    assert found.images == str(tmp_path / "../a")
    assert Settings(colors="cityscapes").anchored(tmp_path).colors == "cityscapes"
    (tmp_path / "cityscapes").touch()
    assert Settings(colors="cityscapes").anchored(tmp_path).colors == str(tmp_path / "cityscapes")
    (tmp_path / "weights").rmdir()
    assert Settings.from_yaml(tmp_path / "mine.yaml").weights == "weights"  # a name, such as nano


def test_flags_win_over_yaml_and_yaml_over_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    lines = ["learning_rate: 6e-5", "steps: 7", "seed: 4", "config:", "  decoder_dim: 32"]
    path.write_text("\n".join([*lines, "  depths: [1, 1, 1, 1]"]), encoding="utf-8")
    found = parsed("--config", str(path), "--steps", "9", "--set", "decoder_dim=16")
    assert (found.steps, found.seed, found.batch_size) == (9, 4, 16)
    assert found.learning_rate == 6e-5  # which YAML itself takes for a word
    assert found.config == {"decoder_dim": 16, "depths": [1, 1, 1, 1]}


def test_differences_are_those_that_matter():
    other = Settings().replace(**{name: value for name, (_, value) in OTHERS.items()})
    names = Settings().differences(other)
    assert set(OTHERS) - set(names) == {"workers", "cache_mb", "save_every"}
    assert Settings().differences(Settings()) == []


WRONG = {
    "steps of none": ({"steps": 0}, "steps = 0", "at least 1"),
    "steps by half": ({"steps": 1.5}, "steps = 1.5", "whole number"),
    "steps as text": ({"steps": "many"}, "steps = 'many'", "whole number"),
    "steps as truth": ({"steps": True}, "steps = True", "whole number"),
    "a rate as text": ({"learning_rate": "fast"}, "learning_rate = 'fast'", "a number"),
    "a rate of nothing": ({"learning_rate": 0}, "learning_rate = 0.0", "nothing would be learned"),
    "a head that sleeps": ({"head_lr_factor": 0}, "head_lr_factor = 0.0", "nothing"),
    "a rate that is no number": ({"learning_rate": math.nan}, "learning_rate = nan", "a number"),
    "a rate without end": ({"learning_rate": math.inf}, "learning_rate = inf", "a number"),
    "a negative rate": ({"learning_rate": -1e-3}, "learning_rate = -0.001", "at least 0.0"),
    "a negative warm-up": ({"warmup_steps": -1}, "warmup_steps = -1", "at least 0"),
    "an average that never moves": ({"ema_decay": 1.0}, "ema_decay = 1.0", "less than 1"),
    "another precision": ({"precision": "fp8"}, "'fp8'", "fp32, bf16, fp16"),
    "other data": ({"data": "cityscapes"}, "'cityscapes'", "scenes, folder, pets"),
    "parts that do not divide": ({"accumulation": 5}, "accumulation = 5", "batch_size = 16"),
    "one bound": ({"scale": [1.0]}, "scale = (1.0,)", "two numbers"),
    "a bound as text": ({"scale": ["half", 2]}, "scale = 'half'", "a number"),
    "classes in one word": ({"classes": "sky"}, "classes = 'sky'", "a list"),
    "classes as numbers": ({"classes": [1, 2]}, "classes = 1", "a word"),
    "numbers in words": ({"values": "sky"}, "values = 'sky'", "ranges"),
    "numbers by halves": ({"ignore": [0.5]}, "ignore = [0.5]", "whole numbers"),
    "a config in a word": ({"config": "b0"}, "config = 'b0'", "a mapping"),
    "truth in a word": ({"class_weights": "no"}, "class_weights = 'no'", "true or false"),
    "an unknown setting": ({"lr": 1e-3}, "no setting 'lr'", "learning_rate"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_impossible_settings_are_refused(case):
    changes, *words = case
    with pytest.raises(ValueError) as refusal:
        Settings().replace(**changes)
    message = str(refusal.value)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: [", "not readable YAML"),
        ("- steps", "holds no settings"),
        ("", "holds no settings"),
        ("7: 8", "holds no settings"),
        ("steps: many", "mine.yaml: steps = 'many'"),
        ("strides: 8", "mine.yaml: There is no setting 'strides'"),
        ("!!python/object/apply:os.system ['true']", "not readable YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as refusal:
        Settings.from_yaml(path)
    assert words in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere.yaml"):
        Settings.from_yaml(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["depths", "=1", "depths=[1,"])
def test_a_field_that_is_not_written_as_one_is_refused(text):
    with pytest.raises(ValueError, match="write FIELD=VALUE"):
        parsed("--set", text)
