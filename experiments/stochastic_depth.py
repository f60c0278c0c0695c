"""What dropping whole blocks does to a network, measured with several seeds (lesson 05).

python -m experiments.stochastic_depth            # stochastic_depth.json and .safetensors
python -m experiments.stochastic_depth --quick    # one seed, one epoch; writes nothing
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR
from tqdm import tqdm

from benchmarks.runs import processor
from segformer_edu import OverlapPatchEmbedding, drop_rates
from segformer_edu.encoder import EncoderBlock
from segformer_edu.layers import initialize

HERE = Path(__file__).parent


def digits(training: int = 1000) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels of scikit-learn's handwritten digits: some to train on, the rest to test.

    Shape: → `(training, 1, 8, 8)`, `(training,)`, `(1797 − training, 1, 8, 8)`, and their labels.
    """
    pixels, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    images, labels = pixels[order].float().view(-1, 1, 8, 8), labels[order]
    images = (images - images[:training].mean()) / images[:training].std()
    return images[:training], labels[:training], images[training:], labels[training:]


class StochasticDepthResNet(nn.Module):
    """Residual blocks of one width, each with a gate for the whole mini-batch (Huang et al. 2016).

    Args:
        survival: p_1 … p_L, one for each block.
        channels: of every map.

    Shape: `(B, 1, H, W)` → `(B, 10)`. `gates` are b_1 … b_L; where none are given they are drawn in
        training (eq. 2), and are the survival probabilities themselves in evaluation (eq. 5).
    """

    def __init__(self, survival: Sequence[float], channels: int = 16) -> None:
        super().__init__()

        def conv_norm(in_channels: int) -> tuple[nn.Module, nn.Module]:
            convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
            return convolution, nn.BatchNorm2d(channels)

        self.survival = torch.tensor(survival)  # p_1 … p_L
        self.stem = nn.Sequential(*conv_norm(1), nn.ReLU())
        self.blocks = nn.ModuleList(  # f_1 … f_L
            nn.Sequential(*conv_norm(channels), nn.ReLU(), *conv_norm(channels)) for _ in survival
        )
        self.classify = nn.Linear(channels, 10)

    def forward(self, images: Tensor, gates: Tensor | None = None) -> Tensor:
        if gates is None:
            gates = torch.bernoulli(self.survival) if self.training else self.survival
        H = self.stem(images)  # (B, C, 8, 8), never negative
        for b, f in zip(gates, self.blocks, strict=True):
            if b > 0:  # a closed gate leaves H as it is, and f is not computed
                H = F.relu(b * f(H) + H)
        return self.classify(H.mean((2, 3)))


class DigitTransformer(nn.Module):
    """Six of SegFormer's encoder blocks on 4×4 tokens, any of which can be left out.

    Args:
        drop_path_rate: of the last block; the others' rise to it by the linspace rule.
        layer_drop: probability with which a block is left out for a mini-batch, with no scaling
            (Fan et al. 2019, section 3.2.1).

    Shape: `(B, 1, 8, 8)` → `(B, 10)`. `kept` says which blocks run; where it is not given it is
        drawn in training, and all blocks run in evaluation.
    """

    def __init__(self, drop_path_rate: float = 0.0, layer_drop: float = 0.0) -> None:
        super().__init__()
        self.layer_drop = layer_drop
        self.embed = OverlapPatchEmbedding(1, 24, patch_size=3, stride=2)
        self.blocks = nn.ModuleList(
            EncoderBlock(24, num_heads=2, reduction_ratio=1, mlp_ratio=2, drop_path_rate=rate)
            for rate in drop_rates(drop_path_rate, 6)
        )
        self.norm = nn.LayerNorm(24)
        self.classify = nn.Linear(24, 10)
        self.apply(initialize)

    def forward(self, images: Tensor, kept: Sequence[bool] | None = None) -> Tensor:
        if kept is None:
            rate = self.layer_drop if self.training else 0
            kept = (torch.rand(len(self.blocks)) >= rate).tolist()
        x = self.embed(images)  # (B, 4, 4, C)
        for keep, block in zip(kept, self.blocks, strict=True):
            if keep:
                x = block(x)
        return self.classify(self.norm(x).mean((1, 2)))


