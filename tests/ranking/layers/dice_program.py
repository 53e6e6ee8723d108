"""Two gloo processes run one DIN unit on uneven shares of a batch; both must find what one process finds."""

import tempfile
from multiprocessing import get_context

import torch
import torch.distributed as dist

from ranking.layers import Histories
from ranking.layers.target_attention import TargetAttention

SHARES = ((5, 3), (8, 0))


def histories():
    generator = torch.Generator().manual_seed(1)
    past = torch.randn(8, 4, 3, generator=generator)
    valid = torch.arange(4)[None] < torch.tensor([4, 2, 0, 1, 3, 4, 1, 2])[:, None]
    return torch.randn(8, 3, generator=generator), past, valid


def steps(rank, shares):
    """Outputs, gradients and running statistics after each of the steps; shares: rows of each process."""
    torch.manual_seed(0)
    unit, found = TargetAttention(3, (5,), softmax=False), []
    for share in shares:
        rows = slice(sum(share[:rank]), sum(share[: rank + 1]))
        out = unit(Histories(*(part[rows] for part in histories())))
        unit.zero_grad()
        out.square().sum().backward()
        dice = unit.activations[0]
        found.append((out.detach(), [weight.grad for weight in unit.parameters()], dice.mean + 0, dice.variance + 0))
    return found


def work(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = steps(rank, SHARES)
    for _, gradients, _, _ in found:
        for gradient in gradients:
            dist.all_reduce(gradient)
    torch.save(found, f"{results}/{rank}.pt")
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
    for alone, left, right in zip(steps(0, [(8,), (8,)]), first, second, strict=True):
        torch.testing.assert_close(torch.cat([left[0], right[0]]), alone[0])
        for here in (left, right):
            torch.testing.assert_close(here[1:], alone[1:])


if __name__ == "__main__":
    main()
