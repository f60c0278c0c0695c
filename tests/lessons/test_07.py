"""Lesson 07: its published decoder is the package's, and what it measures holds."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.decoder_heads import fit, linear, scenes, side_by_side
from segformer_edu import AllMLPDecoder, MixTransformer, SegFormer, SegFormerConfig
from segformer_edu.analysis.contributions import contributions
from segformer_edu.analysis.receptive_field import area, receptive_field
from segformer_edu.checkpoints.layouts import PUBLISHED
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.decoder import FoldedDecoder
from segformer_edu.training import confusion_matrix, scores
from tests.lessons.written import written_out
from tests.published import resized_projections

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/07_decoder_and_segformer.py"
DIMS, SIZES = (6, 10, 14, 18), [(17, 25), (9, 13), (5, 7), (3, 4)]


@pytest.fixture(scope="module")
def lesson():
    names = {"torch": torch, "nn": nn, "F": F}
    return written_out(SOURCE, **names)


@pytest.fixture(scope="module")
def nano():
    return SegFormer.from_pretrained("nano")


@pytest.fixture(scope="module")
def seen():
    """Images, labels, and a score for predictions of them: scenes of another seed than training."""
    images, labels = scenes(16, 4242)

    def score(predicted):
        return scores(confusion_matrix(predicted, labels, len(CLASSES)))

    return images, labels, score


@pytest.mark.parametrize("training", [False, True])
def test_the_published_form_gives_the_packages_logits(lesson, randomized, training):
    published = randomized(lesson["PublishedDecoder"](DIMS, 12, 5, dropout=0.0)).double()
    final = AllMLPDecoder(DIMS, 12, 5, dropout=0.0).double()
    final.load_state_dict(published.state_dict())
    maps = [
        torch.randn(2, dim, *size, dtype=torch.double)
        for dim, size in zip(DIMS, SIZES, strict=True)
    ]
    outcomes = []
    for form in (published, final):
        logits = form.train(training)(maps)
        outcomes.append([logits, *torch.autograd.grad(logits.square().sum(), form.parameters())])
    torch.testing.assert_close(*outcomes, rtol=1e-8, atol=1e-8)
    if not training:
        torch.testing.assert_close(FoldedDecoder(final)(maps), outcomes[0][0])


def test_the_twin_differs_in_attention_alone_and_reaches_what_is_said(lesson):
    config = SegFormerConfig.named("nano")
    twin = MixTransformer(config).eval()
    for stage in twin.stages:
        for block in stage.blocks:
            block.attention = lesson["Mixing3x3"](block.attention.dim)
    images, generator = torch.randn(1, 3, 256, 256), torch.Generator().manual_seed(0)
    widths = []
    for stage in range(3):
        field = receptive_field(lambda x, s=stage: twin(x)[s], images, generator)
        widths.append(int((field > 0).any(0).sum()))
    assert widths == [39, 111, 255]


def test_training_widens_the_field_in_every_stage_beyond_the_twins_reach_in_the_first(nano):
    images = torch.stack([image for image, _ in Scenes(4, 256, seed=4243)])
    torch.manual_seed(0)
    untrained, generator = MixTransformer(nano.config).eval(), torch.Generator().manual_seed(0)
    areas = [
        [
            area(receptive_field(lambda x, s=s, encoder=each: encoder(x)[s], images, generator))
            for s in range(4)
        ]
        for each in (nano.encoder, untrained)
    ]
    assert all(trained > before for trained, before in zip(*areas, strict=True))
    assert areas[0][0] > (39 / 256) ** 2
    field = receptive_field(lambda x: nano.encoder(x)[0], images, generator)
    middle = slice(130 - 20, 130 + 20)  # token 32 of 64 has its centre there
    assert 0.5 < field[middle, middle].sum() < 0.9


@torch.no_grad()
def test_norm_and_relu_and_the_order_of_stages_matter_to_trained_weights(lesson, nano, seen):
    images, _, score = seen
    maps, d = nano.encoder(images), nano.decoder
    resized = resized_projections(d, maps)

    def miou(fused):
        logits = d.classifier(fused)
        return score(F.interpolate(logits, (128, 128), mode="bilinear").argmax(1)).miou

    right, wrong = (d.norm(d.fuse(torch.cat(each, 1))) for each in (resized[::-1], resized))
    whole = miou(right.relu())
    assert whole == pytest.approx(score(nano.predict(images)).miou, abs=1e-3)
    assert miou(d.fuse(torch.cat(resized[::-1], 1))) < whole - 0.03
    assert miou(wrong.relu()) < 0.2


@torch.no_grad()
def test_logits_are_resized_without_aligned_corners_and_before_the_argmax(lesson, nano, seen):
    images, labels, score = seen
    logits = nano(images)
    coarse = logits.argmax(1, keepdim=True).float()
    right = score(lesson["full_size"](logits).argmax(1))
    assert right == score(nano.predict(images))
    for worse in (
        F.interpolate(coarse, (128, 128))[:, 0].long(),
        lesson["full_size_with_a_bug"](logits).argmax(1),
    ):
        assert score(worse).miou < right.miou - 0.003
        assert score(worse).iou[7] < right.iou[7]  # poles
    mixed = F.interpolate(coarse, (128, 128), mode="bilinear")[:, 0].round().long()
    assert score(mixed).miou < right.miou - 0.03


@pytest.mark.parametrize("draw", [4244, 4245])
def test_a_linear_head_fitted_to_the_maps_is_not_far_behind(nano, seen, draw):
    """0.89 to 0.92 of nano's mIoU over five draws of scenes."""
    images, _, score = seen
    others, truth = scenes(32, draw)
    with torch.no_grad():
        head, inputs = linear(240), side_by_side(nano.encoder(others))
        fit(head, inputs, truth[:, 2::4, 2::4].long())
        logits = head(side_by_side(nano.encoder(images)))
        found = score(F.interpolate(logits, (128, 128), mode="bilinear").argmax(1)).miou
        assert 0.8 < found / score(nano.predict(images)).miou < 1


