"""One model holds a plain SegFormer for every combination of ratios, in memory and in files."""

from itertools import product

import pytest
import torch

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.training import train
from segformer_edu.training.every_ratio import EveryRatioSegFormer
from tests.training import rectangles

RATIOS = ((1, 2, 4), (1, 2))
CONFIG = SegFormerConfig(num_classes=3, **rectangles.TINY.config)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return EveryRatioSegFormer(CONFIG, RATIOS).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_each_combination_is_a_plain_segformer_of_its_own(model, images):
    before = model(images)
    answers = []
    for ratios in product(*RATIOS):
        plain = model.at(ratios)
        assert type(plain) is SegFormer and plain.config == CONFIG.replace(reduction_ratios=ratios)
        answers.append(plain(images))
        model.use(ratios)
        torch.testing.assert_close(model(images), answers[-1], rtol=0, atol=0)
    model.use(CONFIG.reduction_ratios)
    torch.testing.assert_close(model(images), before, rtol=0, atol=0)
    apart = [(one - other).abs().max() for one in answers for other in answers if one is not other]
    assert min(apart) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_plain_segformer_has_the_precision_of_the_model_that_it_is_taken_from(model, dtype):
    plain = model.to(dtype).at((2, 1))
    assert {x.dtype for x in plain.parameters()} == {dtype}
    kernel = "encoder.stages.0.blocks.0.attention.reduce{}.projection.weight"
    own = model.get_parameter(kernel.format(".choices.2"))
    assert torch.equal(plain.get_parameter(kernel.format("")), own)


def test_training_draws_every_combination_and_learns_what_it_used(model, images):
    torch.manual_seed(3)
    drawn = set()
    for _ in range(60):
        model.train().zero_grad()
        model(images).square().sum().backward()
        used = tuple(stage.blocks[0].attention.reduction_ratio for stage in model.encoder.stages)
        drawn.add(used)
        for name, weight in model.named_parameters():
            stage = int(name.split(".")[2]) if ".choices." in name else None
            of_another = stage is not None and f".choices.{used[stage]}." not in name
            assert (weight.grad is None) == of_another, name
    assert drawn == set(product(*RATIOS))


@torch.no_grad()
def test_saved_and_loaded_it_answers_at_every_ratio(model, images, tmp_path):
    model.save_pretrained(tmp_path)
    for ratios in product(*RATIOS):
        config = CONFIG.replace(reduction_ratios=ratios)
        loaded = SegFormer.from_pretrained(tmp_path, config=config)
        assert loaded.config == config and next(loaded.parameters()).dtype == torch.float32
        half = ratios != CONFIG.reduction_ratios  # the others are written in half precision
        torch.testing.assert_close(
            loaded(images), model.at(ratios)(images), rtol=0, atol=2e-3 if half else 0
        )
    own = SegFormer.from_pretrained(tmp_path)
    torch.testing.assert_close(own(images), model(images), rtol=0, atol=0)


def test_a_ratio_that_was_not_trained_is_refused_by_name(model, tmp_path):
    for ask in (model.use, model.at):
        with pytest.raises(ValueError, match="ratio 8 in stage 1: there are .* 1, 2, 4"):
            ask((8, 1))
    with pytest.raises(ValueError, match="ratio 4 in stage 2: there are reductions for 1, 2"):
        EveryRatioSegFormer(CONFIG.replace(reduction_ratios=(2, 4)), RATIOS)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="trained for 1, 2 in stage 2, not for 4"):
        SegFormer.from_pretrained(tmp_path, config=CONFIG.replace(reduction_ratios=(2, 4)))


def test_without_other_reductions_beside_it_a_model_has_its_own_ratios_only(tmp_path):
    SegFormer(CONFIG).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not fit the config"):
        SegFormer.from_pretrained(tmp_path, config=CONFIG.replace(reduction_ratios=(4, 1)))


def test_it_trains_as_any_other_model_and_is_saved_with_all_its_reductions(data, tmp_path):
    settings = rectangles.TINY.replace(ema_decay=0.5)
    for name in ("one", "two"):
        torch.manual_seed(0)
        train(
            settings,
            tmp_path / name,
            data=data,
            model=EveryRatioSegFormer(CONFIG, RATIOS),
            progress=False,
        )
    for file in ("model.safetensors", "reductions.safetensors"):
        one, two = ((tmp_path / name / "last" / file).read_bytes() for name in ("one", "two"))
        assert one == two
    torch.manual_seed(0)
    start = EveryRatioSegFormer(CONFIG, RATIOS)
    for ratios in product(*RATIOS):
        config = CONFIG.replace(reduction_ratios=ratios)
        trained = SegFormer.from_pretrained(tmp_path / "one" / "last", config=config)
        untrained = start.at(ratios).state_dict()
        for name, weight in trained.state_dict().items():
            if name.endswith("reduce.projection.weight"):
                assert (weight - untrained[name]).abs().max() > 1e-3, (ratios, name)
