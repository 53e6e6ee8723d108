"""One training step: batch, loss, backward, optimizer; plain, or by TorchRec's pipeline, which works ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torchrec.distributed.train_pipeline import TrainPipelineBase, TrainPipelineSparseDist

from segrec.fitting.loss_parts import LossParts

B = TypeVar("B")
B_contra = TypeVar("B_contra", contravariant=True)


class Step(Protocol[B_contra]):
    """Trains on the next batch."""

    def __call__(self, batches: Iterator[B_contra]) -> LossParts | None:
        """The loss of the next batch, on the device; None when there is none left.

        Batches that were taken ahead count when they are trained on, not when they are taken.
        """
        ...

    def pause(self) -> None:
        """Before the module is called by others (validation): leaves it as it was built, until the next step."""
        ...


class PlainStep(Generic[B]):
    """Takes a batch, goes backward from its loss and moves the dense optimizer."""

    def __init__(self, loss: Callable[[B], Tensor | LossParts], optimizer: torch.optim.Optimizer | None) -> None:
        self._loss, self._optimizer = loss, optimizer

    def __call__(self, batches: Iterator[B]) -> LossParts | None:
        """See `Step`."""
        batch = next(batches, None)
        if batch is None:
            return None
        if self._optimizer is not None:
            self._optimizer.zero_grad(set_to_none=True)
        loss = self._forward(batch)
        self._backward(loss.total)
        if self._optimizer is not None:
            self._optimizer.step()
        return loss

    def pause(self) -> None:
        """Nothing to leave."""

    def _forward(self, batch: B) -> LossParts:
        found = self._loss(batch)
        return found if isinstance(found, LossParts) else LossParts(found, {})

    def _backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


class PipelinedStep(Generic[B]):
    """A step by TorchRec's pipeline over `module`: batch -> (loss, anything).

    TrainPipelineBase takes the next batch from the stream, and on CUDA moves it, while this one is trained on.
    TrainPipelineSparseDist also exchanges its ids between the processes by then: for tables that are asked for what
    stands in the batch itself.

    :param share_ids_ahead: TrainPipelineSparseDist.
    :param parts: the parts of the newest loss, by name.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        *,
        share_ids_ahead: bool,
        parts: Callable[[], Mapping[str, Tensor]] = dict,
    ) -> None:
        kind = TrainPipelineSparseDist if share_ids_ahead else TrainPipelineBase
        self.pipeline: Any = kind(module, optimizer, device)
        self._parts, self._loss = parts, torch.zeros(())
        module.register_forward_hook(self._remember)

    def __call__(self, batches: Iterator[B]) -> LossParts | None:
        """See `Step`."""
        try:
            self.pipeline.progress(batches)
        except StopIteration:
            self.pipeline.reset()
            return None
        return LossParts(self._loss, self._parts())

    def pause(self) -> None:
        """Gives the tables their own forward back; the pipeline attaches itself again at the next step."""
        if isinstance(self.pipeline, TrainPipelineSparseDist):
            self.pipeline.detach()

    def _remember(self, module: nn.Module, inputs: object, outputs: tuple[Tensor, ...]) -> None:
        if module.training:
            self._loss = outputs[0].detach()


@contextmanager
def clipped(optimizer: torch.optim.Optimizer | None, norm: float | None) -> Iterator[None]:
    """Inside, gradients of the dense part are scaled down to `norm` at most before each step; None does not clip."""
    if optimizer is None or norm is None:
        yield
        return

    def clip(stepping: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        dense = [parameter for group in stepping.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(dense, norm)

    handle = optimizer.register_step_pre_hook(clip)
    try:
        yield
    finally:
        handle.remove()
