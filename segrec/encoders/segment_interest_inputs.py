"""Views -> numbers: what the segment-interest encoder learns by counting, and how it encodes views with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.segment_interest_columns import SideColumns, Surroundings
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.encoders.segment_interest_priors import KNOWN_NAMES, Knowledge
from segrec.segments.batching import ViewTable
from segrec.segments.content import ContentHistory
from segrec.segments.history import HistoryLog
from segrec.tables import Vocabulary

FloatArray = npt.NDArray[np.float32]

ID_COLUMNS = ("user_id", "item_id", "author_id")
_CLIP = 5.0
"Dense columns are cut at so many standard deviations."


@dataclass(frozen=True)
class Scales:
    """Mean and standard deviation of the dense columns over the training views, (F,) each."""

    means: FloatArray
    deviations: FloatArray

    @classmethod
    def of(cls, dense: FloatArray) -> Self:
        """A column that never varies keeps a deviation of 1."""
        deviations = dense.std(axis=0, dtype=np.float64)
        means = dense.mean(axis=0, dtype=np.float64)
        return cls(means.astype(np.float32), np.where(deviations > 1e-6, deviations, 1.0).astype(np.float32))

    def scaled(self, dense: FloatArray) -> FloatArray:
        """(V, F) standardised and cut."""
        return np.clip((dense - self.means) / self.deviations, -_CLIP, _CLIP).astype(np.float32)


@dataclass(frozen=True)
class SegmentInterestInputs:
    """Everything that is counted, not trained: vocabularies, prior knowledge, scales."""

    config: SegmentInterestConfig
    vocabularies: Mapping[str, Vocabulary]
    columns: SideColumns
    knowledge: Knowledge | None
    "None where the config uses no prior knowledge."
    scales: Scales
    vector_width: int
    "Width of the content vectors; 0: ids only."

    @classmethod
    def learn(
        cls,
        config: SegmentInterestConfig,
        columns: SideColumns,
        train: pl.DataFrame,
        valid: pl.DataFrame,
        log: HistoryLog,
        surroundings: Surroundings,
    ) -> tuple[Self, ViewTable]:
        """The inputs, and the training views encoded with priors from other folds than their own."""
        vocabularies = {name: Vocabulary.fit(train[name], config.min_count) for name in ID_COLUMNS}
        width = 0 if surroundings.vectors is None else surroundings.vectors.vectors.meta.dim
        knowledge, (dense, known) = None, nothing_known(train)
        if config.prior_offset or config.context:
            knowledge = Knowledge.count(train, valid)
            view, known = knowledge.out_of_fold(train, config.folds)
            dense = np.concatenate([view, knowledge.history_features(train, log, config.history_views)], axis=1)
        inputs = cls(config, vocabularies, columns, knowledge, Scales.of(dense), width)
        return inputs, inputs._table(train, log, surroundings, dense, known)

    @property
    def table_sizes(self) -> dict[str, int]:
        """Rows of each id and context column's table."""
        sizes = {name: vocabulary.size for name, vocabulary in self.vocabularies.items()}
        return sizes | {column.feature: column.size for column in self.columns.columns}

    @property
    def dense_width(self) -> int:
        """Dense columns of a view."""
        return len(self.scales.means)

    @property
    def known_width(self) -> int:
        """Columns known of a segment."""
        return 1 if self.knowledge is None else len(KNOWN_NAMES)

    def encode(self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings) -> ViewTable:
        """Views that were not counted as a table; `log` holds past rows, maybe those of the views themselves too."""
        if self.knowledge is None:
            return self._table(views, log, surroundings, *nothing_known(views))
        view, known = self.knowledge.features(views)
        history = self.knowledge.history_features(views, log, self.config.history_views)
        return self._table(views, log, surroundings, np.concatenate([view, history], axis=1), known)

    def _table(
        self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings, dense: FloatArray, known: FloatArray
    ) -> ViewTable:
        ids = {name: vocabulary.encode(views[name]) for name, vocabulary in self.vocabularies.items()}
        if self.config.context:
            ids |= self.columns.encode(views, surroundings)
        return ViewTable(
            lengths=views["n_segments"].to_numpy().astype(np.int64),
            exits=views["exit_segment"].to_numpy().astype(np.int64),
            ids=ids,
            dense=self.scales.scaled(dense),
            known=known,
            content=self._content(views, log, surroundings),
        )

    def _content(self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings) -> ContentHistory | None:
        if surroundings.vectors is None or self.vector_width == 0:
            return None
        return ContentHistory.of(
            views,
            log,
            surroundings.vectors,
            cap_views=self.config.history_views,
            cap_segments=self.config.history_segments,
            rule=self.config.history,
        )


def nothing_known(views: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
    """No dense column (V, 0), and prior log-odds of 0 for each segment (T, 1)."""
    return np.zeros((views.height, 0), np.float32), np.zeros((int(views["n_segments"].sum()), 1), np.float32)
