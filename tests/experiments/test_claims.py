"""Runs are kept by the content of their settings, shared among processes, and told in tidy tables;
the models and pictures that are compared differ in what they should, and in nothing else.
"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.claims import __main__ as command
from experiments.claims import pictures, runs, tables
from experiments.claims.models import VITS, WithPosition, build, laid_anew, size_of
from experiments.claims.parts import BASE, PARTS, Part
from experiments.claims.runs import Cache
from experiments.claims.settings import LAID_ANEW, SIDE, Condition, Model, Run
from segformer_edu.data.scenes import CLASSES

ROOT = Path(__file__).resolve().parents[2]
MOSAICS = ("mosaic", LAID_ANEW)
SHORT = Run(steps=2, scenes=4, batch_size=2)
TINY = Part(
    question="",
    expected="",
    measure="",
    arms={
        "one": SHORT,
        "two": replace(SHORT, learning_rate=1e-3),
        "three": replace(SHORT, start=replace(SHORT, style="negatives")),
    },
    conditions=(
        Condition(scenes=2),
        Condition("noise", 3.0, scenes=2),
        Condition("noise", 5.0, scenes=2),
        Condition("seen"),
    ),
    seeds=(0, 1),
)


def few_pictures(style, scenes):
    chance = torch.Generator().manual_seed(len(style))
    images = torch.randn(scenes, 3, SIDE, SIDE, generator=chance)
    return images, (images[:, 0] > 0).byte()


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The command with the part TINY alone; its runs and tables in a folder of the test."""
    monkeypatch.setattr(runs, "training_pictures", few_pictures)
    monkeypatch.setattr(pictures, "training_pictures", few_pictures)
    monkeypatch.setattr(runs, "class_weights", lambda: torch.ones(len(CLASSES)))
    monkeypatch.setattr(command, "PARTS", {"tiny": TINY})
    trained = []
    train = Cache.train

    def counted(self, run, watch=iter):
        trained.append(run)
        train(self, run, watch)

    monkeypatch.setattr(Cache, "train", counted)

    def start(*arguments):
        trained.clear()
        options = ("--folder", str(tmp_path / "cache"), "--out", str(tmp_path), "--cpu")
        assert command.main([*options, *arguments]) == 0
        return list(trained)

    return start


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_trained_once_and_its_table_is_made_from_what_is_kept(tiny, tmp_path, capsys):
    first = tiny()
    before, after, written = capsys.readouterr().out.splitlines()
    assert before.endswith("told after the first.") and written == "tiny: 24 rows"
    assert after.startswith("7 runs to train, 0 to test again; about ")
    assert len(first) == len(set(first)) == 3 * 2 + 2  # three arms, two seeds, two to start from
    table = (tmp_path / "tiny.csv").read_bytes()
    (tmp_path / "tiny.csv").unlink()
    assert tiny() == []
    assert (tmp_path / "tiny.csv").read_bytes() == table


def test_the_table_has_a_row_for_each_arm_seed_and_condition(tiny, tmp_path):
    tiny()
    rows = read(tmp_path / "tiny.csv")
    named = [(row["arm"], row["seed"], row["pictures"], row["amount"]) for row in rows]
    assert named == [
        (arm, str(seed), each.pictures, str(each.amount))
        for arm in TINY.arms
        for seed in TINY.seeds
        for each in TINY.conditions
    ]
    for row in rows:
        assert all(row.values()) and 0 <= float(row["miou"]) <= 1
        assert float(row["miou"]) == pytest.approx(
            np.nanmean([float(row[f"iou {name}"]) for name in CLASSES]), abs=1e-3
        )


def test_a_changed_setting_is_trained_and_nothing_else(tiny, monkeypatch):
    tiny()
    changed = replace(SHORT, learning_rate=2e-3)
    monkeypatch.setattr(
        command, "PARTS", {"tiny": replace(TINY, arms=TINY.arms | {"two": changed})}
    )
    assert tiny() == [changed, changed.with_seed(1)]


