"""A run learns, logs, averages and accumulates as it says, and stops with a message."""

import csv
import errno
import math
import os
import signal
from itertools import chain, product, repeat

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from tqdm.auto import tqdm

from segformer_edu import SegFormer
from segformer_edu.training import Scores, evaluate, run_folder, scores, train
from segformer_edu.training import loop as loop_module
from segformer_edu.training.gradient import compute_gradient
from segformer_edu.training.parts import Parts, assemble, start_accelerator, step_seed
from tests.training import rectangles
from tests.training.rectangles import Rectangles

FILES = ["best", "last", "last.pt", "log.csv", "settings.yaml"]


def log_of(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file, restval=""))


def content(folder):
    """Every file of a run, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def quiet(settings, folder, **options):
    return train(settings, folder, progress=False, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function that gives the folder of a run that nothing disturbed, made once."""
    folders = {}

    def folder(settings):
        key = settings.to_yaml()
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("undisturbed") / "run"
            quiet(settings, folders[key], data=rectangles.data())
        return folders[key]

    return folder


@pytest.fixture
def assert_resumes(undisturbed, data):
    """A function that resumes a run, and asserts that it ends as an undisturbed one does."""

    def check(settings, folder):
        quiet(settings, folder, data=data, resume=True)
        other = undisturbed(settings)
        found, expected = content(folder), content(other)
        assert found.keys() == expected.keys()
        for name in found.keys() - {"last.pt"}:
            assert found[name] == expected[name], name
        one, two = (torch.load(each / "last.pt") for each in (folder, other))
        torch.testing.assert_close(one, two, rtol=0, atol=0)

    return check


