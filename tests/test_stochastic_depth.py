"""Stochastic depth: what is dropped, how often, at what scale, and that this work is not done."""

import pytest
import torch

from segformer_edu import DropPath, drop_rates, residual


def training(rate, mode="sample"):
    return DropPath(rate, mode).train()


@pytest.mark.parametrize("depth", [1, 2, 8, 52])
@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_linspace_rule_is_torch_linspace(rate, depth):
    expected = torch.linspace(0, rate, depth, dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(drop_rates(rate, depth)).double(), expected)


@pytest.mark.parametrize("depth", [1, 2, 8, 52])
@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_paper_rule_is_its_survival_formula(rate, depth):
    survival = [1 - drop for drop in drop_rates(rate, depth, "paper")]
    last = 1 - rate
    expected = [1 - block / depth * (1 - last) for block in range(1, depth + 1)]
    assert survival == pytest.approx(expected)


def test_rates_of_b0_under_both_rules():
    linspace, paper = drop_rates(0.1, 8), drop_rates(0.1, 8, "paper")
    assert [round(rate, 4) for rate in linspace[:2]] == [0, 0.0143]
    assert [round(rate, 4) for rate in paper[:2]] == [0.0125, 0.025]
    assert linspace[-1] == pytest.approx(0.1) == paper[-1]


def test_evaluation_is_the_identity(device):
    x = torch.randn(4, 3, device=device)
    assert DropPath(0.5).eval()(x) is x
    torch.testing.assert_close(residual(x, torch.sin, DropPath(0.5).eval()), x + torch.sin(x))


def test_a_rate_of_zero_is_the_identity_and_draws_nothing(device):
    x = torch.randn(4, 3, device=device)
    before = torch.get_rng_state()
    assert training(0.0)(x) is x
    torch.testing.assert_close(residual(x, torch.sin, training(0.0)), x + torch.sin(x))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", ["sample", "batch"])
def test_a_branch_is_dropped_or_scaled_as_a_whole(device, mode):
    x = torch.rand(64, 3, 5, 2, device=device) + 1
    drop_path = training(0.25, mode)
    outcomes = set()
    for _ in range(20):
        for before, after in zip(x, drop_path(x), strict=True):
            kept = bool(after.any())
            torch.testing.assert_close(after, before / 0.75 if kept else 0 * before)
            outcomes.add(kept)
    assert outcomes == {True, False}


def test_sample_mode_draws_one_gate_a_sample():
    kept = training(0.5)(torch.ones(64, 2))[:, 0] > 0
    assert 0 < kept.sum() < 64


def test_batch_mode_draws_one_gate_a_batch():
    drop_path = training(0.25, "batch")
    kept = [drop_path(torch.ones(16, 2))[:, 0] > 0 for _ in range(400)]
    assert all(gates.all() or not gates.any() for gates in kept)
    share = sum(bool(gates[0]) for gates in kept) / 400
    assert share == pytest.approx(0.75, abs=5 * (0.25 * 0.75 / 400) ** 0.5)  # five deviations


@pytest.mark.parametrize(
    "apply",
    [lambda x, d: d(x), lambda x, d: residual(0 * x, lambda y: y + 1, d)],
    ids=["DropPath", "residual"],
)
def test_the_mean_is_kept(device, apply):
    x = torch.ones(20_000, 1, device=device)
    deviation = (0.3 / 0.7 / 20_000) ** 0.5
    assert apply(x, training(0.3)).mean().item() == pytest.approx(1, abs=5 * deviation)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_precision_drops_at_the_rate_it_was_given(device, dtype):
    # A mask made by floor(rand + keep) in bfloat16 rounds 0.999 to 1 and never drops.
    samples, rate = 400_000, 0.001
    x = torch.ones(samples, 1, dtype=dtype, device=device)
    drop_path = training(rate)
    deviation = (rate * (1 - rate) * samples) ** 0.5
    for y in (drop_path(x), residual(0 * x, lambda y: y + 1, drop_path)):
        assert y.dtype == dtype
        count = (y == 0).sum()
        assert count.item() == pytest.approx(rate * samples, abs=5 * deviation)


