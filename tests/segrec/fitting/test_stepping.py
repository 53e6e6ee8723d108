"""A step is the same by hand, by the plain step and by TorchRec's pipeline; batches taken ahead do not count."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torchrec.streamable import Pipelineable

from segrec.fitting import LossParts
from segrec.fitting.stepping import PipelinedStep, PlainStep, clipped


class Numbers(Pipelineable):
    """A batch of one number."""

    def __init__(self, value: float) -> None:
        self.value = torch.tensor([value])

    def to(self, device, non_blocking=False):
        return self

    def record_stream(self, stream):
        """Nothing on a CPU."""


class Squares(nn.Module):
    """loss = (w x)^2, so that dloss/dw = 2 w x^2."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))

    def forward(self, batch: Numbers) -> tuple[Tensor, Tensor]:
        answer = self.w * batch.value
        return (answer**2).sum(), answer


def steps_of(kind: str) -> tuple[Squares, torch.optim.Optimizer, PlainStep[Numbers] | PipelinedStep[Numbers]]:
    module = Squares()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    if kind == "plain":
        return module, optimizer, PlainStep(lambda batch: module(batch)[0], optimizer)
    parts = {"half": torch.tensor(0.5)}
    device = torch.device("cpu")
    return module, optimizer, PipelinedStep(module, optimizer, device, share_ids_ahead=False, parts=lambda: parts)


@pytest.mark.parametrize("kind", ["plain", "pipelined"])
def test_steps_by_hand(kind: str) -> None:
    module, _, step = steps_of(kind)
    batches = iter([Numbers(1.0), Numbers(2.0)])
    first = step(batches)  # w = 1: loss 1, gradient 2, w = .8
    assert first is not None
    assert first.total.item() == pytest.approx(1.0)
    assert module.w.item() == pytest.approx(0.8)
    second = step(batches)  # w = .8, x = 2: loss 2.56, gradient 6.4, w = .16
    assert second is not None
    assert second.total.item() == pytest.approx(2.56)
    assert module.w.item() == pytest.approx(0.16)
    assert step(batches) is None
    third = step(iter([Numbers(1.0)]))  # the next epoch
    assert third is not None
    assert third.total.item() == pytest.approx(0.16**2)


def test_the_pipeline_takes_a_batch_ahead_and_trains_on_it_later() -> None:
    taken: list[float] = []

    def batches() -> Iterator[Numbers]:
        for value in (1.0, 2.0, 3.0):
            taken.append(value)
            yield Numbers(value)

    _, _, step = steps_of("pipelined")
    stream, trained = batches(), 0
    while step(stream) is not None:
        trained += 1
        assert len(taken) == min(trained + 1, 3)
    assert trained == 3


def test_parts_and_evaluation_between_steps() -> None:
    module, _, step = steps_of("pipelined")
    batches = iter([Numbers(1.0), Numbers(2.0)])
    loss = step(batches)
    step.pause()
    module.eval()
    module(Numbers(5.0))
    module.train()
    assert loss is not None
    assert loss.parts["half"].item() == 0.5
    again = step(batches)
    assert again is not None
    assert again.total.item() == pytest.approx(2.56)


def test_gradients_are_clipped_inside_only() -> None:
    module, optimizer, step = steps_of("plain")
    with clipped(optimizer, 0.5):
        step(iter([Numbers(1.0)]))  # gradient 2, clipped to .5: w = 1 - .05
    assert module.w.item() == pytest.approx(0.95, abs=1e-5)
    step(iter([Numbers(1.0)]))  # gradient 1.9
    assert module.w.item() == pytest.approx(0.95 - 0.19, abs=1e-5)


def test_loss_with_parts_passes_through() -> None:
    module = Squares()
    step = PlainStep(lambda batch: LossParts(module(batch)[0], {"x": batch.value[0]}), None)
    loss = step(iter([Numbers(3.0)]))
    assert loss is not None
    assert loss.parts["x"].item() == 3.0
    assert module.w.grad is not None
    assert module.w.grad.item() == pytest.approx(18.0)