@pytest.fixture(autouse=True)
def curves_wait():
    """Pictures are drawn by test_curves.py and test_report.py, and take longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:  # which a test's own undo() leaves alone
        patch.setattr(run_folder, "draw_curves", lambda log, picture: None)
        patch.setattr(loop_module, "report", lambda run, parts, progress: None)
        yield


def test_it_learns(settings, data, tmp_path):
    settings = settings.replace(steps=60, batch_size=8, validate_every=30)
    model = quiet(settings, tmp_path / "run", data=data)
    rows = log_of(tmp_path / "run")
    losses = [float(row["loss"]) for row in rows]
    assert [int(row["step"]) for row in rows] == list(range(1, 61))
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:3])
    assert float(rows[-1]["miou"]) > 0.6 and not model.training
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_what_it_logs_is_what_the_saved_weights_score(settings, data, tmp_path, ema_decay):
    model = quiet(settings.replace(ema_decay=ema_decay), tmp_path / "run", data=data)
    rows = log_of(tmp_path / "run")
    validated = [row for row in rows if row["miou"]]
    assert [row["step"] for row in validated] == ["4", "8", "12"]
    best = max(validated, key=lambda row: float(row["miou"]))
    for name, row in (("best", best), ("last", rows[-1])):
        saved = SegFormer.from_pretrained(tmp_path / "run" / name)
        found = scores(evaluate(saved, data[1], batch_size=4))
        assert saved.config.class_names == data[0].class_names
        assert found.miou == pytest.approx(float(row["miou"]), rel=1e-6)
        assert found.pixel_accuracy == pytest.approx(float(row["pixel_accuracy"]), rel=1e-6)
        logged = [float(row[f"iou {name}"]) for name in data[0].class_names]
        assert found.iou == pytest.approx(logged, rel=1e-6)
    last = SegFormer.from_pretrained(tmp_path / "run/last")
    assert all(map(torch.equal, last.state_dict().values(), model.state_dict().values()))


@pytest.mark.parametrize("progress", [True, False])
def test_validation_has_a_bar_where_the_run_has_one(
    settings, data, tmp_path, monkeypatch, progress
):
    class Bar(tqdm):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            hidden.append(self.disable)  # which closing it sets

    hidden = []
    monkeypatch.setattr("segformer_edu.training.evaluation.tqdm", Bar)
    train(settings, tmp_path / "run", data=data, progress=progress)
    assert hidden == [not progress] * 3


def test_every_step_has_the_learning_rate_of_the_schedule(settings, data, tmp_path):
    quiet(settings, tmp_path / "run", data=data)
    rates = [float(row["learning_rate"]) for row in log_of(tmp_path / "run")]
    shares = [min(1, step / 3) * (13 - step) / 12 for step in range(1, 13)]  # 3 steps warm it up
    assert rates == pytest.approx([settings.learning_rate * share for share in shares])


@pytest.mark.parametrize("loss", ["focal", "dice", "cross-entropy+dice", "focal+dice"])
def test_it_learns_by_every_loss(settings, data, tmp_path, loss):
    settings = settings.replace(loss=loss, steps=60, batch_size=8, validate_every=60)
    quiet(settings, tmp_path / "run", data=data)
    rows = log_of(tmp_path / "run")
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
    assert float(rows[-1]["miou"]) > 0.5


def test_dropout_has_a_seed_for_each_run_step_and_process():
    seeds = {step_seed(*numbers) for numbers in product(range(4), repeat=3)}
    assert len(seeds) == 4**3


def test_a_run_is_the_same_every_time_and_workers_change_nothing(settings, data, tmp_path):
    quiet(settings, tmp_path / "one", data=data)
    torch.manual_seed(99)  # whatever was drawn before
    quiet(settings.replace(workers=1), tmp_path / "two", data=data)
    one, two = (content(tmp_path / name) for name in ("one", "two"))
    for name in ("log.csv", "last/model.safetensors", "best/model.safetensors"):
        assert one[name] == two[name]
    quiet(settings.replace(seed=1), tmp_path / "three", data=data)
    assert content(tmp_path / "three")["log.csv"] != one["log.csv"]


def test_workers_share_the_cache_that_one_process_would_have(settings, data):
    """Each of them has a copy of the data set, which fills on its own."""
    for workers, room in ((0, 12), (1, 12), (2, 6)):
        changed = settings.replace(workers=workers, cache_mb=12, class_weights=False)
        parts = assemble(changed, data, start_accelerator(changed), None)
        assert parts.pictures.room == room * 10**6


def test_the_last_weights_of_an_averaged_run_are_the_average(settings, data, tmp_path):
    averaged = quiet(settings.replace(ema_decay=0.5), tmp_path / "run", data=data)
    plain = torch.load(tmp_path / "run/last.pt")["network"]
    name = "decoder.classifier.weight"
    distance = (averaged.get_parameter(name) - plain[name]).abs().max()
    assert 0 < distance < 0.1


# ---- the gradient ----


def gradient_of(settings, batch, data, device):
    """Loss and gradient of one batch, in parts or at once, BatchNorm as it is in evaluation."""
    parts = assemble(settings, data, start_accelerator(settings), None)
    parts.network.eval()  # statistics of a part are not those of the whole
    pieces = [
        (images.to(device), labels.to(device))
        for images, labels in zip(*(x.chunk(settings.accumulation) for x in batch), strict=True)
    ]
    loss, norm, stop = compute_gradient(parts, pieces, asked=False)
    assert not stop
    return loss, norm, [x.grad for x in parts.network.parameters()]


@pytest.mark.parametrize("class_weights", [True, False])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(settings, data, class_weights):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    labels = torch.randint(3, (4, 32, 32), generator=generator)
    labels[1] = 255  # a part in which nothing counts
    labels[2, :, 5:] = 255  # and one in which little does
    whole = settings.replace(
        clip_norm=0, class_weights=class_weights, config={**settings.config, "drop_path_rate": 0}
    )
    device = start_accelerator(whole).device
    expected = gradient_of(whole, (images, labels), data, device)
    found = gradient_of(whole.replace(accumulation=4), (images, labels), data, device)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert found[1] == pytest.approx(expected[1], rel=1e-5)
    for ours, theirs in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("class_weights", [True, False])
def test_a_sum_of_losses_has_the_sum_of_their_gradients(settings, data, class_weights):
    generator = torch.Generator().manual_seed(0)
    batch = (
        torch.randn(4, 3, 32, 32, generator=generator),
        torch.randint(3, (4, 32, 32), generator=generator),
    )
    batch[1][0, 4:9] = 255
    plain = settings.replace(
        clip_norm=0, class_weights=class_weights, config={**settings.config, "drop_path_rate": 0}
    )
    device = start_accelerator(plain).device
    focal, dice, both = (
        gradient_of(plain.replace(loss=loss), batch, data, device)
        for loss in ("focal", "dice", "focal+dice")
    )
    assert focal[0] > 0.1 and dice[0] > 0.1
    assert both[0] == pytest.approx(focal[0] + dice[0])
    for one, two, total in zip(focal[2], dice[2], both[2], strict=True):
        torch.testing.assert_close(one + two, total, rtol=1e-4, atol=1e-6)


def test_a_long_gradient_is_clipped_and_logged_as_it_was(settings, data):
    batch = torch.randn(4, 3, 32, 32), torch.zeros(4, 32, 32, dtype=torch.long)
    device = start_accelerator(settings).device
    _, norm, gradient = gradient_of(settings.replace(clip_norm=0), batch, data, device)
    _, same, clipped = gradient_of(settings.replace(clip_norm=0.01), batch, data, device)
    assert same == pytest.approx(norm) and norm > 0.1
    lengths = [
        math.sqrt(sum(float(x.square().sum()) for x in each)) for each in (gradient, clipped)
    ]
    assert lengths == pytest.approx([norm, 0.01], rel=1e-3)


def test_a_batch_without_a_valid_pixel_teaches_nothing_and_breaks_nothing(settings, data):
    labels = torch.full((4, 32, 32), 255)
    loss, norm, _ = gradient_of(settings, (torch.randn(4, 3, 32, 32), labels), data, "cpu")
    assert loss == norm == 0


def test_in_16_bits_it_follows_the_curve_of_32(settings, data, tmp_path):
    wide = {"embed_dims": [32, 32], "reduction_ratios": [1, 1], "decoder_dim": 32}
    wide = settings.replace(config={**settings.config, **wide, "drop_path_rate": 0.0})
    quiet(wide, tmp_path / "fp32", data=data)
    start_again()
    quiet(wide.replace(precision="bf16"), tmp_path / "bf16", data=data)
    start_again()
    losses = [[float(row["loss"]) for row in log_of(tmp_path / name)] for name in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)
    assert losses[1] == pytest.approx(losses[0], rel=0.5)  # 5, 7 and 15 % over three seeds
    state = torch.load(tmp_path / "bf16/last.pt")["network"]
    assert all(x.dtype == torch.float32 for x in state.values() if x.is_floating_point())


def start_again():
    """Let accelerate take another precision, which it otherwise keeps for the process's life."""
    AcceleratorState._reset_state(reset_partial_state=True)