def test_gates_drawn_on_the_cpu_follow_the_map_to_its_device():
    x = torch.ones(8, 3, device="meta")  # a device of its own, on every machine
    for y in (training(0.5)(x), residual(x, torch.sin, training(0.5))):
        assert (y.device, y.shape) == (x.device, x.shape)


def test_gates_do_not_follow_torchs_default_device_or_precision():
    torch.manual_seed(0)
    expected = training(0.5).kept(64)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            assert torch.equal(training(0.5).kept(64), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_branch_of_another_precision_is_added_in_that_of_the_input(device):
    x = torch.ones(64, 1, device=device)
    y = residual(x, lambda x: x.bfloat16(), training(0.5))
    assert y.dtype == torch.float32
    assert set(y.flatten().tolist()) == {1.0, 3.0}


@pytest.mark.parametrize("mode", ["sample", "batch"])
def test_a_dropped_branch_is_not_there_whatever_it_holds(device, mode):
    x = torch.full((64, 3), torch.inf, device=device, requires_grad=True)
    drop_path = training(0.5, mode)
    outcomes = torch.cat([drop_path(x) for _ in range(20)])
    assert set(outcomes.flatten().tolist()) == {0.0, torch.inf}  # 0 · inf would be no number
    outcomes.sum().backward()
    assert not x.grad.isnan().any()


@pytest.mark.parametrize("mode", ["sample", "batch"])
def test_rate_one_gives_zeros_and_no_nan(device, mode):
    x = torch.randn(4, 3, device=device, requires_grad=True)
    drop_path = training(1.0, mode)
    assert drop_path.scale == 0.0  # not 1 / 0
    assert torch.equal(drop_path(x), torch.zeros_like(x))
    assert torch.equal(residual(x, torch.exp, drop_path), x)
    (drop_path(x) + residual(x, torch.exp, drop_path)).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # of the skip path alone


@pytest.mark.parametrize("mode", ["sample", "batch"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_residual_equals_the_masked_form_of_the_same_draws(device, mode, rate):
    branch = torch.nn.Linear(6, 6).to(device)
    x = torch.randn(32, 4, 6, device=device)
    outcomes = []
    for form in (
        lambda x, drop_path: residual(x, branch, drop_path),
        lambda x, drop_path: x + drop_path(branch(x)),
    ):
        torch.manual_seed(1)
        inputs = x.clone().requires_grad_()
        y = form(inputs, training(rate, mode))
        gradients = torch.autograd.grad(y.square().sum(), [inputs, *branch.parameters()])
        outcomes.append([y, *gradients])
    torch.testing.assert_close(*outcomes, rtol=1e-4, atol=1e-4)


def test_the_branch_is_computed_for_the_kept_rows_only(device):
    seen = []

    def spy(rows):
        seen.append(rows)
        return torch.ones_like(rows)

    x = torch.arange(100.0, device=device)[:, None]
    y = residual(x, spy, training(0.5))
    (rows,) = seen
    assert 0 < len(rows) < 100
    assert torch.equal(x[y != x], rows[:, 0])  # those that the branch changed, and no others


@pytest.mark.parametrize("mode", ["sample", "batch"])
def test_all_parameters_get_a_gradient_when_a_whole_batch_is_dropped(device, mode):
    branch = torch.nn.Conv2d(3, 3, 3, padding=1).to(device)
    x = torch.randn(2, 3, 4, 4, device=device)
    residual(x, branch, training(1.0, mode)).sum().backward()
    for x in branch.parameters():
        assert torch.equal(x.grad, torch.zeros_like(x))


def test_the_rate_is_kept_as_a_number_and_shown():
    assert DropPath(1).rate == 1.0
    assert repr(DropPath(0.1, "batch")) == "DropPath(rate=0.1, mode='batch')"
