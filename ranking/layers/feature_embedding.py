"""Embeddings of all ids and bags and the dense columns as one vector a row; histories beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedTensor

from ranking.batching import RankingBatch
from segrec.tables import TableSpec, bags, sequences
from segrec.tables.specs import name_in_table


@dataclass(frozen=True)
class SequenceInput:
    """The codes of a user's past events, oldest first, looked up in the table of the id feature `id_feature`."""

    name: str
    id_feature: str


@dataclass(frozen=True)
class RankerInputs:
    """What a ranker's input looks like."""

    tables: tuple[TableSpec, ...]
    "Pooled: a vector a feature and row."
    features: tuple[str, ...]
    "Ids and bags in the order of their embeddings; sequences too where the ranker takes them as bags."
    dense_width: int
    extra_width: int = 0
    "Columns that a wrapper appends to the embedded row (a segment's position)."
    sequences: tuple[SequenceInput, ...] = ()
    "Read in order; they are aligned: place t of all of them is one event."
    sequence_tables: tuple[TableSpec, ...] = ()
    "Of `sequences` and of the ids that they share them with: pooling `none`, one width."
    own_tables: tuple[TableSpec, ...] = ()
    "Of one ranker alone (CAN), beside those that make the row: one feature each, a sequence where pooling is `none`."

    @property
    def width(self) -> int:
        """Columns of an embedded row, extra ones included."""
        return sum(self.widths) + self.dense_width + self.extra_width

    @property
    def widths(self) -> tuple[int, ...]:
        """Embedding width of each feature."""
        return tuple(self.table_of(feature).dim for feature in self.features)

    @property
    def all_tables(self) -> tuple[TableSpec, ...]:
        """Pooled ones, those of sequences, the ranker's own."""
        return (*self.tables, *self.sequence_tables, *self.own_tables)

    @property
    def history_width(self) -> int:
        """C: columns of one event."""
        return sum(self.table_of(sequence.id_feature).dim for sequence in self.sequences)

    def table_of(self, feature: str) -> TableSpec:
        """The table that makes the row's embedding of `feature`.

        :raises KeyError: no table has it.
        """
        return {name: table for table in (*self.tables, *self.sequence_tables) for name in table.features}[feature]


class Histories(NamedTuple):
    """B targets and their past events, T at most."""

    target: Tensor
    "(B, C): the row's own ids, as an event."
    past: Tensor
    "(B, T, C), oldest first, 0 where there is none."
    valid: Tensor
    "(B, T) True at events: the first ones of each row. T is at least 1."


class Embedded(NamedTuple):
    """A batch after its tables."""

    row: Tensor
    "(B, sum of widths + D): [e_1, ..., e_F, dense]."
    histories: Histories | None
    "None where the ranker reads no sequence."
    own: tuple[Tensor, ...] = ()
    "Found in `own_tables`: (B, dim) of each pooled one, then (B, T, dim) of each sequence, 0 where there is no event."


class FeatureEmbedding(nn.Module):
    """Embeddings by feature name, whatever the sharding plan."""

    def __init__(self, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        super().__init__()
        self.tables = bags(inputs.tables, device=device) if inputs.tables else None
        self.events = sequences(inputs.sequence_tables, device=device) if inputs.sequence_tables else None
        pooled = [table for table in inputs.own_tables if table.pooling != "none"]
        jagged = [table for table in inputs.own_tables if table.pooling == "none"]
        self.own_tables = bags(pooled, device=device) if pooled else None
        self.own_events = sequences(jagged, device=device) if jagged else None
        self._own_features = [table.features[0] for table in pooled], [table.features[0] for table in jagged]
        self.inputs, self.features, self.sequences = inputs, list(inputs.features), inputs.sequences
        self._single = {sequence.id_feature for sequence in inputs.sequences}

    def forward(self, batch: RankingBatch) -> Embedded:
        """A batch -> its embedded rows and histories; the row without ids of a batch without rows is cut off."""
        rows = batch.dense.shape[0]
        pooled = None if self.tables is None else self.tables(batch.sparse)
        if self.events is None:
            row = KeyedTensor.regroup([pooled], [self.features])[0][:rows]
            return Embedded(torch.cat([row, batch.dense], dim=1), None)
        found: dict[str, JaggedTensor] = self.events(batch.sparse)
        parts = [found[name].values() if name in self._single else pooled[name][:rows] for name in self.features]  # type: ignore[index]
        target = torch.cat([found[sequence.id_feature].values() for sequence in self.sequences], dim=1)
        past, valid = self._past(found, batch.longest)
        histories = Histories(target, past[:rows], valid[:rows])
        return Embedded(torch.cat([*parts, batch.dense], dim=1), histories, self._own_of(batch, histories))

    def look_ups(self, batch: RankingBatch) -> list[Any]:
        """What comes out of each collection of tables, as it is: for tools that look for the look-ups."""
        collections = (self.tables, self.events, self.own_tables, self.own_events)
        return [collection(batch.sparse) for collection in collections if collection is not None]

    def _own_of(self, batch: RankingBatch, histories: Histories) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        if self.own_tables is not None:
            pooled = self.own_tables(batch.sparse)
            found.extend(pooled[name][: batch.dense.shape[0]] for name in self._own_features[0])
        if self.own_events is not None:
            jagged, longest = self.own_events(batch.sparse), histories.past.shape[1]
            padded = (jagged[name].to_padded_dense(longest) for name in self._own_features[1])
            found.extend(events[: batch.dense.shape[0]] for events in padded)
        return tuple(found)

    def _past(self, found: dict[str, JaggedTensor], longest: int | None) -> tuple[Tensor, Tensor]:
        """(B, T, C), (B, T)"""
        lengths = found[self.sequences[0].name].lengths()
        if longest is None:
            longest = int(lengths.max()) if len(lengths) else 0
        longest = max(longest, 1)
        valid = torch.arange(longest, device=lengths.device)[None] < lengths[:, None]
        padded = [found[sequence.name].to_padded_dense(longest) for sequence in self.sequences]
        return torch.cat(padded, dim=2), valid


def one_table_each(names: Sequence[str], rows: Sequence[int], template: TableSpec) -> tuple[TableSpec, ...]:
    """A table a feature, all like `template` but for name, rows and feature."""
    return tuple(
        template.model_copy(update={"name": f"{place:02d}_{name_in_table(name)}", "rows": count, "features": (name,)})
        for place, (name, count) in enumerate(zip(names, rows, strict=True))
    )


def with_sequences(inputs: RankerInputs, sequences: Sequence[SequenceInput], *, in_order: bool) -> RankerInputs:
    """`inputs` with sequences that share the tables of the ids that they hold.

    :param in_order: the ranker reads them as `Histories`, and the tables of those ids hold one row an id; else each is
        a bag more, the mean of its events.
    """
    shared = {
        name: (name, *(sequence.name for sequence in sequences if sequence.id_feature == name))
        for name in dict.fromkeys(sequence.id_feature for sequence in sequences)
    }
    tables = [
        table.model_copy(update={"features": shared.get(table.features[0], table.features)}) for table in inputs.tables
    ]
    if not in_order:
        names = (*inputs.features, *(sequence.name for sequence in sequences))
        return RankerInputs(tuple(tables), names, inputs.dense_width, inputs.extra_width)
    return RankerInputs(
        tables=tuple(table for table in tables if table.features[0] not in shared),
        features=inputs.features,
        dense_width=inputs.dense_width,
        extra_width=inputs.extra_width,
        sequences=tuple(sequences),
        sequence_tables=tuple(
            table.model_copy(update={"pooling": "none"}) for table in tables if table.features[0] in shared
        ),
    )