# ---- where it ends ----


def test_a_run_of_epochs_is_the_run_of_their_steps(settings, data, tmp_path, undisturbed):
    quiet(settings.replace(epochs=3), tmp_path / "run", data=data)  # 10 pictures, 4 a step
    found, expected = content(tmp_path / "run"), content(undisturbed(settings.replace(steps=8)))
    for name in found.keys() - {"last.pt", "settings.yaml"}:
        assert found[name] == expected[name], name
    epochs = [float(row["epoch"]) for row in log_of(tmp_path / "run")]
    assert epochs == pytest.approx([step * 4 / 10 for step in range(1, 9)])
    assert "epochs: 3" in found["settings.yaml"].decode()


def test_a_run_of_epochs_that_was_stopped_goes_on(
    settings, data, tmp_path, assert_resumes, monkeypatch
):
    settings = settings.replace(epochs=4)
    stop_at(7, settings, data, tmp_path / "run", monkeypatch)
    with pytest.raises(ValueError, match="epochs = 4 is now 5.*Once it has ended, it can be exten"):
        quiet(settings.replace(epochs=5), tmp_path / "run", data=data, resume=True)
    assert_resumes(settings, tmp_path / "run")


def stop_at(step, settings, data, folder, monkeypatch, **options):
    """Stop a run by a loss of NaN at a step, counted from where it begins or goes on."""
    monkeypatch.setattr(loop_module, "compute_gradient", poisoned(step, "loss"))
    with pytest.raises(FloatingPointError):
        quiet(settings, folder, data=data, **options)
    monkeypatch.undo()


