"""Two processes train one model with DistributedDataParallel, although whole batches are dropped.

DistributedDataParallel waits for a gradient of every parameter. A block whose every sample is
dropped must give one all the same, or the next step fails.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from segformer_edu import SegFormer, SegFormerConfig, segmentation_loss

CONFIG = SegFormerConfig(
    num_classes=3,
    embed_dims=(8, 8, 8, 8),
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 1, 1),
    decoder_dim=8,
    drop_path_rate=1.0,  # the last block always, the one before it two times in three
)
STEPS = 4


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_stay_equal_when_whole_batches_are_dropped(tmp_path):
    root = Path(__file__).resolve().parent.parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(rank)],
            env=environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=200)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()  # the other waits for its partner in vain
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["losses"] != second["losses"]  # each saw data of its own
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    assert any((first["weights"][name] != x).any() for name, x in first["start"].items())


def train(folder, rank):
    """What each of the two processes runs."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "meeting"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = SegFormer(CONFIG)
    start = copy.deepcopy(dict(model.named_parameters()))
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(rank)  # from here on other data and other gates in each process
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = segmentation_loss(parallel(torch.randn(2, 3, 32, 32)), torch.randint(3, (2, 32, 32)))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = dict(model.named_parameters())
    torch.save({"losses": losses, "weights": weights, "start": start}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
