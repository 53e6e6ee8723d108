"""What the dense program of an exported ranker takes: a batch after its tables, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from ranking.batching import RankingBatch
from ranking.layers import Embedded, Histories

SIZES = {"row": "B", "target": "B", "past": "BT", "valid": "BT", "own": "BT", "scores": "BS", "segments": "B"}
"Sizes that vary, by an input's name up to its dot: B rows, T past events, S segments; the last size is fixed where a \
vector ends a tensor."
_VECTORS = ("row", "target", "past", "own")


def program_inputs(embedded: Embedded, batch: RankingBatch) -> dict[str, Tensor]:
    """row (B, D); of histories target (B, C), past (B, T, C) and valid (B, T); own.0 ... from a ranker's own tables;
    scores (B, S) and segments (B,) where the batch has them.
    """
    found = {"row": embedded.row}
    if embedded.histories is not None:
        found |= embedded.histories._asdict()
    found |= {f"own.{place}": tensor for place, tensor in enumerate(embedded.own)}
    if batch.segments is not None and batch.scores is not None:
        found |= {"scores": batch.scores, "segments": batch.segments}
    return found


def embedded_of(inputs: Mapping[str, Tensor]) -> Embedded:
    """What `program_inputs` was made of."""
    histories = Histories(*(inputs[name] for name in Histories._fields)) if "past" in inputs else None
    own = tuple(inputs[f"own.{place}"] for place in range(sum(name.startswith("own.") for name in inputs)))
    return Embedded(inputs["row"], histories, own)


def padded(inputs: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """`inputs` with `length` places for past events; a longer history is an error of the caller."""
    return {
        name: _padded(value, length - value.shape[1]) if "T" in sizes_of(name, value.dim()) else value
        for name, value in inputs.items()
    }


def sizes_of(name: str, dimensions: int) -> str:
    """Letters of the sizes that vary, from the first one on."""
    kind = name.partition(".")[0]
    return SIZES[kind][: dimensions - (kind in _VECTORS)]


def lettered(name: str, shape: Sequence[int | torch.SymInt]) -> tuple[int | str, ...]:
    """`shape` with a letter for each size that varies."""
    letters = sizes_of(name, len(shape))
    return tuple(int(size) if is_concrete_int(size) else letters[place] for place, size in enumerate(shape))


def _padded(value: Tensor, missing: int) -> Tensor:
    return torch.nn.functional.pad(value, (*(0, 0) * (value.dim() - 2), 0, missing))