def test_a_run_that_has_ended_is_extended_by_the_schedule_of_the_new_length(
    settings, data, tmp_path, monkeypatch
):
    short, long = settings.replace(steps=6), settings.replace(steps=15)
    for name in ("one", "two"):
        quiet(short, tmp_path / name, data=data)
    first = log_of(tmp_path / "one")
    quiet(long, tmp_path / "one", data=data, resume=True)
    rows = log_of(tmp_path / "one")
    assert [{**row} for row in rows[:6]] == first and len(rows) == 15
    shares = [min(1, step / 3) * (7 - step) / 6 for step in range(1, 7)]
    shares += [(16 - step) / 15 for step in range(7, 16)]
    found = [float(row["learning_rate"]) for row in rows]
    assert found == pytest.approx([settings.learning_rate * share for share in shares])
    # The other is killed before the extension's first checkpoint, and once more after that.
    stop_at(1, long, data, tmp_path / "two", monkeypatch, resume=True)
    stop_at(7, long, data, tmp_path / "two", monkeypatch, resume=True)
    assert torch.load(tmp_path / "two/last.pt")["step"] == 12
    quiet(long, tmp_path / "two", data=data, resume=True)
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    for name in one.keys() - {"last.pt"}:
        assert one[name] == two[name], name
    quiet(long.replace(epochs=7), tmp_path / "two", data=data, resume=True)
    assert len(log_of(tmp_path / "two")) == 18  # 70 pictures, 4 a step


def test_what_cannot_be_extended_is_refused(settings, data, tmp_path, monkeypatch):
    stop_at(7, settings, data, tmp_path, monkeypatch)
    more = settings.replace(steps=24)
    with pytest.raises(ValueError, match="steps = 12 is now 24. .* Once it has ended, it can be"):
        quiet(more, tmp_path, data=data, resume=True)
    quiet(settings, tmp_path, data=data, resume=True)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="steps = 11, and the run has done 12 already"):
        quiet(settings.replace(steps=11), tmp_path, data=data, resume=True)
    with pytest.raises(ValueError, match="other settings: power = 1.0 is now 0.9. Resume") as said:
        quiet(more.replace(power=0.9), tmp_path, data=data, resume=True)
    assert "Once it" not in str(said.value)
    assert content(tmp_path) == before


def test_before_the_first_checkpoint_a_run_may_get_another_end(
    settings, data, tmp_path, assert_resumes, monkeypatch
):
    stop_at(3, settings.replace(steps=9), data, tmp_path / "run", monkeypatch)
    assert not (tmp_path / "run/last.pt").exists()
    assert_resumes(settings, tmp_path / "run")


@pytest.fixture
def mious(monkeypatch):
    """A list of the mIoU that each validation finds, to be filled."""
    listed = []

    def validate(parts, progress):
        return Scores((0.5,) * 3, listed.pop(0), 0.5)

    monkeypatch.setattr(Parts, "validate", validate)
    return listed


def test_it_ends_when_patience_does_and_can_be_extended(settings, data, tmp_path, mious):
    patient = settings.replace(steps=40, patience=3)
    mious += [0.2, 0.1, 0.3, 0.3, 0.2, 0.29]
    with pytest.warns(
        UserWarning, match="ended after step 24 of 40, because patience = 3: .*0.300"
    ):
        quiet(patient, tmp_path, data=data)
    assert not mious and len(log_of(tmp_path)) == 24
    best, last = (SegFormer.from_pretrained(tmp_path / name) for name in ("best", "last"))
    assert any(map(torch.ne, *(flat(each) for each in (best, last))))
    before = content(tmp_path)
    with pytest.warns(UserWarning, match="ended after step 24"):
        quiet(patient, tmp_path, data=data, resume=True)  # without a step: it has ended
    assert content(tmp_path) == before
    mious += [0.1, 0.2, 0.31, 0.1, 0.1]  # patience begins anew: two are worse, then one better
    quiet(patient.replace(steps=44), tmp_path, data=data, resume=True)
    assert not mious and len(log_of(tmp_path)) == 44


def flat(model):
    return torch.cat([x.flatten() for x in model.state_dict().values()])


def test_a_run_that_was_killed_loses_patience_at_the_same_step(
    settings, data, tmp_path, mious, monkeypatch
):
    patient = settings.replace(steps=40, patience=2)
    mious += [0.3, 0.2]
    monkeypatch.setattr(loop_module, "compute_gradient", poisoned(11, "loss"))
    with pytest.raises(FloatingPointError, match="keeps step 10"):
        quiet(patient, tmp_path, data=data)
    monkeypatch.setattr(loop_module, "compute_gradient", compute_gradient)
    mious += [0.1]
    with pytest.warns(UserWarning, match="ended after step 12"):
        quiet(patient, tmp_path, data=data, resume=True)


# ---- folders, resuming ----


