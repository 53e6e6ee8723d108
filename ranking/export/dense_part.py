"""A ranker without its tables: embedded rows in, logits out, as a program that torch runs by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection

from ranking.export.manifest import ProgramInput
from ranking.export.program_inputs import embedded_of, lettered, sizes_of
from ranking.layers import Embedded
from ranking.rankers import Ranker
from ranking.rankers.managed_ranker import ManagedRanker


def ranker_of(module: nn.Module) -> Ranker:
    """The ranker inside a wrapper, or the module itself."""
    return next(part for part in module.modules() if isinstance(part, Ranker))


def dense_module(module: nn.Module) -> nn.Module:
    """The ranker and what weighs its segments, without the ids' remapper in front."""
    return module.ranker if isinstance(module, ManagedRanker) else module


def export_dense(module: nn.Module, example: Mapping[str, Tensor], max_segments: int) -> ExportedProgram:
    """The program of a ranker's dense part: dict of `program_inputs` -> logits (B,) or (B, K), for any number of rows.

    T and S vary too where the ranker lets them; a recurrent ranker unrolls T, which then is that of `example`.

    :param module: in eval mode, on the CPU.
    :param example: at least two rows, events and segments.
    """
    slots = Dim("S", min=1, max=max_segments) if max_segments > 1 else None
    sizes = {"B": Dim("B", min=1), "T": Dim.AUTO, "S": slots}
    shapes = {
        name: {place: sizes[letter] for place, letter in enumerate(sizes_of(name, value.dim()))}
        for name, value in example.items()
    }
    with _without_tables(module), torch.no_grad(), warnings.catch_warnings():
        # Of nn.GRU, which files its weights twice: they are parameters, and so in the program.
        warnings.filterwarnings("ignore", message="The tensor attributes .*_flat_weights")
        return torch.export.export(_DensePart(module), (dict(example),), dynamic_shapes=(shapes,))


def described(program: ExportedProgram, example: Mapping[str, Tensor]) -> tuple[ProgramInput, ...]:
    """What the program takes, a letter for each size that varies."""
    taken = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-len(example) :]
    return tuple(
        ProgramInput(name=name, dtype=str(value.dtype).removeprefix("torch."), shape=lettered(name, value.shape))
        for name, value in zip(example, taken, strict=True)
    )


def save_program(program: ExportedProgram, file: Path) -> None:
    """Writes a .pt2 file without the example, the one part that torch would pickle."""
    program.example_inputs = None
    torch.export.save(program, file)


@dataclass
class _EmbeddedBatch:
    """What a ranker and its wrapper ask of a batch after the tables."""

    given: dict[str, Tensor]

    @property
    def scores(self) -> Tensor | None:
        """(B, S)"""
        return self.given.get("scores")

    @property
    def segments(self) -> Tensor | None:
        """(B,)"""
        return self.given.get("segments")


class _DensePart(nn.Module):
    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B,) or (B, K)"""
        logits: Tensor = self.ranker(_EmbeddedBatch(inputs))
        return logits


def _given(batch: _EmbeddedBatch) -> Embedded:
    """Stands in for `Ranker.lookup`: hands over what was looked up already."""
    return embedded_of(batch.given)


@contextmanager
def _without_tables(module: nn.Module) -> Iterator[None]:
    """`module` with empty stand-ins for its tables, and a look-up that takes what it is given."""
    tables = {
        path: part
        for path, part in module.named_modules()
        if isinstance(part, EmbeddingBagCollection | EmbeddingCollection)
    }
    ranker = ranker_of(module)
    for path in tables:
        module.set_submodule(path, nn.Identity())
    ranker.lookup = _given  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ranker.lookup
        for path, part in tables.items():
            module.set_submodule(path, part)