def test_a_new_condition_is_tested_without_training(tiny, monkeypatch, tmp_path):
    tiny()
    conditions = (*TINY.conditions, Condition("blur", 1.0, scenes=2))
    monkeypatch.setattr(command, "PARTS", {"tiny": replace(TINY, conditions=conditions)})
    assert tiny() == []
    assert [row["pictures"] for row in read(tmp_path / "tiny.csv")].count("blur") == 6


def test_every_setting_is_part_of_the_name():
    others = {
        "model": Model(depth=2),
        "scenes": 7,
        "style": "negatives",
        "steps": 7,
        "learning_rate": 0.7,
        "warmup_steps": 7,
        "batch_size": 7,
        "seed": 7,
        "start": Run(),
    }
    assert set(others) == set(Run.__dataclass_fields__)
    keys = {replace(Run(), **{name: value}).key for name, value in others.items()}
    keys |= {replace(Run(), start=Run(seed=7)).key, Run().key}
    assert len(keys) == len(others) + 2
    assert Run().key == Run(model=Model()).key


def test_a_run_is_the_same_whenever_it_is_trained(tiny, tmp_path):
    tiny()
    cache, again = Cache(tmp_path / "cache"), TINY.arms["two"].with_seed(1)
    before = cache.trained(again).state_dict()
    cache.weights(again).unlink()
    assert tiny() == [again]
    after = cache.trained(again).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_starts_from_the_weights_of_another(tiny, tmp_path, monkeypatch):
    tiny()
    cache = Cache(tmp_path / "cache")
    standing = replace(TINY.arms["three"], learning_rate=0.0)
    cache.train(standing)
    begun, ended = (cache.trained(run).state_dict() for run in (standing.start, standing))
    weights = [name for name in begun if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(begun[name], ended[name]) for name in weights)
    fresh = build(SHORT.model).state_dict()
    assert not torch.equal(fresh["encoder.stages.0.blocks.0.attention.query.weight"],
                           ended["encoder.stages.0.blocks.0.attention.query.weight"])  # fmt: skip


# Three runs in processes of their own, from which the test reads who trained what.
PROGRAM = """
import sys, torch
sys.path.insert(0, {root!r})
from experiments.claims import __main__ as command, pictures, runs
from tests.experiments.test_claims import TINY, few_pictures
from segformer_edu.data.scenes import CLASSES

runs.training_pictures = pictures.training_pictures = few_pictures
runs.class_weights = lambda: torch.ones(len(CLASSES))
command.PARTS = {{"tiny": TINY}}
train = runs.Cache.train

def told(self, run, watch=iter):
    train(self, run, watch)
    # in one piece: the launcher's processes write each as it comes, so another may come between
    sys.stdout.write(f"trained {{run.key}} {{command.PartialState().process_index}}\\n")
    sys.stdout.flush()

runs.Cache.train = told
sys.exit(command.main())
"""
LAUNCH = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
)