def test_a_checkpoint_of_an_older_version_is_refused(settings, data, tmp_path):
    quiet(settings, tmp_path, data=data)
    state = torch.load(tmp_path / "last.pt")
    del state["reached"]
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="last.pt was written by an older version"):
        quiet(settings, tmp_path, data=data, resume=True)


def test_a_folder_that_holds_a_run_is_refused(settings, data, tmp_path):
    quiet(settings, tmp_path, data=data)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="already holds a run.*resume=True"):
        quiet(settings, tmp_path, data=data)
    assert content(tmp_path) == before


def test_other_settings_are_refused_by_name_and_those_that_change_nothing_are_not(
    settings, data, tmp_path
):
    quiet(settings, tmp_path, data=data)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="learning_rate = 0.008 is now 0.1; ema_decay = 0.0"):
        quiet(settings.replace(learning_rate=0.1, ema_decay=0.9), tmp_path, data=data, resume=True)
    with pytest.raises(ValueError, match="begun with 10 pictures, and there are now 11"):
        quiet(settings, tmp_path, data=(Rectangles(11), data[1]), resume=True)
    assert content(tmp_path) == before
    quiet(settings.replace(workers=1, save_every=2), tmp_path, data=data, resume=True)
    after = content(tmp_path)
    assert {n for n in after if after[n] != before[n]} == {"settings.yaml"}


