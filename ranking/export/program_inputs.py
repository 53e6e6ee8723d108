"""What the dense program of an exported ranker takes: a batch after its tables, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ranking.batching import RankingBatch
from ranking.layers import Embedded, Histories

SIZES = {"row": "B", "target": "B", "past": "BT", "valid": "BT", "own": "B", "scores": "BS", "segments": "B"}
"Leading sizes that vary, by an input's name up to its dot: B rows, T past events, S segments."


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


def sizes_of(name: str) -> str:
    """Letters of the leading sizes that vary."""
    return SIZES[name.partition(".")[0]]


def lettered(name: str, shape: Sequence[int | torch.SymInt]) -> tuple[int | str, ...]:
    """`shape` with a letter for each size that varies."""
    letters = sizes_of(name)
    return tuple(size if isinstance(size, int) else letters[place] for place, size in enumerate(shape))
