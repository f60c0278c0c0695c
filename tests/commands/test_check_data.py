"""check-data: what it says is what is there, and the command that it prints works as it stands."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageFilter

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.training import Settings, open_data
from segformer_edu.training.own_pictures import picture_names
from tests.plots.test_page import Reader
from tests.training.rectangles import TINY, Rectangles

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=np.uint8)
PALETTE = COLOURS.ravel().tolist()
SIZE = (48, 64)  # height and width


class Pictures:
    """Photographs and masks, written as people have them."""

    def __init__(self, folder, count=10):
        self.folder, self.count = folder, count

    def labels(self, index):
        labels = np.zeros(SIZE, dtype=np.uint8)
        labels[5 : 15 + index, 8:30] = 1
        labels[20:44, 40 : 44 + index] = 2
        return labels

    def write(self, mask, image="photos/{}.jpg", place="masks/{}.png", exif=None, turn=False):
        """`mask` makes an image of labels; `exif` is the orientation of every third photograph."""
        for index in range(self.count):
            name, labels = f"Käfer {index:02}", self.labels(index)
            photo = Image.fromarray(Rectangles.colours[labels])
            tags = Image.Exif()
            if exif and index % 3 == 0:
                tags[ExifTags.Base.Orientation] = exif
                photo = photo.rotate(90, expand=True) if turn else photo
            for path, picture in ((image, photo), (place, mask(labels))):
                path = self.folder / path.format(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                options = {"exif": tags.tobytes()} if picture is photo else {}
                picture.save(path, **options)


def palette(labels):
    image = Image.fromarray(labels)
    image.putpalette(PALETTE)
    return image


def grey(labels):
    return 255 * (labels == 1).astype(np.uint8)


def softened(labels):
    """As a drawing program has it: white on black, with edges between."""
    white = Image.fromarray(grey(labels))
    return white.filter(ImageFilter.GaussianBlur(0.5))


def numbers(table):
    return lambda labels: Image.fromarray(np.array(table, dtype=np.uint8)[labels])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small model to start from, in a folder."""
    folder = tmp_path_factory.mktemp("weights")
    config = SegFormerConfig.named("b0", num_classes=3, **TINY.config)
    SegFormer(config).save_pretrained(folder / "small")
    return folder / "small"