def started(folder, *launcher):
    program = folder / "program.py"
    program.write_text(PROGRAM.format(root=str(ROOT)), encoding="utf-8")
    options = ("--folder", folder / "cache", "--out", folder, "--cpu")
    return subprocess.Popen(
        [*map(str, (sys.executable, *launcher, program, *options))],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def one_process(tiny, tmp_path, one_thread):
    tiny()
    return without_times(read(tmp_path / "tiny.csv"))


@pytest.mark.skipif(os.name == "nt", reason="torch's launcher does not start there")
def test_two_processes_share_the_runs_and_write_the_table_of_one(one_process, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    process = started(folder, *LAUNCH)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    lines = [line.split()[1:] for line in out.splitlines() if line.startswith("trained")]
    keys = [key for key, _ in lines]
    assert len(keys) == len(set(keys)) == 8  # each once
    assert {process for _, process in lines} == {"0", "1"}
    assert without_times(read(folder / "tiny.csv")) == one_process


def test_a_killed_command_goes_on_where_it_was(one_process, tmp_path, tiny, monkeypatch):
    folder = tmp_path / "killed"
    folder.mkdir()
    process = started(folder)
    for line in process.stdout:
        if line.startswith("trained"):
            break
    process.kill()
    process.communicate()
    kept = set((folder / "cache").glob("*.safetensors"))
    assert kept and not (folder / "tiny.csv").exists()
    again = started(folder)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    trained = {line.split()[1] for line in out.splitlines() if line.startswith("trained")}
    assert trained.isdisjoint(path.stem for path in kept) and len(trained) == 8 - len(kept)
    assert without_times(read(folder / "tiny.csv")) == one_process


def test_a_file_that_was_not_finished_does_not_count(tiny, tmp_path):
    tiny()
    for path in (tmp_path / "cache").iterdir():
        assert path.suffix in (".json", ".safetensors")


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_every_run_belongs_to_one_process_and_stays_with_the_run_it_starts_from(processes):
    work = command.work_of(PARTS.values())
    shares = [command.share(work, process, processes) for process in range(processes)]
    assert sum(map(len, shares)) == len(work)
    assert set().union(*shares) == set(work)
    for one, other in combinations(shares, 2):
        assert {run.root for run in one}.isdisjoint(run.root for run in other)
    sizes = [len({run.root for run in share}) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_forecast_counts_the_runs_that_are_left(tiny, tmp_path):
    cache, work = Cache(tmp_path / "cache"), command.work_of([TINY])
    assert command.forecast(cache, work) == (
        "8 runs to train, 0 to test again; how long that takes is told after the first."
    )
    cache.train(SHORT)
    took = runs.safe_open

    class Slow:  # as if the run had taken a minute a step
        def __init__(self, *args):
            self.file = took(*args)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def metadata(self):
            told = json.loads(self.file.metadata()["took"])
            return {"took": json.dumps(told | {"seconds": 120.0})}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "safe_open", Slow)
        told = command.forecast(cache, work)
        shared = command.forecast(cache, work, processes=2)
    assert told == "7 runs to train, 1 to test again; about 14 minutes of training."
    assert shared == "7 runs to train, 1 to test again; about 7 minutes of training."
    tiny()
    assert command.forecast(cache, work) == "0 runs to train, 0 to test again."


def test_figures_are_drawn_from_the_tables_alone(tiny, tmp_path, capsys):
    tiny()
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    assert tiny("--figures") == []
    drawn = [tmp_path / "tiny_0.png", tmp_path / "tiny_1.png"]
    assert capsys.readouterr().out.split()[-2:] == [*map(str, drawn)]
    first = [path.read_bytes() for path in drawn]
    table = tmp_path / "tiny.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    better = [row.replace("scene,1.0,0", "scene,1.0,1") for row in rows if "three" in row]
    table.write_text("\n".join([header, *rows[: -len(better)], *better]), encoding="utf-8")
    tiny("--figures")
    assert all(path.read_bytes() != old for path, old in zip(drawn, first, strict=True))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--figures", "--out", "{file}"], "has no table of these parts"),
        (["robustnes"], "PART 'robustnes' is not one of resolution,"),
        (["--folder", "{file}"], "file"),
        (["--fast"], "--help says more"),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(arguments, told, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    try:
        code = command.main([each.format(file=file) for each in arguments])
    except SystemExit as exit:  # argparse's own
        code = exit.code
    _, err = capsys.readouterr()
    assert code == 2 and told in err and err.count("\n") == 1


def test_all_parts_run_for_three_steps_and_leave_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "PARTS", {name: PARTS[name] for name in ("ratios", "decoder")})
    before = set(tables.HERE.iterdir())
    assert command.main(["--quick", "--cpu"]) == 0
    assert "ratios: 12 rows\ndecoder: 12 rows\n" in capsys.readouterr().out
    assert set(tables.HERE.iterdir()) == before and not list(tmp_path.iterdir())


# The parts


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_no_two_arms_of_a_part_are_the_same_run(part):
    assert len({run.key for run in part.arms.values()}) == len(part.arms)
    assert all(run.seed == 0 for run in part.arms.values())
    assert all(text[-1] in ".?" for text in (part.question, part.expected, part.measure))


def test_the_parts_share_the_run_that_they_start_from():
    for name in ("resolution", "robustness", "ratios", "decoder", "scaling"):
        assert BASE in PARTS[name].arms.values(), name


STORED = sorted(path.stem for path in tables.HERE.glob("*.csv"))


@pytest.mark.parametrize("name", STORED)
def test_a_stored_table_is_that_of_its_part(name):
    part, found = PARTS[name], read(tables.HERE / f"{name}.csv")
    expected = {
        (arm, run.key, str(run.seed), each.pictures, str(each.amount))
        for arm, run in part.runs()
        for each in part.conditions
    }
    columns = ("arm", "run", "seed", "pictures", "amount")
    rows = [tuple(row[column] for column in columns) for row in found]
    assert len(rows) == len(expected) and set(rows) == expected
    of_run = {row["run"]: (row["seconds"], row["machine"]) for row in found}
    assert all((row["seconds"], row["machine"]) == of_run[row["run"]] for row in found)


def test_a_run_that_several_stored_tables_hold_is_the_same_in_all():
    scored = {}
    for name in STORED:
        for row in read(tables.HERE / f"{name}.csv"):
            told = (row["run"], row["pictures"], row["amount"])
            assert scored.setdefault(told, row["miou"]) == row["miou"], told


# The models


def maps(model, images):
    with torch.no_grad():
        return build(model).eval().encoder(images)


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_all_arms_of_the_part_on_resolution_have_tokens_of_the_same_places(padding):
    images = torch.randn(1, 3, 96, 64)
    for overlap in (True, False):
        shapes = [tuple(x.shape[2:]) for x in maps(Model(overlap=overlap, padding=padding), images)]
        assert shapes == [(24, 16), (12, 8), (6, 4), (3, 2)]


def test_without_overlap_convolution_and_attention_a_token_sees_its_patch_alone():
    alone = Model(kind="no attention", overlap=False, convolution=False)
    images = torch.randn(1, 3, 64, 64)
    for changed, same in ((alone, True), (replace(alone, convolution=True), False)):
        torch.manual_seed(0)
        model = build(changed).eval()
        with torch.no_grad():
            before = model.encoder(images)[3]
            other = images.clone()
            other[..., 32:] = 0
            after = model.encoder(other)[3]
        assert torch.equal(before[..., 0], after[..., 0]) == same
        assert not torch.equal(before[..., 1], after[..., 1])


def test_only_zeros_and_embeddings_tell_position_on_a_flat_picture():
    flat = torch.ones(1, 3, 64, 64)
    for settings, told in (
        ({"padding": "replicate"}, False),
        ({"padding": "replicate", "convolution": False}, False),
        ({"padding": "replicate", "kind": "convolution"}, False),
        ({"overlap": False, "convolution": False}, False),
        ({"padding": "zeros"}, True),
        ({"padding": "zeros", "convolution": False}, True),  # by the patches that overlap
        ({"padding": "replicate", "convolution": False, "embedding": True}, True),
        ({"overlap": False, "convolution": False, "embedding": True}, True),
    ):
        torch.manual_seed(0)
        for x in maps(Model(**settings), flat):
            differs = (x - x[..., :1, :1]).abs().max() > 1e-4
            assert differs == told, settings


def test_position_embeddings_are_resized_with_the_map():
    model = build(Model(embedding=True))
    embedding = model.encoder.stages[0].patch_embedding
    with torch.no_grad():
        embedding.position.copy_(torch.linspace(-1, 1, 16)[None, None, :, None])
        plain = embedding.embedding(torch.randn(1, 3, 128, 64))
        embedding.embedding = torch.nn.Identity()
        added = embedding(plain) - plain
    torch.testing.assert_close(added[0, :, 0, 0], added[0, :, 5, 3])
    rows = added[0, 1:-1, 0, 0]
    torch.testing.assert_close(rows.diff(), torch.full((29,), 2 / 15 / 2), atol=1e-5, rtol=1e-4)


def test_with_its_embedding_laid_anew_a_model_that_sees_patches_alone_treats_each_scene_as_before():
    alone = Model(kind="no attention", overlap=False, convolution=False, embedding=True)
    model, images = build(alone).eval(), torch.randn(4, 3, SIDE, SIDE)
    wide, _ = pictures.mosaics(images, images[:, 0], 2)
    with torch.no_grad():
        of_each = model.encoder(images)[3]
        anew, resized = (each.encoder(wide)[3] for each in (laid_anew(model, 2), model))
    together, _ = pictures.mosaics(of_each, of_each[:, 0], 2)
    torch.testing.assert_close(anew, together)
    assert not torch.allclose(resized, together)


@pytest.mark.parametrize("embedding", [True, False])
def test_mosaics_are_scored_with_the_embedding_laid_anew_where_that_is_asked(embedding, tmp_path):
    torch.manual_seed(0)
    model, cache = build(Model(embedding=embedding, convolution=False)).eval(), Cache(tmp_path)
    for part in model.modules():
        if isinstance(part, WithPosition):
            torch.nn.init.normal_(part.position)
    resized, anew = (cache.score(model, Condition(kind, 2.0, 4), BASE) for kind in MOSAICS)
    assert (resized != anew) == embedding


def test_the_convolution_net_is_as_large_as_segformer():
    ours, theirs = size_of(Model()), size_of(Model(kind="convolution"))
    assert ours == pytest.approx(theirs, rel=0.01)
    assert size_of(Model(kind="no attention"))[0] < 0.8 * ours[0]


@pytest.mark.parametrize("kind", VITS)
def test_the_plain_vits_cost_no_more_than_segformer(kind):
    parameters, multiply_adds = size_of(Model(kind=kind))
    ours = size_of(Model())
    assert parameters < ours[0] and 0.8 * ours[1] < multiply_adds <= ours[1]


# The pictures


def test_a_mosaic_holds_whole_scenes_and_tiles_are_parts_of_one():
    images, labels = torch.randn(9, 3, 4, 6), torch.arange(9 * 24).view(9, 4, 6)
    wide, named = pictures.mosaics(images, labels, 2)
    assert wide.shape == (2, 3, 8, 12) and named.shape == (2, 8, 12)
    for mosaic, row, column in np.ndindex(2, 2, 2):
        here = (slice(4 * row, 4 * row + 4), slice(6 * column, 6 * column + 6))
        scene = 4 * mosaic + 2 * row + column
        assert torch.equal(wide[mosaic][:, here[0], here[1]], images[scene])
        assert torch.equal(named[mosaic][here], labels[scene])
    again, labels_again = pictures.tiles(wide, named, 2)
    assert torch.equal(again, images[:8]) and torch.equal(labels_again, labels[:8])


def test_conditions_are_of_the_size_and_number_that_they_say():
    assert pictures.unseen(Condition("scene", 1.5, 3))[0].shape == (3, 3, 96, 96)
    assert pictures.unseen(Condition("tiles", 2.0, 3))[0].shape == (12, 3, 64, 64)
    assert pictures.unseen(Condition("mosaic", 2.0, 9))[0].shape == (2, 3, 128, 128)
    clean, noisy = (pictures.unseen(Condition(kind, 1.0, 3)) for kind in ("scene", "noise"))
    assert torch.equal(clean[1], noisy[1]) and not torch.equal(clean[0], noisy[0])


@pytest.fixture
def _small_blocks(monkeypatch):
    monkeypatch.setattr(pictures, "BLOCK", 2)
    pictures.block.cache_clear()
    yield
    pictures.block.cache_clear()


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("style", ["scenes", "negatives", "tiles"])
def test_styles_are_what_they_are_called(style):
    images, labels = pictures.training_pictures(style, 5)
    seed, size = int(style == "negatives"), 2 * SIDE if style == "tiles" else SIDE
    drawn = pictures.Scenes(5, size, seed)
    for index in range(5):
        picture, true = drawn.picture(index)
        if style == "negatives":
            picture = 255 - picture
        if style == "tiles":
            tiles = pictures.tiles(*(x[None] for x in pictures.as_tensors(picture, true)), 2)
            expected, true = (x[index % 4] for x in tiles)
        else:
            expected = pictures.as_tensors(picture, true)[0]
        assert torch.equal(images[index], expected)
        assert np.array_equal(labels[index], true)