def test_files_of_others_stay_and_a_file_is_no_folder(settings, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    quiet(settings, tmp_path, data=data)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(ValueError, match="is a file"):
        quiet(settings, tmp_path / "notes.txt", data=data)


def test_a_damaged_checkpoint_is_refused(settings, data, tmp_path):
    quiet(settings, tmp_path, data=data)
    (tmp_path / "last.pt").write_bytes(content(tmp_path)["last.pt"][:5000])
    with pytest.raises(ValueError, match="last.pt is not a readable checkpoint"):
        quiet(settings, tmp_path, data=data, resume=True)


# ---- what stops a run ----


def poisoned(step, number):
    """compute_gradient, whose loss or gradient is NaN at one step."""

    def compute(parts, batch, asked):
        loss, norm, stop = compute_gradient(parts, batch, asked)
        compute.step += 1
        if compute.step == step:
            next(parts.network.parameters()).grad.fill_(math.nan)
            return (math.nan, norm, stop) if number == "loss" else (loss, math.inf, stop)
        return loss, norm, stop

    compute.step = 0
    return compute


@pytest.mark.parametrize("number", ["loss", "gradient"])
def test_a_loss_of_nan_stops_the_run_before_it_spoils_the_weights(
    settings, data, tmp_path, assert_resumes, monkeypatch, number
):
    monkeypatch.setattr(loop_module, "compute_gradient", poisoned(7, number))
    with pytest.raises(FloatingPointError, match="At step 7 .*keeps step 5. Start a new run"):
        quiet(settings.replace(validate_every=0), tmp_path / "run", data=data)
    state = torch.load(tmp_path / "run/last.pt")
    assert state["step"] == 5
    assert all(x.isfinite().all() for x in state["network"].values())
    assert len(log_of(tmp_path / "run")) == 6
    monkeypatch.undo()
    assert_resumes(settings.replace(validate_every=0), tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_finishes_the_step_and_saves(
    settings, data, tmp_path, assert_resumes, monkeypatch, number
):
    def compute(parts, batch, asked):
        compute.step += 1
        if compute.step == 7:
            signal.raise_signal(number)
        return compute_gradient(parts, batch, asked)

    compute.step = 0
    monkeypatch.setattr(loop_module, "compute_gradient", compute)
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match="after step 8. .*holds all of step 8: --resume"):
        quiet(settings, tmp_path / "run", data=data)
    assert signal.getsignal(number) == handler
    assert len(log_of(tmp_path / "run")) == 8
    monkeypatch.undo()
    assert_resumes(settings, tmp_path / "run")


@pytest.mark.parametrize(("pause", "stops"), [(0.5, False), (1.5, True)])
def test_asked_again_it_stops_at_once_unless_it_is_an_echo(
    settings, data, tmp_path, monkeypatch, pause, stops
):
    seconds = chain([100.0], repeat(100.0 + pause))
    monkeypatch.setattr("segformer_edu.training.interruption.monotonic", seconds.__next__)

    def compute(parts, batch, asked):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        reached.append(True)
        return compute_gradient(parts, batch, asked)

    reached = []
    monkeypatch.setattr(loop_module, "compute_gradient", compute)
    with pytest.raises(KeyboardInterrupt):
        quiet(settings, tmp_path / "run", data=data)
    assert reached == ([] if stops else [True, True])


def full_disk_at(call, monkeypatch):
    """From the given fsync on, the disk is full: what is written is cut off."""
    real = os.fsync

    def fsync(descriptor):
        fsync.calls += 1
        if fsync.calls >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    fsync.calls = 0
    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("call", range(2, 9))
def test_a_full_disk_loses_nothing_and_says_so(
    settings, data, tmp_path, assert_resumes, monkeypatch, call
):
    full_disk_at(call, monkeypatch)
    with pytest.raises(OSError, match="could not be written.*No space left.*--resume") as error:
        quiet(settings, tmp_path / "run", data=data)
    monkeypatch.undo()
    whole = tmp_path / "run/last.pt"
    step = torch.load(whole)["step"] if whole.exists() else 0
    assert f"holds all of step {step}:" in str(error.value) or (
        step == 0 and "no checkpoint yet" in str(error.value)
    )
    assert not list((tmp_path / "run").glob(".*"))
    assert_resumes(settings, tmp_path / "run")


def test_a_log_that_truly_cannot_grow_stops_the_run(settings, data, tmp_path, assert_resumes):
    """The operating system refuses to make any file longer than 700 bytes."""
    resource = pytest.importorskip("resource", reason="the limit is one of Unix")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        with pytest.raises(OSError, match="At step .* File too large.*no checkpoint yet"):
            quiet(settings.replace(validate_every=0, save_every=0), tmp_path / "run", data=data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert_resumes(settings.replace(validate_every=0, save_every=0), tmp_path / "run")


def test_a_folder_that_may_not_be_written_to_is_reported(settings, data, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(OSError, match="Permission denied.*get permission to write there"):
        quiet(settings, tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


# ---- what does not go together ----


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": {"depths": [1, 1, 1]}}, "depths"),
        ({"config": {"width": 8}}, "'width'"),
        ({"model": "b9"}, "'b9'"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"precision": "bf16"}, "Use fp32"),
        ({"precision": "fp16"}, "Use fp32"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(
    settings, data, tmp_path, changes, words
):
    if "config" in changes:
        changes = {"config": {**settings.config, **changes["config"]}}
    from segformer_edu.training.parts import build_model, check_precision

    changed = settings.replace(**changes)
    with pytest.raises(ValueError) as refusal:
        model = build_model(changed, data[0].class_names)
        check_precision(changed, model.config, torch.device("cpu"))
    assert words in str(refusal.value)


def test_nothing_to_train_on_is_refused(settings, data, tmp_path):
    with pytest.raises(ValueError, match="holds out all pictures there are, and leaves none"):
        quiet(settings, tmp_path / "run", data=(Rectangles(0), data[1]))
    assert not (tmp_path / "run").exists()


def test_weights_to_start_from_keep_what_they_know(settings, data, tmp_path):
    from segformer_edu.training.parts import build_model

    quiet(settings, tmp_path / "run", data=data)
    start_from = settings.replace(weights=str(tmp_path / "run/last"), config={})
    saved = SegFormer.from_pretrained(tmp_path / "run/last")
    again = build_model(start_from, data[0].class_names)
    assert again.training
    assert all(map(torch.equal, again.state_dict().values(), saved.state_dict().values()))
    milder = build_model(start_from.replace(config={"drop_path_rate": 0.0}), ("a", "b", "c"))
    assert milder.config.drop_path_rate == 0 and milder.config.class_names == ("a", "b", "c")
    with pytest.warns(UserWarning, match="random weights"):
        more = build_model(start_from, ("a", "b", "c", "d"))
    assert more.config.num_classes == 4
    with pytest.raises(ValueError, match="changes the shape"):
        build_model(start_from.replace(config={"decoder_dim": 16}), data[0].class_names)


def test_a_run_that_is_resumed_where_there_is_none_begins_and_says_so(settings, data, tmp_path):
    with pytest.warns(UserWarning, match="typo holds no run yet, so one begins there"):
        quiet(settings.replace(steps=2), tmp_path / "typo", data=data, resume=True)
    assert (tmp_path / "typo" / "last").is_dir()