def sgd(network: nn.Module, steps: int) -> tuple[Optimizer, LRScheduler]:
    """Nesterov's momentum, and a tenth of the learning rate after half and three quarters.

    As Huang et al. 2016 train (section 4); the learning rate is this experiment's own.
    """
    parameters = network.parameters()
    optimizer = SGD(parameters, lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4)
    return optimizer, MultiStepLR(optimizer, [steps // 2, steps * 3 // 4])


def adamw(network: nn.Module, steps: int) -> tuple[Optimizer, LRScheduler]:
    """AdamW, the learning rate rising and falling once."""
    optimizer = AdamW(network.parameters(), weight_decay=0.01)
    return optimizer, OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)


def train(
    network: Any,
    images: Tensor,
    labels: Tensor,
    make_optimizer: Callable[[nn.Module, int], tuple[Optimizer, LRScheduler]],
    epochs: int,
) -> Iterator[tuple[float, float]]:
    """Train a network; after each epoch yield its mean loss and its first block's mean gradient.

    The gradient is that of the block's first weight, in absolute value, over the steps in which the
    block took part.
    """
    batches = len(images) // 50
    optimizer, schedule = make_optimizer(network, epochs * batches)
    watched = next(network.blocks[0].parameters())
    for _ in range(epochs):
        losses, gradients = [], []
        for rows in torch.randperm(len(images)).chunk(batches):
            loss = F.cross_entropy(network.train()(images[rows]), labels[rows])
            optimizer.zero_grad()  # to None, and so it stays for a block that is left out
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if watched.grad is not None:
                gradients.append(watched.grad.abs().mean().item())
        yield mean(losses), mean(gradients)


def evenly_cut(depth: int, removed: int) -> list[bool]:
    """Which blocks are kept when some are removed at even distances.

    Half of them is every other block, a third every third (Fan et al. 2019, section 3.2.2).
    """
    before = [block * removed // depth for block in range(depth + 1)]
    return [here == last for last, here in zip(before, before[1:], strict=False)]


@torch.no_grad()
def error(network: nn.Module, images: Tensor, labels: Tensor, *choice: Any) -> float:
    """Share of the images that a network gets wrong, in percent; `choice` is its second input."""
    return 100 * (network.eval()(images, *choice).argmax(1) != labels).double().mean().item()


def resnet(last_survival: float) -> StochasticDepthResNet:
    """18 blocks, so 38 layers with weights; p_l as in eq. 4."""
    return StochasticDepthResNet([1 - r for r in drop_rates(1 - last_survival, 18, "paper")])


# Name → how it is made, how it is trained, epochs, seeds.
ARMS: dict[str, tuple[Callable[[], Any], Callable, int, int]] = {
    "constant depth": (lambda: resnet(1.0), sgd, 15, 8),
    "stochastic depth": (lambda: resnet(0.5), sgd, 15, 8),
    "nothing dropped": (lambda: DigitTransformer(), adamw, 20, 5),
    "DropPath": (lambda: DigitTransformer(drop_path_rate=0.5), adamw, 20, 5),
    "LayerDrop": (lambda: DigitTransformer(layer_drop=0.2), adamw, 20, 5),
}


def run(name: str, seed: int, quick: bool) -> tuple[nn.Module, dict[str, Any]]:
    """Train one network, and say how it went."""
    make, optimizer, epochs, _ = ARMS[name]
    images, labels, *test = digits()
    torch.manual_seed(seed)
    network = make()
    start = time.process_time()
    told = list(train(network, images, labels, optimizer, 1 if quick else epochs))
    seconds = time.process_time() - start
    found: dict[str, Any] = {"error": error(network, *test)}
    if isinstance(network, StochasticDepthResNet):
        found["error without p_l"] = error(network, *test, torch.ones(18))
    else:
        cuts = [error(network, *test, evenly_cut(6, removed)) for removed in range(7)]
        found["errors after cuts"] = cuts
    found["losses"] = [round(loss, 6) for loss, _ in told]
    found["gradients"] = [round(gradient, 8) for _, gradient in told]
    return network, {"network": name, "seed": seed, "seconds": round(seconds, 2), **found}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.stochastic_depth", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch")
    parser.add_argument("--output", type=Path, help="folder for the results (experiments)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Seed by seed, so that a machine that slows down slows all of them.
    turns = [(seed, name) for name, (*_, seeds) in ARMS.items() for seed in range(seeds)]
    runs: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    for seed, name in tqdm(sorted(turns, key=lambda turn: turn[0]), unit="network"):
        if options.quick and seed:
            break
        network, told = run(name, seed, options.quick)
        runs.append(told)
        if seed == 0 and isinstance(network, DigitTransformer):
            weights |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    print(table(runs))
    folder = options.output or (None if options.quick else HERE)
    if folder:
        a_line_each = ",\n".join(map(json.dumps, runs))
        text = f'{{"machine": {json.dumps(machine())},\n"runs": [\n{a_line_each}\n]}}\n'
        (folder / "stochastic_depth.json").write_text(text, encoding="utf-8")
        save_file(weights, folder / "stochastic_depth.safetensors")


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A line for each kind of network: mean ± standard deviation over its seeds."""
    lines = []
    for name in dict.fromkeys(told["network"] for told in runs):
        of_name = [told for told in runs if told["network"] == name]
        wrong, seconds = (spread([told[key] for told in of_name]) for key in ("error", "seconds"))
        lines.append(f"{name:<16} seeds: {len(of_name)}, error: {wrong} %, time: {seconds} s")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, where there are enough values to have one."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def machine() -> dict[str, str]:
    """Where and when it was measured."""
    threads = torch.get_num_threads()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{processor()}, torch on {threads} of its cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "scikit-learn": version("scikit-learn"),
    }


if __name__ == "__main__":
    main()