@pytest.fixture
def check(tmp_path, weights, capsys, monkeypatch):
    """A function that runs check-data in an empty folder: exit code, words, and the command."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments):
        given = ["check-data", *map(str, arguments), "--weights", str(weights)]
        code = main(given)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        commands = re.findall(r"^  (python -m segformer_edu .*)$", out, re.MULTILINE)
        return code, out + err, shlex.split(commands[-1]) if commands else []

    return run


def trained_on(command):
    """The pictures of a run of one step that the command begins, word for word."""
    assert command[:5] == ["python", "-m", "segformer_edu", "train", "--out"]
    short = ["--steps", "1", "--warmup-steps", "0", "--batch-size", "2", "--cpu", "--quiet"]
    assert main([*command[3:], *short]) == 0
    return open_data(Settings.from_yaml(Path(command[5]) / "settings.yaml"))


def check_labels(parts, pictures, of_class=lambda labels: labels):
    """Every picture has the labels that it was written with, each class under one number."""
    seen = 0
    for part in parts:
        for index, name in enumerate(picture_names(part)):
            _, labels = part.picture(index)
            expected = of_class(pictures.labels(int(name.split()[1].split("_")[0])))
            assert labels.shape == expected.shape
            both = {*zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True)}
            counted = {(found, true) for found, true in both if found != 255}
            assert len(counted) == len({true for _, true in counted}) == expected.max() + 1
            assert len({found for found, _ in counted}) == len(counted)
            assert (labels == 255).mean() < 0.2
            seen += 1
    assert seen == pictures.count


PLACES = {"images": "photos", "masks": "masks"}
BINARY = {"of_class": lambda labels: labels == 1}
CASES = {  # how files are written, flags that the command has, and what the labels should be
    "a palette": ({"mask": palette}, ["--classes 3"], {}),
    "numbers from one": (
        {"mask": numbers([1, 2, 3])},
        ["--classes 3", "--values 1-3", "--ignore 0,255"],
        {},
    ),
    "numbers with gaps": ({"mask": numbers([0, 50, 200])}, ["--values 0,50,200"], {}),
    "black and white": (
        {"mask": numbers([0, 255, 0])},
        ["--values 0,255", "--ignore 1-254"],
        BINARY,
    ),
    "one bit": (
        {"mask": lambda labels: Image.fromarray(labels == 1)},
        ["--classes 2"],
        BINARY,
    ),
    "spread numbers": ({"mask": numbers([0, 128, 255])}, ["--values 0,128,255"], {}),
    "softened edges": ({"mask": softened}, ["--values 0,255", "--ignore 1-254"], BINARY),
    "colours": (
        {"mask": lambda labels: Image.fromarray(COLOURS[labels])},
        ["--colors", "colors.txt"],
        {},
    ),
    "upright masks": ({"mask": palette, "exif": 6, "turn": True}, [], {}),
    "masks as stored": ({"mask": lambda labels: palette(labels), "exif": 6}, ["--no-upright"], {}),
    "one folder": (
        {"mask": palette, "image": "{}.jpg", "place": "{}_mask.png"},
        ["--images", "--masks"],
        {},
    ),
    "one folder and two endings": (
        {"mask": palette, "image": "{}.jpg", "place": "{}.png"},
        ["*.jpg", "*.png"],
        {},
    ),
    "marks on both": (
        {"mask": palette, "image": "{}_sat.jpg", "place": "{}_mask.png"},
        ["*_sat", "*_mask"],
        {},
    ),
    "Cityscapes": (
        {
            "mask": palette,
            "image": "leftImg8bit/train/bonn/{}_leftImg8bit.png",
            "place": "gtFine/train/bonn/{}_gtFine_labelTrainIds.png",
        },
        ["**/*_leftImg8bit", "**/*_gtFine_labelTrainIds", "--classes cityscapes"],
        {},
    ),
    "Cityscapes by its own numbers": (
        {
            "mask": numbers([7, 11, 33]),
            "image": "leftImg8bit/train/bonn/{}_leftImg8bit.png",
            "place": "gtFine/train/bonn/{}_gtFine_labelIds.png",
        },
        ["--classes cityscapes --values 7,8,11-13"],
        {},
    ),
    "folders like ADE20K's": (
        {
            "mask": palette,
            "image": "images/training/{}.jpg",
            "place": "annotations/training/{}.png",
        },
        ["--classes 3"],
        {},
    ),
    "a folder to train on": (
        {"mask": palette, "image": "train/images/{}.png", "place": "train/labels/{}.tif"},
        ["train/images", "train/labels"],
        {},
    ),
    "capitals": (
        {"mask": palette, "image": "JPEGImages/{}.jpg", "place": "SegmentationClass/{}.png"},
        ["JPEGImages", "SegmentationClass"],
        {},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_command_reads_the_masks_as_they_were_meant(check, tmp_path, case):
    written, flags, labels = case
    pictures = Pictures(tmp_path / "my data")
    pictures.write(**written)
    code, said, command = check(tmp_path / "my data")
    assert code == 0, said
    line = shlex.join(command)
    for flag in flags:
        assert flag in line, line
    assert ("--no-upright" in line) == ("--no-upright" in flags)
    check_labels(trained_on(command), pictures, **labels)


def proposed(text):
    """What a text says of --values and --ignore at last; their defaults if it says nothing."""
    return tuple(
        [default, *re.findall(rf"--{name} ([0-9,-]+)", text)][-1]
        for name, default in (("values", ""), ("ignore", "255"))
    )


TWICE = {  # how masks are drawn, the classes, and the flags that both commands propose
    "black and white": (numbers([0, 255, 0]), "rest,red", ("0,255", "1-254")),
    "softened edges": (softened, "rest,red", ("0,255", "1-254")),
    "softened edges in a few greys": (
        lambda labels: Image.fromarray(
            np.where(np.eye(*SIZE), 90, 255 * (labels == 1)).astype("u1")
        ),
        "rest,red",
        ("0,255", "1-254"),
    ),
    "numbers from one": (numbers([1, 2, 3]), "rest,red,blue", ("1-3", "0,255")),
    "numbers from one, with one that no mask holds": (
        numbers([1, 2, 4]),
        "rest,red,green,blue",
        ("1-4", "0,255"),
    ),
    "numbers from one, and 0 for what nobody drew": (
        numbers([0, 1, 2]),
        "red,blue",
        ("1,2", "0,255"),
    ),
    "gaps": (numbers([0, 50, 200]), "rest,red,blue", ("0,50,200", "255")),
    "gaps, and 255 for what does not count": (
        lambda labels: numbers([0, 50, 200])(labels).point(lambda x: x or 255),
        "red,blue",
        ("50,200", "255"),
    ),
    "spread numbers": (numbers([0, 128, 255]), "rest,red,blue", ("0,128,255", "1-127,129-254")),
}


@pytest.mark.parametrize("case", TWICE.values(), ids=TWICE)
def test_a_refusal_of_train_proposes_the_flags_that_check_data_does(check, tmp_path, capsys, case):
    mask, classes, flags = case
    Pictures(tmp_path / "data").write(mask)
    _, said, _ = check(tmp_path / "data", "--classes", classes)
    assert proposed(said) == flags, said
    folders = [f"--{name}={tmp_path}/data/{place}" for name, place in PLACES.items()]
    given = ["--data=folder", "--validation=2", "--classes", classes, *folders]
    assert main(["train", "--out", "run", *given]) == 2
    said = capsys.readouterr().err
    assert proposed(said) == flags, said


def test_ade20k_is_known_by_its_folders_and_many_numbers(check, tmp_path):
    place = {"image": "images/training/{}.jpg", "place": "annotations/training/{}.png"}
    pictures = Pictures(tmp_path / "data")
    rows = np.arange(SIZE[0], dtype=np.uint8)[:, None] * 3
    pictures.write(lambda labels: Image.fromarray(labels + rows), **place)
    code, said, command = check(tmp_path / "data")
    assert code == 0, said
    assert "--classes ade20k --values 1-150 --ignore 0" in shlex.join(command)
    training, _ = trained_on(command)
    name = picture_names(training)[0]
    expected = pictures.labels(int(name.split()[1])) + rows
    assert np.array_equal(training.picture(0)[1], np.where(expected == 0, 255, expected - 1))
    assert training.class_names[:3] == ("wall", "building", "sky")


def test_shares_and_pictures_of_each_class_are_those_of_the_masks(check, tmp_path):
    pictures = Pictures(tmp_path / "data")
    pictures.write(palette)
    _, said, _ = check(tmp_path / "data", "--classes", "rest,red,none,blue", "--values", "0,1,7,2")
    every = np.stack([pictures.labels(index) for index in range(10)])
    for number, name in enumerate(("rest", "red", "blue")):
        assert re.search(rf"^{name} +{(every == number).mean():.2%} +10$", said, re.MULTILINE)
    assert re.search("^none +0.00% +0$", said, re.MULTILINE)
    assert "No picture shows none" in said and "10 JPEG in colours" in said
    assert "10 PNG with a palette" in said and "64 × 48 pixels, all of them" in said


def test_all_that_is_wrong_is_named_and_the_exit_code_is_one(check, tmp_path):
    folder = tmp_path / "data"
    Pictures(folder, count=40).write(palette)
    for number in range(12):  # more than a refusal of train lists
        path = folder / f"photos/Käfer {number:02}.jpg"
        path.write_bytes(path.read_bytes()[:500])
    (folder / "masks/Käfer 20.png").unlink()
    (folder / "photos/Käfer 21.jpg").unlink()
    Image.new("P", (10, 10)).save(folder / "masks/Käfer 22.png")
    (folder / "masks/Käfer 23.png").write_bytes(b"\x89PNG")
    code, said, command = check(folder)
    assert code == 1 and command[3] == "train"
    for number in [*range(12), *range(20, 24)]:
        (line,) = [line for line in said.splitlines() if f"Käfer {number:02}" in line]
        assert line.startswith("- ")
    partners = said.splitlines()[said.splitlines().index("To be mended first:") + 1 :][:3]
    assert "Käfer 20.jpg has no mask" in partners[0]
    assert "Käfer 21.png has no photograph" in partners[1]
    assert partners[2].startswith("  ") and "what has no partner" in partners[2]
    assert "39 photographs with a mask" not in said and "38 photographs with a mask" in said


@pytest.mark.parametrize(
    ("mask", "given", "words"),
    [
        (numbers([0, 0, 0]), [], "fewer than two classes"),
        (
            palette,
            ["--classes", "rest,red"],
            "Masks hold 2, which stands for none of the 2 classes",
        ),
        (palette, ["--classes", "a,b", "--values", "0,1", "--ignore", "9"], "--values"),
    ],
)
def test_masks_that_cannot_be_trained_on_are_said_to_be(check, tmp_path, mask, given, words):
    Pictures(tmp_path / "data").write(mask)
    code, said, command = check(tmp_path / "data", *given)
    assert code == 1 and words in said and "To train, after that" in said


def test_masks_of_both_kinds_of_turn_are_refused_by_name(check, tmp_path):
    folder = tmp_path / "data"
    Pictures(folder).write(palette, exif=6)
    Pictures(tmp_path / "other").write(palette, exif=6, turn=True)
    photo = (tmp_path / "other/photos/Käfer 03.jpg").read_bytes()
    (folder / "photos/Käfer 03.jpg").write_bytes(photo)
    code, said, _ = check(folder)
    assert code == 1 and "The fewer are Käfer 03.jpg" in said


@pytest.mark.parametrize(
    ("orientation", "turned", "words"),
    [
        (6, True, "The masks were drawn after that turn"),
        (6, False, "The masks were drawn over the photographs without that turn"),
        (3, False, "For 4 of them the sizes do not show"),  # half a turn
    ],
)
def test_what_sizes_show_of_turns_is_said(check, tmp_path, orientation, turned, words):
    Pictures(tmp_path / "data").write(palette, exif=orientation, turn=turned)
    code, said, _ = check(tmp_path / "data")
    assert code == 0 and f"tag turns 4 of the photographs, such as Käfer 00.jpg. {words}" in (
        said.replace("\n- ", " ")
    )


def test_large_and_tiny_pictures_are_scaled(check, tmp_path, monkeypatch):
    pictures = Pictures(tmp_path / "data")
    pictures.write(palette)
    assert "--fit" not in check(tmp_path / "data")[2]
    monkeypatch.setattr("segformer_edu.training.proposal.LARGE", 3000)
    _, said, command = check(tmp_path / "data")
    assert "--fit 1024" in shlex.join(command) and "million pixels" in said
    for path in tmp_path.glob("data/*/*"):
        with Image.open(path) as image:
            small = image.resize((16, 12), Image.Resampling.NEAREST)
        small.save(path)
    _, said, command = check(tmp_path / "data")
    assert "--fit 128" in shlex.join(command) and "10 of the pictures have fewer" in said
    assert [len(each) for each in trained_on(command)] == [8, 2]


@pytest.fixture
def commands(tmp_path, capsys, monkeypatch):
    """A function that runs check-data on ten pictures: its commands, given the device here."""
    monkeypatch.chdir(tmp_path)
    Pictures(tmp_path / "data").write(palette)

    def run(*given, device="cpu"):
        monkeypatch.setattr(
            "segformer_edu.commands.findings.pick_device", lambda: torch.device(device)
        )
        assert main(["check-data", "data", "--out", "page.html", *map(str, given)]) == 0
        out = capsys.readouterr().out
        found = re.findall(r"^  (python -m segformer_edu .*)$", out, re.MULTILINE)
        page = Reader(Path("page.html").read_bytes())
        assert [each for each in page.text if each.startswith("python -m segformer_edu")] == found
        assert ("There is no GPU here" in out) == (len(found) == 2)
        return out, [shlex.split(each) for each in found]

    return run


def test_without_a_gpu_a_first_try_is_proposed_and_works_as_it_stands(commands, tmp_path):
    said, (long, short) = commands("--size", "512")
    assert "for an hour or more" in said and "nvidia/mit-b0" in long
    assert "for half an hour or so" in commands("--size", "256")[0]
    parts = trained_on(short)
    assert [len(each) for each in parts] == [8, 2]
    assert {part.picture(0)[0].shape for part in parts} == {(160, 160, 3)}
    trained = Settings.from_yaml(tmp_path / "try/settings.yaml")
    assert trained.weights == "nano" and trained.size == 96 and trained.learning_rate == 1e-3
    assert "--steps 300" in shlex.join(short)


def test_a_first_try_is_proposed_only_where_the_training_takes_long(commands, weights):
    assert len(commands("--size", "512", device="cuda")[1]) == 1
    assert len(commands()[1]) == 1  # pictures so small that it takes minutes
    assert len(commands("--size", "512", "--weights", weights)[1]) == 1  # of any speed


def test_a_folder_to_validate_on_is_read_and_named(check, tmp_path):
    for part, count in (("train", 6), ("val", 4)):
        place = {"image": f"images/{part}/{{}}.jpg", "place": f"masks/{part}/{{}}.png"}
        Pictures(tmp_path / "data", count).write(palette, **place)
    code, said, command = check(tmp_path / "data")
    assert code == 0 and "10 photographs with a mask" in said and "--validation" not in command
    assert [len(each) for each in trained_on(command)] == [6, 4]


def test_lists_of_pascal_voc_leave_out_what_has_no_mask(check, tmp_path):
    folder = tmp_path / "VOC2012"
    place = {"image": "JPEGImages/{}.jpg", "place": "SegmentationClass/{}.png"}
    Pictures(folder).write(palette, **place)
    (folder / "JPEGImages/2007_000001.jpg").write_bytes(b"it has no mask, and is not read")
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for name, chosen in (("train", range(6)), ("val", range(6, 10))):
        text = "".join(f"Käfer {number:02}\n" for number in chosen)
        (lists / f"{name}.txt").write_text(text, encoding="utf-8")
    code, said, command = check(folder)
    assert code == 0, said
    with pytest.warns(UserWarning, match="neither list"):
        assert [len(each) for each in trained_on(command)] == [6, 4]


def test_names_of_colours_written_by_hand_stay(check, tmp_path):
    Pictures(tmp_path / "data").write(lambda labels: Image.fromarray(COLOURS[labels]))
    check(tmp_path / "data")
    table = tmp_path / "data/masks/colors.txt"
    text = table.read_text(encoding="utf-8")
    assert text.count("class ") >= 3
    table.write_text("#000000 rest\n#ff0000 red\n#0000ff sky blue\n", encoding="utf-8")
    code, said, command = check(tmp_path / "data")
    assert code == 0 and re.search("^sky blue +[0-9]", said, re.MULTILINE)
    assert "Give the classes names" not in said
    assert table.read_text(encoding="utf-8").startswith("#000000 rest")
    table.write_text("#000000 rest\n#ff0000 red\n", encoding="utf-8")
    code, said, _ = check(tmp_path / "data")
    assert code == 1 and said.count("#0000ff") == 10  # each of the masks by name


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("COCO", {"images": [], "annotations": [], "categories": []}),
        ("labelme", {"version": "5", "shapes": [], "imagePath": "a.jpg"}),
    ],
)
def test_outlines_in_json_are_made_into_masks_first(check, tmp_path, kind, content):
    (tmp_path / "data/images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data/images/a.jpg")
    path = tmp_path / "data/annotations/all.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")
    code, said, command = check(tmp_path / "data")
    source = path if kind == "COCO" else path.parent
    assert code == 1 and kind in said
    assert command[3:] == [
        *("make-masks", str(source), "--images", str(tmp_path / "data/images")),
        *("--out", str(tmp_path / "data/masks")),
    ]


def test_the_page_shows_what_the_text_says(check, tmp_path):
    Pictures(tmp_path / "data").write(palette)
    (tmp_path / "data/masks/Käfer 05.png").unlink()
    names = "rest,<b>red</b>,blue"
    code, said, command = check(tmp_path / "data", "--out", "page.html", "--classes", names)
    page = Reader(Path("page.html").read_bytes())
    assert code == 1 and "page.html: the same with pictures" in said
    assert shlex.join(command) in page.text and "<b>red</b>" in page.text
    lines = [line for line in said.splitlines() if line.startswith("- ") or "no partner" in line]
    assert len(lines) == 2
    for line in lines:
        assert line[2:] in page.text
    assert len(page.all("img")) == 8 + 1
    assert all(each["alt"].strip() for each in page.all("img"))
    assert any(
        "with its mask, which shows rest, <b>red</b>, blue" in x["alt"] for x in page.all("img")
    )


REFUSED = {
    "nothing to look at": ([], "FOLDER"),
    "a folder that is not there": (["nowhere"], "nowhere"),
    "nothing in it": (["empty"], "it holds nothing"),
    "a page of another kind": (["empty", "--out", "page.pdf"], "not a .html"),
    "images alone": (["--images", "empty"], "--masks"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_impossible_request_is_one_line_and_exit_code_two(check, tmp_path, case):
    arguments, words = case
    (tmp_path / "here/empty").mkdir()
    code, said, _ = check(*arguments)
    assert code == 2 and words in said and said.count("\n") == 1
    assert not re.search(r"\b[a-z_]+ ?= ?[\w…(]", said)
