"""Lesson 07: its published decoder is the package's, and what it measures holds."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.decoder_heads import scenes
from segformer_edu import AllMLPDecoder, MixTransformer, SegFormer
from segformer_edu.analysis.contributions import centred, contributions, fused_parts
from segformer_edu.analysis.heads import fit, linear_head, side_by_side
from segformer_edu.analysis.receptive_field import (
    area,
    conv_twin,
    moved_from_outside,
    receptive_field,
    stage_fields,
)
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


@torch.no_grad()
def enlarged(encoder, factor):
    """A copy whose Linears have weights larger by that factor."""
    encoder = copy.deepcopy(encoder)
    for weight in weights_of_linears(encoder):
        weight *= factor
    return encoder


def mean_deviation(encoder):
    return torch.stack([weight.std() for weight in weights_of_linears(encoder)]).mean().item()


def weights_of_linears(encoder):
    return [layer.weight for layer in encoder.modules() if isinstance(layer, nn.Linear)]


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


def test_training_widens_the_field_in_every_stage(nano):
    """Whether a response is the length of the gradient or its square."""
    images = torch.stack([image for image, _ in Scenes(4, 256, seed=4243)])
    torch.manual_seed(0)
    encoders = {"before": MixTransformer(nano.config).eval(), "after": nano.encoder}
    fields = stage_fields(encoders, images, torch.Generator().manual_seed(0))
    for power in (1, 2):
        for before, after in zip(*fields.values(), strict=True):
            assert area(before**power) < area(after**power)
    middle = slice(128 - 20, 128 + 20)  # token 32 of 64 has its centre at pixel 128
    assert 0.5 < fields["after"][0][middle, middle].sum() < 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_as_large_as_nanos_give_a_wide_field_untrained(nano, seed):
    """The Linears of an untrained encoder, and five times as large."""
    images = torch.stack([image for image, _ in Scenes(4, 256, seed=708)])
    torch.manual_seed(seed)
    small = MixTransformer(nano.config).eval()
    large = enlarged(small, 5)
    encoders = {"nano": nano.encoder, "small": small, "large": large}
    fields = stage_fields(encoders, images, torch.Generator().manual_seed(0))
    for before, after, trained in zip(
        fields["small"], fields["large"], fields["nano"], strict=True
    ):
        assert area(before) < 0.25 * area(trained)
        assert 0.5 < area(after) / area(trained) < 2
    sizes = {name: mean_deviation(encoder) for name, encoder in encoders.items()}
    assert sizes["small"] < 0.25 * sizes["nano"]
    assert 0.5 < sizes["large"] / sizes["nano"] < 2


@torch.no_grad()
@pytest.mark.parametrize("draw", [708, 4243, 801, 802, 803, 804, 805, 806])
def test_trained_tokens_depend_on_what_the_twin_cannot_see(nano, draw):
    """Stages 1 and 2; the lesson says "by a tenth to nearly a half of the gap"."""
    images = torch.stack([image for image, _ in Scenes(4, 256, seed=draw)])
    torch.manual_seed(0)
    untrained, twin = MixTransformer(nano.config).eval(), conv_twin(nano.config)
    one, generator = images[:1], torch.Generator().manual_seed(0)
    borders = [receptive_field(lambda x, s=s: twin(x)[s], one, generator) > 0 for s in (0, 1)]
    assert moved_from_outside(twin, images, borders) == [0, 0]
    assert max(moved_from_outside(untrained, images, borders)) < 0.03
    assert all(0.1 < share < 0.5 for share in moved_from_outside(nano.encoder, images, borders))


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
    nearest = F.interpolate(coarse, (128, 128))[:, 0].long()
    for worse in (nearest, lesson["full_size_with_a_bug"](logits).argmax(1)):
        assert score(worse).miou < right.miou - 0.003
        assert score(worse).iou[7] < right.iou[7]  # poles
    assert all(a > b for a, b in zip(right.iou, score(nearest).iou, strict=True))
    mixed = F.interpolate(coarse, (128, 128), mode="bilinear")[:, 0].round().long()
    assert score(mixed).miou < right.miou - 0.03


@pytest.mark.parametrize("draw", [4244, 4245])
def test_a_linear_head_fitted_to_the_maps_is_not_far_behind(nano, seen, draw):
    """The lesson says "more than nine tenths of nano's mIoU"."""
    images, _, score = seen
    others, truth = scenes(32, draw)
    with torch.no_grad():
        head, inputs = linear_head(240, len(CLASSES)), side_by_side(nano.encoder(others))
        fit(head, inputs, truth.long())
        logits = head(side_by_side(nano.encoder(images)))
        found = score(F.interpolate(logits, (128, 128), mode="bilinear").argmax(1)).miou
        assert 0.9 < found / score(nano.predict(images)).miou < 1


@pytest.mark.parametrize("factor", [1, 5])
def test_the_same_head_reads_little_from_an_untrained_encoder(nano, seen, factor):
    images, _, score = seen
    others, truth = scenes(32, 4244)
    torch.manual_seed(1)
    encoder = enlarged(MixTransformer(nano.config).eval(), factor)
    with torch.no_grad():
        head, inputs = linear_head(240, len(CLASSES)), side_by_side(encoder(others))
        fit(head, inputs, truth.long())
        logits = head(side_by_side(encoder(images)))
        assert score(F.interpolate(logits, (128, 128), mode="bilinear").argmax(1)).miou < 0.3


@torch.no_grad()
@pytest.mark.parametrize("draw", [707, 4242, 901])
def test_in_a_quarter_of_the_pixels_a_stage_speaks_against_the_class_that_wins(nano, draw):
    shares = contributions(nano, scenes(24, draw)[0])
    leads = shares - shares.mean(2, keepdim=True)
    winner = shares.sum(1, keepdim=True).argmax(2, keepdim=True).expand(-1, 5, -1, -1, -1)
    against = (leads.gather(2, winner)[:, :4] < 0).any(1)
    assert 0.2 < against.double().mean() < 0.3


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
@pytest.mark.parametrize("draw", [4242, 901, 902, 903, 904])
def test_what_each_stage_adds_to_which_class(nano, draw):
    """Sky, vegetation, road and things with legs or wheels; the others change with the draw.

    Counted from each stage's mean over the pixels, and from one in which all classes count alike.
    """
    images, labels = scenes(24, draw)
    truth = labels[:, 2::4, 2::4]
    parts = fused_parts(nano.decoder, nano.encoder(images))
    balanced = torch.stack([parts.movedim(0, 2)[:, :, truth == k].mean(2) for k in range(8)])
    by_pixels = contributions(nano, images)
    by_classes = torch.einsum(
        "kd,bsdhw->bskhw",
        nano.decoder.classifier.weight[:, :, 0, 0],
        (parts - balanced.mean(0)[:, :, None, None]) * (parts.sum(1, keepdim=True) > 0),
    )
    for shares in (by_pixels, by_classes):
        leads = shares - shares.mean(dim=2, keepdim=True)
        order = {
            name: leads[:, :4, k].movedim(1, -1)[truth == k].mean(0).argsort(descending=True) + 1
            for k, name in enumerate(CLASSES)
        }
        assert order["sky"][0] == 4 and order["vegetation"][0] == 1 and order["road"][0] == 3
        for name in ("vehicle", "person", "pole"):
            assert set(order[name][:2].tolist()) == {2, 3}, name


@torch.no_grad()
@pytest.mark.parametrize("draw", [707, 4242, 901])
def test_stage_3_gets_furthest_alone_and_stage_1_least_and_is_missed_most(nano, draw):
    images, labels = scenes(24, draw)
    parts = centred(fused_parts(nano.decoder, nano.encoder(images)))

    def right(chosen):
        answer = nano.decoder.classifier(parts[:, chosen].sum(1).relu()).argmax(1)
        return (answer == labels[:, 2::4, 2::4]).double().mean().item()

    alone = [right([stage, 4]) for stage in range(4)]
    without = [right([part for part in range(5) if part != stage]) for stage in range(4)]
    assert alone[2] == max(alone) and alone[0] == min(alone)
    assert without[0] == min(without)
    assert max(alone) + 0.1 < max(without) < right([0, 1, 2, 3, 4])


@torch.no_grad()
def test_a_relu_between_linear_and_resize_forbids_to_exchange_them():
    maps = torch.randn(2, 3, 4, 4)
    weight = torch.randn(5, 3, 1, 1)

    def resize(x):
        return F.interpolate(x, (8, 8), mode="bilinear")

    torch.testing.assert_close(F.conv2d(resize(maps), weight), resize(F.conv2d(maps, weight)))
    bent = F.conv2d(resize(maps.relu()), weight), resize(F.conv2d(maps, weight).relu())
    assert not torch.allclose(*bent, atol=0.1)


@torch.no_grad()
def test_what_a_file_does_not_say_shows_in_the_logits(nano, seen):
    images, _, score = seen
    whole = score(nano.predict(images)).miou
    one_head = SegFormer(nano.config.replace(num_heads=(1, 1, 1, 1))).eval()
    one_head.load_state_dict(nano.state_dict())
    state = nano.state_dict()
    key, value = ".attention.key.", ".attention.value."
    swapped = {name: state[name.replace(key, value)] for name in state if key in name}
    swapped |= {name: state[name.replace(value, key)] for name in state if value in name}
    exchanged = SegFormer(nano.config).eval()
    exchanged.load_state_dict({**state, **swapped})
    assert score(exchanged.predict(images)).miou < whole - 0.1
    assert abs(score(one_head.predict(images)).miou - whole) < 0.03
    assert (one_head(images) - nano(images)).abs().mean() > 0.2


def test_a_prefix_and_strict_false_load_nothing_and_say_so_only_in_what_they_return(nano):
    model = SegFormer(nano.config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {f"module.{name}": tensor for name, tensor in nano.state_dict().items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert unexpected == list(state)
    assert {f"module.{name}" for name in missing} <= set(state)  # num_batches_tracked may miss
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


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
