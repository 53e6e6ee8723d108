"""Two gloo processes take uneven shares of a batch of several labels; both must find what one process finds."""

import math
import tempfile
from multiprocessing import get_context

import torch
import torch.distributed as dist

from ranking.rankers.multi_task import TasksConfig
from ranking.targets.labels import FlagLabel, JointLabel
from ranking.targets.watch_labels import WatchTimeLabel
from ranking.training.label_loss import LabelLoss

LABEL = JointLabel(
    tasks=(
        FlagLabel(name="is_click", rate=0.4),
        FlagLabel(name="long_view", rate=0.2),
        WatchTimeLabel(mean=8.0, cap_ms=90_000, rate=0.4),
    )
)
SHARES = ((5, 3), (8, 0))
"Rows of each process in two steps; process 0 knows most of the second label."


def step(rank, share):
    """Loss, its parts, and the gradients of logits and variances."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.cat([(torch.rand(8, 2, generator=generator) < 0.5).float(), torch.full((8, 1), 12.0)], dim=1)
    labels[5:, 1] = math.nan
    labels[0, 0] = math.nan
    rows = slice(sum(share[:rank]), sum(share[: rank + 1]))
    logits = torch.randn(8, 3, generator=generator)[rows].requires_grad_()
    loss = LabelLoss(LABEL, TasksConfig(balance="uncertainty", weights={"long_view": 2.0}))
    found = loss(logits, labels[rows], 8)
    found.backward()
    return found.detach(), torch.stack(list(loss.parts.values())), logits.grad, loss.log_variance.grad


def work(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.save([step(rank, share) for share in SHARES], f"{results}/{rank}.pt")
    dist.destroy_process_group()


def main():
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            get_context("fork").Process(target=work, args=(rank, f"{folder}/store", folder)) for rank in (0, 1)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        first, second = (torch.load(f"{folder}/{rank}.pt") for rank in (0, 1))
    for left, right in zip(first, second, strict=True):
        whole = step(0, (8,))
        for alone, here, there in zip(whole[:2], left[:2], right[:2], strict=True):
            torch.testing.assert_close((here + there) / 2, alone)
        # Gradients are averaged over processes: of a row's logits, half of what its own process has.
        torch.testing.assert_close(torch.cat([left[2], right[2]]) / 2, whole[2])
        torch.testing.assert_close((left[3] + right[3]) / 2, whole[3])


if __name__ == "__main__":
    main()