def test_logits_at_a_quarter_of_the_size_can_hold_more_than_shares_of_classes(seen):
    _, labels, score = seen

    def miou(logits):
        return score(F.interpolate(logits, (128, 128), mode="bilinear").argmax(1)).miou

    one_hot = F.one_hot(labels.long(), len(CLASSES)).permute(0, 3, 1, 2).float()
    shares = F.avg_pool2d(one_hot, 4)
    logits = shares.clamp(0.01).log().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(25):
        optimizer.zero_grad()
        large = F.interpolate(logits, (128, 128), mode="bilinear")
        F.cross_entropy(large, labels.long()).backward()
        optimizer.step()
    assert miou(logits.detach()) > miou(shares) + 0.02


@torch.no_grad()
def test_no_stage_alone_names_the_class_often_enough_and_all_together_do(nano, seen):
    images, labels, _ = seen
    shares, truth = contributions(nano, images), labels[:, 2::4, 2::4]
    alone = [(shares[:, part].argmax(1) == truth).double().mean() for part in range(5)]
    assert (shares.sum(1).argmax(1) == truth).double().mean() > max(alone) + 0.1
    assert max(alone[1:3]) > max(alone[0], *alone[3:])  # the middle stages say most


@torch.no_grad()
def test_the_epsilon_shows_in_the_logits_and_in_no_label(nano, seen):
    images, _, _ = seen
    other = SegFormer(nano.config.replace(block_norm_eps=1e-5)).eval()
    other.load_state_dict(nano.state_dict())
    ours, theirs = nano(images[:4]), other(images[:4])
    assert 3e-6 < (ours - theirs).abs().max() / theirs.abs().max() < 1e-4
    certain = F.interpolate(ours, (128, 128), mode="bilinear").topk(2, dim=1).values
    certain = certain[:, 0] - certain[:, 1] > 2 * (ours - theirs).abs().max()
    assert certain.double().mean() > 0.9999
    same = nano.predict(images[:4]) == other.predict(images[:4])
    assert same[certain].all()  # and a tie may fall either way


def test_the_bug_moves_everything_outwards_by_up_to_a_pixel_and_a_half(lesson):
    ramp = (4 * torch.arange(32.0) + 1.5).expand(1, 1, 32, 32)
    place = torch.arange(128.0)
    right, bug = (
        (lesson[name](ramp)[0, 0, 0] - place)[2:-2]
        for name in ("full_size", "full_size_with_a_bug")
    )
    torch.testing.assert_close(right, torch.zeros(124), rtol=0, atol=1e-4)
    assert bug[0].item() == pytest.approx(1.45, abs=0.01) == -bug[-1].item()
    assert bug[62].abs() < 0.02
    assert nn.UpsamplingBilinear2d(scale_factor=4).align_corners is True


@pytest.mark.parametrize("layout", PUBLISHED[:4], ids=lambda layout: layout.name)
def test_weights_renamed_as_in_the_lesson_load_under_every_layout(
    lesson, layout, tmp_path, small_model
):
    path = tmp_path / "weights.pth"
    state = lesson["renamed"](small_model.state_dict(), layout)
    torch.save(state, path)
    loaded = SegFormer.from_pretrained(path, config=small_model.config).state_dict()
    for name, tensor in small_model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
    joint = [name for name in state if ".kv." in name]
    assert len(state) == len(loaded) - len(joint)


def test_every_module_of_the_table_has_a_name_in_every_layout(lesson):
    *published, own = PUBLISHED
    for layout in published:
        names = lesson["names_of"](layout)
        assert all(names[ours] for ours in own.modules.values())
