"""Pictures of one's own: held out for good, and looked at before any time is spent."""

import re
import warnings
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.commands.parser import class_names
from segformer_edu.data.colors import read_colors
from segformer_edu.data.masks import label_table
from segformer_edu.training import Settings, open_data
from segformer_edu.training.curves import read_log
from segformer_edu.training.own_pictures import picture_names, shuffled
from tests.training.rectangles import TINY, Rectangles, write_files

CLASSES = "ground,red,blue"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Fourteen pictures, seen from another folder."""
    write_files(tmp_path, count=14)
    settings = TINY.replace(
        data="folder", images="images", masks="masks", classes=Rectangles.class_names, validation=5
    )
    (tmp_path / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def settings_of(folder):
    return Settings.from_yaml(folder / "mine.yaml")


def command(name, folder, *more, config="mine.yaml"):
    out = {"train": ("--out", folder / "run", "--quiet", "--steps", "1"), "evaluate": ()}[name]
    arguments = [name, *out, "--config", folder / config, *more]
    try:
        return main([str(each) for each in arguments])
    except SystemExit as leaving:
        return leaving.code


def refused(folder, capsys, *words, name="train", more=()):
    """The message of a command that is refused before it writes anything."""
    before = sorted(folder.rglob("*"))
    assert command(name, folder, *more) == 2
    out, err = capsys.readouterr()
    assert not out and sorted(folder.rglob("*")) == before
    assert [word for word in words if word not in err] == [], err
    assert "Traceback" not in err and not re.search(r"\b[a-z_]+ ?= ?[\w…(]", err), err
    return err


def mask_of(folder, name="03"):
    return folder / "masks" / f"{name}.png"


def test_what_is_held_out_hangs_on_names_alone_and_hardly_moves_when_one_is_added(folder):
    def held_out(**changes):
        return picture_names(open_data(settings_of(folder).replace(**changes))[1])

    names = held_out()
    assert len(names) == 5 and names == held_out(seed=7)
    assert names == shuffled([f"{number:02}" for number in range(14)])[:5]
    changed = []
    for number in range(14, 40):
        for kind in ("images", "masks"):
            (folder / kind / f"{number}.png").write_bytes((folder / kind / "00.png").read_bytes())
        changed.append(len({*names} - {*held_out()}))
        names = held_out()
    assert set(changed) == {0, 1}


def test_a_run_keeps_to_its_lists_when_the_folder_grows(folder, capsys):
    assert command("train", folder) == 0
    lists = [
        (folder / "run" / f"{part}.txt").read_text(encoding="utf-8").split()
        for part in ("training", "validation")
    ]
    assert len(lists[1]) == 5 and sorted(lists[0] + lists[1]) == [f"{n:02}" for n in range(14)]
    first = next(name for name in map(str, range(10**6)) if shuffled([name, *lists[1]])[0] == name)
    for kind in ("images", "masks"):  # a picture that would be held out, had the run begun today
        (folder / kind / f"{first}.png").write_bytes((folder / kind / "00.png").read_bytes())
    weights = ("--weights", folder / "run/best", "--seed", "3")
    capsys.readouterr()
    assert command("evaluate", folder, *weights, config="run/settings.yaml") == 0
    _, err = capsys.readouterr()
    assert "Note: " in err and "in neither list of names (1)" in err
    with pytest.warns(UserWarning, match="neither list"):
        _, scored = open_data(Settings.from_yaml(folder / "run/settings.yaml"))
    assert picture_names(scored) == lists[1]
    assert command("train", folder, "--resume", "--steps", "1") == 0  # it is finished


def test_a_list_or_a_folder_of_ones_own_is_validated_on(folder):
    (folder / "held.txt").write_text("03.png\n\nimages/07.jpg\n", encoding="utf-8")
    settings = settings_of(folder).replace(validation_names=str(folder / "held.txt"))
    training, validation = map(picture_names, open_data(settings))
    assert validation == ["03", "07"] and len(training) == 12 and not {*training} & {"03", "07"}
    reverse = settings_of(folder).replace(training_names=str(folder / "held.txt"))
    assert list(map(picture_names, open_data(reverse))) == [validation, training]
    write_files(folder / "more", count=3)
    own = {f"validation_{kind}": str(folder / "more" / kind) for kind in ("images", "masks")}
    training, validation = open_data(settings_of(folder).replace(**own))
    assert (len(training), len(validation)) == (14, 3)


def test_lists_that_overlap_or_name_nothing_are_refused(folder, capsys):
    (folder / "a.txt").write_text("03\n05\n", encoding="utf-8")
    (folder / "b.txt").write_text("05\n", encoding="utf-8")
    (folder / "c.txt").write_text("99\n", encoding="utf-8")
    (folder / "d.txt").write_text("\n", encoding="utf-8")
    lists = ("--training-names", folder / "a.txt", "--validation-names")
    refused(folder, capsys, "05", "--training-names", "both", more=(*lists, folder / "b.txt"))
    refused(folder, capsys, "99 has no photograph", more=(*lists, folder / "c.txt"))
    refused(folder, capsys, "names no picture", more=(*lists, folder / "d.txt"))
    refused(folder, capsys, "cannot be read", more=(*lists, folder / "none.txt"))


def test_black_and_white_masks_of_which_white_is_ignored_are_refused(folder, capsys):
    for path in (folder / "masks").iterdir():
        Image.fromarray(255 * (np.array(Image.open(path)) == 1).astype(np.uint8)).save(path)
    more = ("--classes", "rest,red")
    err = refused(folder, capsys, "only class rest", "0 (", "255 (", "ignored", more=more)
    assert "--values 0,255 and --ignore 1-254 read them so" in err
    assert command("train", folder, *more, "--values", "0,255", "--ignore", "1-254") == 0


def test_a_class_that_no_picture_shows_is_named(folder, capsys):
    assert command("train", folder, "--classes", f"{CLASSES},emu") == 0
    err = capsys.readouterr().err
    assert "Note: No training picture shows emu, which therefore cannot be learned" in err
    assert "No validation picture shows emu" in err and "--values" in err


def test_all_that_is_wrong_with_files_is_found_before_the_first_step(folder, capsys):
    whole = (folder / "images/05.png").read_bytes()
    (folder / "images/05.png").write_bytes(whole[: len(whole) // 2])
    numbers = np.array(Image.open(mask_of(folder)))
    numbers[3, 4] = 77
    Image.fromarray(numbers).save(mask_of(folder))
    last = shuffled([f"{n:02}" for n in range(14)])[-1]
    mask_of(folder, last).write_bytes(mask_of(folder, last).read_bytes()[:-40])
    names = ["images/05.png cannot be read", "masks/03.png holds 77", "--values", "--ignore"]
    err = refused(folder, capsys, "pictures cannot be used:", *names)
    assert err.count("\n") > 3  # a line each


def test_validation_pictures_that_cannot_be_scored_are_refused(folder, capsys):
    held = shuffled([f"{n:02}" for n in range(14)])[:5]
    for name in held:
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(mask_of(folder, name))
    refused(folder, capsys, "The 5 validation pictures show no class", "255 (100%, ignored)")
    write_files(folder / "more", count=2)
    for kind in ("images", "masks"):
        path = folder / "more" / kind / "00.png"
        Image.open(path).crop((0, 0, 32, 3)).save(path)
    own = [f"--validation-{kind}={folder / 'more' / kind}" for kind in ("images", "masks")]
    refused(folder, capsys, "00 with 32 × 3 pixels", "--fit", more=own)


def test_without_a_picture_to_train_on_it_says_what_zero_means(folder, capsys):
    refused(
        folder, capsys, "--validation 0 holds out all", "0 means all", more=("--validation", "0")
    )


@pytest.mark.parametrize(
    ("classes", "words"),
    [("red", "one class"), ("red,red,blue", "red twice"), ("red,,blue", "empty name")],
)
def test_classes_that_make_no_sense_are_refused(folder, capsys, classes, words):
    refused(folder, capsys, words, "--classes", more=("--classes", classes))


def test_classes_are_named_in_three_ways_everywhere(folder):
    (folder / "names.txt").write_text("ground\nred\nblue\n", encoding="utf-8")
    for given, expected in (
        (folder / "names.txt", ("ground", "red", "blue")),
        ("3", ("class 0", "class 1", "class 2")),
    ):
        assert command("train", folder, "--classes", given) == 0
        assert SegFormer.from_pretrained(folder / "run/last").config.class_names == expected
        for path in sorted((folder / "run").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("loss", ["cross-entropy", "focal+dice"])
def test_two_classes_can_be_told_apart_by_one_logit(folder, capsys, loss):
    for path in (folder / "masks").iterdir():
        numbers = 255 * (np.array(Image.open(path)) == 1).astype(np.uint8)
        numbers[5, 5:9] = 77  # as on an edge that a drawing tool smoothed
        Image.fromarray(numbers).save(path)
    more = ("--classes", "rest,red", "--values", "0,255", "--ignore", "77")
    learn = ("--steps", 60, "--batch-size", 8, "--loss", loss)
    assert command("train", folder, *more, *learn, "--set", "num_classes=1") == 0
    score = read_log(folder / "run/log.csv")["iou red"]
    assert np.nanmax(score) > 0.5
    assert SegFormer.from_pretrained(folder / "run/best").config.num_classes == 1
    assert command("evaluate", folder, "--weights", folder / "run/best", *more) == 0
    assert "rest" in capsys.readouterr().out


def test_one_logit_keeps_the_names_of_both_classes(folder, capsys):
    for path in (folder / "masks").iterdir():
        Image.fromarray(255 * (np.array(Image.open(path)) == 1).astype(np.uint8)).save(path)
    settings = settings_of(folder).replace(classes=(), values="0,255", ignore="1-254")
    (folder / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    named, one = ("--classes", "rest,red"), ("--set", "num_classes=1")
    assert command("train", folder, *named, *one, "--steps", "2") == 0
    (folder / "run").rename(folder / "begun")
    weights = ("--weights", folder / "begun/best")
    for given in (None, 1, 2):  # logits
        with warnings.catch_warnings(action="ignore"):  # of a second one, whose weights are random
            model = SegFormer.from_pretrained(weights[1], num_classes=given)
        assert model.config.class_names == ("rest", "red")
    capsys.readouterr()
    assert command("evaluate", folder, *weights) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == [
        "rest",
        "red",
    ]
    swapped = (*weights, "--classes", "red,rest")
    refused(folder, capsys, "classes rest, red", name="evaluate", more=swapped)
    assert command("train", folder, *named, *one, *weights) == 0  # from that one logit on
    assert "random" not in capsys.readouterr().err


def test_one_logit_with_a_name_of_its_own_is_scored_on_classes_that_end_with_it(folder, capsys):
    renumber(folder, lambda mask: np.minimum(mask, 1))
    config = SegFormerConfig.named("nano", num_classes=1, class_names=("red",), **TINY.config)
    SegFormer(config).save_pretrained(folder / "theirs")
    weights = ("--weights", folder / "theirs")
    assert command("evaluate", folder, *weights, "--classes", "rest,red") == 0
    capsys.readouterr()
    wrong = (*weights, "--classes", "red,rest")
    refused(folder, capsys, "calls its classes red", name="evaluate", more=wrong)


def test_weights_whose_classes_have_other_names_are_not_scored(folder, capsys):
    assert command("train", folder) == 0
    capsys.readouterr()
    weights = ("--weights", folder / "run/best")
    swapped = (*weights, "--classes", "ground,blue,red")
    refused(folder, capsys, "ground, red, blue", "--classes", name="evaluate", more=swapped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert command("evaluate", folder, *weights) == 0


# ---- numbers, colours and names as other programs have them ----


def renumber(folder, change):
    for path in (folder / "masks").iterdir():
        Image.fromarray(change(np.array(Image.open(path)).astype(int)).astype(np.uint8)).save(path)


def labels_in(folder, **changes):
    return [part.picture(0)[1] for part in open_data(settings_of(folder).replace(**changes))]


NUMBERED = {  # how masks are numbered; what the refusal says; the settings that it names
    "from one, 0 for what has no label": (
        lambda mask: np.where(mask == 255, 0, mask + 1),
        "--values 1-3 and --ignore 0,255 read them so",
        {"values": "1-3", "ignore": "0,255"},
    ),
    "from one, 255 too": (
        lambda mask: np.where(mask == 255, 255, mask + 1),
        "--values 1-3 and --ignore 0,255 read them so",
        {"values": "1-3", "ignore": "0,255"},
    ),
    "in numbers of their own": (
        lambda mask: np.where(mask == 255, 255, mask * 38),
        "--values 0,38,76 and --ignore 255 read them so",
        {"values": "0,38,76", "ignore": "255"},
    ),
}


@pytest.mark.parametrize("case", NUMBERED.values(), ids=NUMBERED)
def test_the_refusal_gives_the_flags_that_read_masks_numbered_otherwise(folder, capsys, case):
    change, words, settings = case
    expected = labels_in(folder)
    renumber(folder, change)
    refused(folder, capsys, words)
    for before, after in zip(expected, labels_in(folder, **settings), strict=True):
        np.testing.assert_array_equal(after, before)


def test_soft_edges_of_black_and_white_masks_are_left_out_by_the_flags_of_the_refusal(
    folder, capsys
):
    renumber(folder, lambda mask: np.where(mask == 1, 255, 0))
    expected = labels_in(folder, classes=("rest", "red"), values="0,255", ignore="")
    rng = np.random.default_rng(0)
    edge = rng.random((32, 32)) < 0.03
    renumber(folder, lambda mask: np.where(edge, rng.integers(2, 254, edge.shape), mask))
    words = "--values 0,255 and --ignore 1-254 read them so"
    refused(folder, capsys, "softened edges", words, more=("--classes", "rest,red"))
    found = labels_in(folder, classes=("rest", "red"), values="0,255", ignore="1-254")
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_array_equal(after, np.where(edge, 255, before))


COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], dtype=np.uint8)
TABLE = "#000000 ground\n#ff0000 red\n#0000ff blue\n"


def paint(folder):
    """The masks in colours; what was ignored has one that is none of the three."""
    for path in (folder / "masks").iterdir():
        mask = np.array(Image.open(path))
        colours = COLOURS[np.minimum(mask, 2)]
        colours[mask == 255] = (9, 9, 9)
        Image.fromarray(colours).save(path)


def test_masks_in_colours_are_trained_on_and_scored(folder, capsys):
    expected = labels_in(folder)
    paint(folder)
    refused(folder, capsys, "holds colours (RGB)", "--colors", "`#804080 road`", "check-data")
    (folder / "colors.txt").write_text(TABLE, encoding="utf-8")
    refused(
        folder,
        capsys,
        "leave out --classes … and --values",
        more=("--colors", folder / "colors.txt"),
    )
    settings = Settings.from_yaml(folder / "mine.yaml").replace(classes=(), colors="colors.txt")
    (folder / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    refused(folder, capsys, "holds #090909 (", "%), which", "colors.txt lacks", "`* ignore`")
    (folder / "colors.txt").write_text(f"{TABLE}* ignore\n", encoding="utf-8")
    for before, after in zip(expected, labels_in(folder), strict=True):
        np.testing.assert_array_equal(after, before)
    assert command("train", folder) == 0
    assert (
        SegFormer.from_pretrained(folder / "run/best").config.class_names == Rectangles.class_names
    )
    capsys.readouterr()
    weights = ("--weights", folder / "run/best")
    assert command("evaluate", folder, *weights, config="run/settings.yaml") == 0
    assert "ground" in capsys.readouterr().out


def test_colours_of_one_class_only_are_refused_in_words_of_colours(folder, capsys):
    paint(folder)
    (folder / "colors.txt").write_text(
        "#000000 ground\n#00ff00 green\n* ignore\n", encoding="utf-8"
    )
    settings = Settings.from_yaml(folder / "mine.yaml").replace(classes=(), colors="colors.txt")
    (folder / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    err = refused(folder, capsys, "show only class ground", "colours (", "ignored)", "--colors")
    assert "--values" not in err and "--ignore" not in err


def test_one_folder_for_pictures_and_masks_is_split_by_patterns(folder, capsys):
    expected = labels_in(folder)
    for path in sorted((folder / "masks").iterdir()):
        path.rename(folder / "images" / f"{path.stem}_mask.png")
    files = {"images": str(folder / "images/*.png"), "masks": str(folder / "images/*_mask.png")}
    for before, after in zip(expected, labels_in(folder, **files), strict=True):
        np.testing.assert_array_equal(after, before)
    (folder / "held.txt").write_text("03.png\n07_mask.png\n", encoding="utf-8")
    changes = {**files, "validation_names": str(folder / "held.txt")}
    _, held_out = open_data(settings_of(folder).replace(**changes))
    assert picture_names(held_out) == ["03", "07"]
    more = [part for name, value in files.items() for part in (f"--{name}", value)]
    wrong = (*more[:3], more[3].replace("mask", "seg"))
    refused(folder, capsys, '--masks "', '*_seg.png" fits no file', more=wrong)
    assert command("train", folder, *more) == 0
    held = (folder / "run/validation.txt").read_text(encoding="utf-8").split()
    assert held == shuffled([f"{n:02}" for n in range(14)])[:5]


def test_a_pattern_without_quotes_is_one_sentence_that_says_so(folder, capsys):
    expanded = sorted((folder / "images").iterdir())
    err = refused(
        folder, capsys, "01.png and 12 more", '"photos/*.jpg"', more=("--images", *expanded)
    )
    assert err.count("\n") == 1 and "02.png" not in err
    refused(folder, capsys, "00.png is not a folder", "quotes", more=("--images", expanded[0]))


def test_a_folder_for_validation_is_named_as_its_own_flags_are(folder, capsys):
    images = ("--validation-images", folder / "images")
    refused(folder, capsys, "--validation-masks … is missing", more=images)
    refused(folder, capsys, "--validation-images … is missing", more=("--validation-masks", "m"))
    nowhere = (*images, "--validation-masks", folder / "nowhere")
    refused(folder, capsys, f"--validation-masks {nowhere[-1]} is not a folder", more=nowhere)


def test_evaluate_takes_the_names_of_the_weights_and_train_does_not(folder, capsys):
    assert command("train", folder) == 0
    settings = Settings.from_yaml(folder / "mine.yaml").replace(classes=())
    (folder / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    capsys.readouterr()
    weights = ("--weights", folder / "run/best")
    assert command("evaluate", folder, *weights) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:4]] == [
        *Rectangles.class_names
    ]
    (folder / "run").rename(folder / "begun")
    weights = ("--weights", folder / "begun/best")
    refused(folder, capsys, "--classes … is missing", "or --colors", more=weights)


def test_the_numbers_that_the_list_of_cityscapes_gives_cover_its_masks():
    text = resources.files("segformer_edu.data").joinpath("cityscapes.txt").read_text("utf-8")
    values, ignored = (re.search(f"--{flag} ([0-9,-]+)", text)[1] for flag in ("values", "ignore"))
    labels, known = label_table(19, values, ignored)
    assert known.nonzero()[0].tolist() == [*range(34), 255]
    assert [labels[number] for number in (7, 8, 11, 26, 33)] == [0, 1, 2, 13, 18]


def test_lists_of_known_data_sets_are_classes():
    city, ade = class_names("cityscapes"), class_names("ade20k")
    assert len(city) == 19 and city[0] == "road" and city[13] == "car" and city[18] == "bicycle"
    assert len(ade) == 150 and (ade[0], ade[20], ade[149]) == ("wall", "car", "flag")
    colours = read_colors("cityscapes")
    assert colours.class_names == city
    assert colours.label(np.array([[(0, 0, 142), (0, 0, 0)]], np.uint8))[0].tolist() == [[13, 255]]


def test_a_picture_that_a_list_names_twice_counts_once(folder):
    (folder / "train.txt").write_text("01\n02\n01.png\nmasks/02.png\n", encoding="utf-8")
    settings = settings_of(folder).replace(training_names=str(folder / "train.txt"))
    training, validation = map(picture_names, open_data(settings))
    assert training == ["01", "02"] and len(validation) == 12 and "03" in validation
