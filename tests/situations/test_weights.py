"""Weights as trainers leave them, runs, deployment: they work, or it is said why not."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segformer_edu import SegFormer
from segformer_edu.training import Settings
from tests.situations.making import (
    SEEN,
    STRIPS,
    TINY,
    Situation,
    check_words,
    files_in,
    grey,
    happens,
    labelled,
    pair,
    pairs,
    picture,
    refused,
    save,
    scored,
    shades,
    write,
)

SEGMENT = "segment a.png --weights {} --write labels --out out.png"
GIVEN = SEGMENT.format("given")
FILES = "--data folder --images images --masks masks"
TRAIN = f"train --out run {FILES} --classes ground,red,blue {TINY} --validation 2"
EVALUATE = f"evaluate {FILES} --cpu --out scores.json --weights {{}}"
RIGHT = labelled("out.png")


def given(change, name="pytorch_model.bin", config=None):
    """The weights that see, as another trainer would have stored them in a folder."""

    def make(folder):
        save(folder / "a.png", picture())
        content = change(load_file(folder / "seeing/model.safetensors"))
        settings = json.loads((folder / "seeing/config.json").read_text(encoding="utf-8"))
        write(folder / "given/config.json", json.dumps(settings | (config or {})))
        if name.endswith(".safetensors"):
            save_file(content, folder / "given" / name)
        else:
            torch.save(content, folder / "given" / name)

    return make


def prefixed(prefix):
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()}


def of_type(dtype):
    return lambda state: {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def without(word):
    return lambda state: {name: tensor for name, tensor in state.items() if word not in name}


def file_of(name, content, photo=True):
    """A file, text or bytes, and a photograph."""

    def make(folder):
        if photo:
            save(folder / "a.png", picture())
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


class Whole(torch.nn.Module):
    """A model that was stored whole, which is a program."""


def program(folder):
    save(folder / "a.png", picture())
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "given.pt")


def a_run(folder):
    """What a run leaves."""
    pairs(folder)
    save(folder / "a.png", picture())
    TINY_RUN(folder)


def TINY_RUN(folder):
    for name in ("best", "last"):
        seeing = folder / "seeing"
        for path in seeing.iterdir():
            (folder / "run" / name).mkdir(parents=True, exist_ok=True)
            (folder / "run" / name / path.name).write_bytes(path.read_bytes())
    settings = Settings(
        data="folder",
        images=str(folder / "images"),
        masks=str(folder / "masks"),
        classes=("ground", "red", "blue"),
        validation_names=str(folder / "run/validation.txt"),
        training_names=str(folder / "run/training.txt"),
    )
    write(folder / "run/settings.yaml", settings.to_yaml())
    write(folder / "run/validation.txt", "03\n")
    write(folder / "run/training.txt", "00\n01\n02\n")
    state = {"network": {}, "optimizer": {}, "log_bytes": 3}
    torch.save(state, folder / "run/last.pt")


WEIGHTS = {
    # ---- whoever wrapped them ----
    "as they are": Situation(given(dict), GIVEN, RIGHT),
    "of DistributedDataParallel": Situation(given(prefixed("module.")), GIVEN, RIGHT),
    "of Lightning": Situation(
        given(lambda s: {"state_dict": prefixed("model.")(s), "epoch": 3, "global_step": 9}),
        GIVEN,
        RIGHT,
    ),
    "of torch.compile": Situation(given(prefixed("_orig_mod.")), GIVEN, RIGHT),
    "of all three": Situation(
        given(lambda s: {"state_dict": prefixed("model._orig_mod.module.")(s)}), GIVEN, RIGHT
    ),
    "with the optimizer beside them": Situation(
        given(lambda s: {"model": s, "optimizer": {"state": {}}, "epoch": 3}), GIVEN, RIGHT
    ),
    "called model_state_dict": Situation(
        given(lambda s: {"model_state_dict": s, "loss": 0.1}), GIVEN, RIGHT
    ),
    "an average of weights": Situation(given(lambda s: {"ema": s}), GIVEN, RIGHT),
    "called net": Situation(given(prefixed("net.")), GIVEN, RIGHT),
    # ---- how numbers are stored ----
    "in 16 bits": Situation(given(of_type(torch.float16), "model.safetensors"), GIVEN, RIGHT),
    "in bfloat16": Situation(given(of_type(torch.bfloat16), "model.safetensors"), GIVEN, RIGHT),
    "in 64 bits": Situation(given(of_type(torch.float64)), GIVEN, RIGHT),
    "in the zipless form of old versions": Situation(
        lambda f: [
            given(dict)(f),
            torch.save(
                torch.load(f / "given/pytorch_model.bin"),
                f / "given/pytorch_model.bin",
                _use_new_zipfile_serialization=False,
            ),
        ],
        GIVEN,
        RIGHT,
    ),
    "in whole numbers": Situation(
        given(lambda s: {name: tensor.to(torch.int8) for name, tensor in s.items()}),
        GIVEN,
        refused("int8"),
    ),
    "under a name of one's own": Situation(given(dict, "iter_4000.pth"), GIVEN, RIGHT),
    "of which the file is named": Situation(
        given(dict, "iter_4000.pth"), SEGMENT.format("given/iter_4000.pth"), RIGHT
    ),
    "several in a folder": Situation(
        lambda f: [given(dict, "a.pth")(f), given(dict, "b.pth")(f)],
        GIVEN,
        refused("a.pth, b.pth", "Give the path"),
    ),
    # ---- what is no model ----
    "a pointer of Git LFS": Situation(
        file_of(
            "given/model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        ),
        GIVEN,
        refused("pointer that Git LFS left", "git lfs pull"),
    ),
    "an adapter": Situation(
        file_of("given/adapter_config.json", "{}"), GIVEN, refused("adapter", "merge_and_unload()")
    ),
    "a run": Situation(a_run, SEGMENT.format("run"), refused("run holds a run", "run/best")),
    "what a run resumes from": Situation(
        a_run, SEGMENT.format("run/last.pt"), refused("from where a run resumes", "run/best")
    ),
    "a program of TorchScript": Situation(
        program,
        SEGMENT.format("given.pt"),
        refused("TorchScript, a program", "Nothing in it was run"),
    ),
    "a model stored whole": Situation(
        lambda f: [save(f / "a.png", picture()), torch.save(Whole(), f / "given.pt")],
        SEGMENT.format("given.pt"),
        refused("holds more than tensors", "Whole", "Nothing in it was run"),
    ),
    "a page of a web server": Situation(
        file_of("given.pth", "<!DOCTYPE html>"),
        SEGMENT.format("given.pth"),
        refused("given.pth is not a readable file"),
    ),
    "empty": Situation(
        file_of("given.safetensors", b""),
        SEGMENT.format("given.safetensors"),
        refused("given.safetensors", "Fetch it again"),
    ),
    "ONNX": Situation(
        file_of("given.onnx", b"\x08\x08"),
        SEGMENT.format("given.onnx"),
        refused("'.onnx'", ".safetensors, .pth"),
    ),
    "Keras": Situation(
        file_of("given.h5", b"\x89HDF"),
        SEGMENT.format("given.h5"),
        refused("'.h5'", ".safetensors, .pth"),
    ),
    "safetensors called .pth": Situation(
        lambda f: [
            save(f / "a.png", picture()),
            (f / "given.pth").write_bytes((f / "seeing/model.safetensors").read_bytes()),
        ],
        SEGMENT.format("given.pth"),
        refused("given.pth is not a readable file", "another format"),
    ),
    "another network": Situation(
        given(lambda s: {"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(9, 9)}),
        GIVEN,
        refused("conv1.weight"),
    ),
    "weights of no size that is known, and no config": Situation(
        lambda f: [given(dict)(f), (f / "given/config.json").unlink()], GIVEN, refused("config")
    ),
    "a config of other sizes": Situation(
        given(dict, config={"hidden_sizes": [6]}), GIVEN, refused("config.json")
    ),
    "a layer is missing": Situation(given(without("patch_embed")), GIVEN, refused("patch_embed")),
    "there is no such path": Situation(
        lambda f: save(f / "a.png", picture()),
        SEGMENT.format("weights.pth"),
        refused("weights.pth", "path of one that exists"),
    ),
}


@pytest.mark.parametrize("situation", WEIGHTS.values(), ids=WEIGHTS)
def test_weights(place, situation):
    happens(situation, place)


# ---- runs ----


def trains(*words, steps=1, held=None, classes=("ground", "red", "blue")):
    """A run of so many steps, which says these words, and holds out these pictures."""

    def look(found, before):
        assert found.code == 0, found
        check_words(found, words)
        assert bool(found.err) == bool(words), found.err
        run = found.folder / "run"
        log = (run / "log.csv").read_text(encoding="utf-8").splitlines()
        assert len(log) == steps + 1
        assert SegFormer.from_pretrained(run / "best").config.class_names == tuple(classes)
        if held is not None:
            assert (run / "validation.txt").read_text(encoding="utf-8").split() == list(held)
        after = files_in(found.folder)
        assert all(path == run or run in path.parents for path in {*after} - {*before})
        assert {path: after.get(path) for path in before} == before

    return look


def listed(text, name="held.txt"):
    def make(folder):
        pairs(folder)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return make


def settings_file(text):
    def make(folder):
        pairs(folder)
        (folder / "mine.yaml").write_bytes(text.encode() if isinstance(text, str) else text)

    return make


def black_and_white(folder):
    for name in "abcd":
        save(folder / f"images/{name}.png", shades())
        save(folder / f"masks/{name}.png", grey())


def refuses(command, *words, make=pairs):
    return Situation(make, command, refused(*words))


RUNS = {
    "four pictures": Situation(pairs, TRAIN, trains()),
    "from weights of other classes": Situation(
        pairs,
        TRAIN.replace("ground,red,blue", "a,b,c").replace(
            TINY,
            "--weights seeing --size 16 --steps 1 --batch-size 2 --warmup-steps 0 --cpu --quiet",
        ),
        trains(classes="abc"),
    ),
    "fewer pictures than a batch": Situation(pairs, f"{TRAIN} --batch-size 16", trains()),
    "epochs": Situation(pairs, TRAIN.replace("--steps 1", "--epochs 3"), trains(steps=3)),
    "a list to hold out, of Windows": Situation(
        listed("\ufeffimages\\00.png\r\n\r\n02.png\r\n"),
        f"{TRAIN} --validation-names held.txt",
        trains(held=["00", "02"]),
    ),
    "one logit for two classes": Situation(
        black_and_white,
        TRAIN.replace("ground,red,blue", 'rest,crack --values 0,255 --ignore ""')
        + " --set num_classes=1",
        trains(classes=("rest", "crack")),
    ),
    "a class that nobody drew": Situation(
        pairs,
        TRAIN.replace("ground,red,blue", "ground,red,blue,green"),
        trains(
            "No training picture shows green",
            "--values",
            classes=("ground", "red", "blue", "green"),
        ),
    ),
    "validated on another folder": Situation(
        lambda f: [pairs(f), pair(f, "x", images="more/images", masks="more/masks")],
        f"{TRAIN} --validation-images more/images --validation-masks more/masks",
        trains(held=["x"]),
    ),
    "in a folder that holds something else": Situation(
        lambda f: [pairs(f), write(f / "run/letter.txt", "Dear")], TRAIN, trains()
    ),
    "resumed before it began": Situation(
        pairs, f"{TRAIN} --resume", trains("run holds no run yet, so one begins there")
    ),
    # ---- refused before the first step ----
    "a file where the run should be": refuses(
        TRAIN, "run", make=lambda f: [pairs(f), write(f / "run", "Dear")]
    ),
    "a run that is there": refuses(TRAIN, "run", "--resume", make=a_run),
    "all held out": refuses(f"{TRAIN} --validation 0", "--validation 0 holds out all"),
    "more held out than there are": refuses(f"{TRAIN} --validation 9", "--validation 9"),
    "a list that names nothing": refuses(
        f"{TRAIN} --validation-names held.txt", "held.txt names no picture", make=listed("\n\n")
    ),
    "a list that is a table": refuses(
        f"{TRAIN} --validation-names held.txt",
        "held.txt cannot be read as text",
        make=listed(b"PK\x03\x04\xff\xfe"),
    ),
    "a list with a picture that is gone": refuses(
        f"{TRAIN} --validation-names held.txt", "99 has no photograph", make=listed("00\n99\n")
    ),
    "a picture to train on and to validate on": refuses(
        f"{TRAIN} --validation-names held.txt --training-names held.txt",
        "cannot be in both",
        make=listed("00\n"),
    ),
    "one class": refuses(
        TRAIN.replace("ground,red,blue", "crack"),
        "--classes crack is one class",
        "--classes rest,crack",
        "--values 0,255",
    ),
    "no classes": refuses(
        TRAIN.replace("--classes ground,red,blue", ""), "--classes … is missing", "--colors"
    ),
    "fewer classes than the masks have": refuses(
        TRAIN.replace("ground,red,blue", "ground,red"), "holds 2", "--values", "--ignore"
    ),
    "masks without their folder": refuses(
        TRAIN.replace("--masks masks", ""), "--masks … is missing"
    ),
    "a model that there is not": refuses(f"{TRAIN} --model b9", "b9", "b0"),
    "a field that there is not": refuses(f"{TRAIN} --set depth=3", "depth"),
    "other classes than those that are named": refuses(
        f"{TRAIN} --set num_classes=7", "num_classes", "7"
    ),
    "a size below the model's": refuses(f"{TRAIN} --size 2", "--size 2"),
    "steps of no learning": refuses(
        f"{TRAIN} --learning-rate 0", "--learning-rate", "nothing would be learned"
    ),
    "a number that is none": refuses(
        f"{TRAIN} --learning-rate 6e-5x", "--learning-rate 6e-5x", "a number"
    ),
    "steps and epochs": refuses(f"{TRAIN} --epochs 2", "--steps 1 and --epochs 2"),
    "a loss that there is not": refuses(f"{TRAIN} --loss iou", "iou", "focal+dice"),
    "a flag that is spelled otherwise": refuses(f"{TRAIN} --lr 1", "--lr", "--help"),
    "a pattern that the shell replaced": refuses(
        TRAIN.replace("--images images", "--images images/00.png images/01.png"),
        "put a pattern in quotes",
    ),
    "a setting in YAML that there is not": refuses(
        f"{TRAIN} --config mine.yaml", "mine.yaml", "'lr'", make=settings_file("lr: 1\n")
    ),
    "YAML with a tab": refuses(
        f"{TRAIN} --config mine.yaml",
        "mine.yaml is not readable YAML",
        make=settings_file("\tsteps: 1\n"),
    ),
    "YAML of a program that writes UTF-16": refuses(
        f"{TRAIN} --config mine.yaml",
        "mine.yaml is not readable",
        make=settings_file("steps: 1\n".encode("utf-16")),
    ),
    "bands of photographs": refuses(
        f"{TRAIN} --bands 3", "images/00.png is no file of bands", ".tif"
    ),
    # ---- scored ----
    "the pictures that the run held out": Situation(
        a_run,
        "evaluate --weights run/best --config run/settings.yaml --cpu --out scores.json",
        scored(SEEN),
    ),
    "the folder has grown since": Situation(
        lambda f: [a_run(f), pair(f, "09")],
        "evaluate --weights run/best --config run/settings.yaml --cpu --out scores.json",
        scored(SEEN, "neither list of names (1)", "left out"),
    ),
    "a picture of the run is gone": refuses(
        "evaluate --weights run/best --config run/settings.yaml --cpu --out scores.json",
        "03 has no photograph",
        make=lambda f: [a_run(f), (f / "images/03.png").unlink(), (f / "masks/03.png").unlink()],
    ),
    "scores as a table": refuses(
        EVALUATE.format("seeing").replace("scores.json", "s.xlsx"), "s.xlsx is not a .json"
    ),
    "weights of two classes for masks of three": refuses(
        f"{EVALUATE.format('bright')} --classes ground,red,blue",
        "bright tells 2 classes apart",
        "have 3",
    ),
}


@pytest.mark.parametrize("situation", RUNS.values(), ids=RUNS)
def test_runs(place, situation):
    happens(situation, place)


# ---- deployment ----


def answers(file, labels=STRIPS, photo=None):
    """ONNX Runtime, given the photograph as the file says, finds the labels."""

    def look(found, before):
        import onnxruntime

        from segformer_edu.data.photos import normalize

        assert found.code == 0, found
        session = onnxruntime.InferenceSession(found.folder / file)
        inputs = normalize(picture() if photo is None else photo).numpy()
        name = session.get_inputs()[0].name
        (logits, *_) = session.run(None, {name: inputs})
        if logits.ndim == 4:
            logits = (
                torch.nn.functional.interpolate(
                    torch.tensor(logits), labels.shape, mode="bilinear"
                )[0]
                .argmax(0)
                .numpy()
            )
        np.testing.assert_array_equal(np.array(logits).reshape(labels.shape), labels)

    return look


DEPLOYED = {
    "ONNX": Situation(
        lambda f: None, "export --weights seeing --out model.onnx", answers("model.onnx")
    ),
    "a program as ONNX's name": refuses(
        "export --weights seeing --out model.pb", "model.pb", make=lambda f: None
    ),
    "a folder that there is not": refuses(
        "export --weights seeing --out new/model.onnx", "no folder new", make=lambda f: None
    ),
    "8 bits without photographs": refuses(
        "export --weights seeing --out model.onnx --int8", "--calibrate", make=lambda f: None
    ),
    "an opset that is too old": refuses(
        "export --weights seeing --out model.onnx --opset 3",
        "--opset",
        "3",
        "17",
        make=lambda f: None,
    ),
}


@pytest.mark.parametrize("situation", DEPLOYED.values(), ids=DEPLOYED)
def test_deployment(place, situation):
    happens(situation, place)
