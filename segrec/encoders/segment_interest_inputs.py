"""Views -> numbers: what the segment-interest encoder learns by counting, and how it encodes views with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.scales import Scales
from segrec.encoders.segment_interest_columns import Side, SideColumns, Surroundings
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.encoders.segment_interest_counts import KEYS, ExitCounts
from segrec.encoders.segment_interest_past import PastFeatures
from segrec.segments.batching import ViewTable
from segrec.segments.content import ContentHistory
from segrec.segments.history import HistoryLog
from segrec.tables import Vocabulary

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

ID_COLUMNS = ("user_id", "item_id", "author_id")


@dataclass(frozen=True)
class SegmentInterestInputs:
    """Everything that is counted, not trained: vocabularies, columns, exit counts, scales."""

    config: SegmentInterestConfig
    vocabularies: Mapping[str, Vocabulary]
    columns: SideColumns
    counts: ExitCounts | None
    "None where the config uses neither priors nor context."
    scales: Scales
    vector_width: int
    "Width of the content vectors; 0: ids only."

    @classmethod
    def learn(
        cls,
        config: SegmentInterestConfig,
        columns: SideColumns,
        train: pl.DataFrame,
        *,
        blocks: IntArray,
        log: HistoryLog,
        surroundings: Surroundings,
        width: int,
    ) -> tuple[Self, ViewTable]:
        """The inputs, and the training views encoded with counts of other blocks of time than their own."""
        vocabularies = {name: Vocabulary.fit(train[name], config.min_count) for name in ID_COLUMNS}
        vector_width = 0 if surroundings.vectors is None else surroundings.vectors.vectors.meta.dim
        scales = Scales.none(0)
        if not config.counted:
            inputs = cls(config, vocabularies, columns, None, scales, vector_width)
            return inputs, inputs.encode(train, log, surroundings)
        counts = ExitCounts.count(train, width, _counted_keys(config, columns))
        inputs = cls(config, vocabularies, columns, counts, scales, vector_width)
        whole, known = counts.out_of_fold(train, blocks)
        dense = inputs._dense(train, log, surroundings, whole)
        inputs = cls(config, vocabularies, columns, counts, Scales.of(dense), vector_width)
        return inputs, inputs._table(train, log, surroundings, dense, known)

    @property
    def table_sizes(self) -> dict[str, int]:
        """Rows of each id and context column's table."""
        sizes = {name: vocabulary.size for name, vocabulary in self.vocabularies.items()}
        for column in self.columns.categories:
            assert column.vocabulary is not None
            sizes[column.feature] = column.vocabulary.size
        return sizes

    @property
    def dense_width(self) -> int:
        """Dense columns of a view."""
        return len(self.scales.means)

    @property
    def known_width(self) -> int:
        """Columns known of a segment."""
        return 1 if self.counts is None else len(self.counts.known_names)

    def encode(self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings) -> ViewTable:
        """Views that were not counted as a table; `log` holds past rows, maybe those of the views themselves too."""
        if self.counts is None:
            nothing = np.zeros((int(views["n_segments"].sum()), 1), np.float32)
            return self._table(views, log, surroundings, np.zeros((views.height, 0), np.float32), nothing)
        whole, known = self.counts.features(views)
        return self._table(views, log, surroundings, self._dense(views, log, surroundings, whole), known)

    def _dense(self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings, whole: FloatArray) -> FloatArray:
        """(V, F): counts, side numbers, and what the user's past views showed."""
        assert self.counts is not None
        if not self.config.context:
            return np.zeros((views.height, 0), np.float32)
        page, topic = (self._matching(log.rows, surroundings, name) for name in ("page", "topic"))
        past = PastFeatures.of(log, self.counts.hazards, page, topic)
        now_page, now_topic = (self._matching(views, surroundings, name) for name in ("page", "topic"))
        shown = past.features(views, now_page, now_topic, self.config.history_views)
        return np.concatenate([whole, self.columns.dense(views, surroundings), shown], axis=1)

    def _matching(self, rows: pl.DataFrame, surroundings: Surroundings, what: str) -> IntArray:
        """(n,) codes of the page or topic of rows, 0 = unknown; rare values (code 1) match each other not."""
        side: Side = "view" if what == "page" else "item"
        name = self.config.page if what == "page" else self.config.topic
        for column in self.columns.categories:
            if column.side == side and column.name == name:
                codes = column.codes(surroundings.column(rows, side, name))
                return np.where(codes == 1, 0, codes)
        return np.zeros(rows.height, np.int64)

    def _table(
        self, views: pl.DataFrame, log: HistoryLog, surroundings: Surroundings, dense: FloatArray, known: FloatArray
    ) -> ViewTable:
        ids = {name: vocabulary.encode(views[name]) for name, vocabulary in self.vocabularies.items()}
        if self.config.context:
            ids |= self.columns.codes(views, surroundings)
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
            hazards=self.counts.hazards if self.counts is not None and self.config.body == "mlp" else None,
        )


def _counted_keys(config: SegmentInterestConfig, columns: SideColumns) -> tuple[str, ...]:
    """Ids, and the page: what a page makes of a click decides which early exits can occur there at all."""
    pages = [column.name for column in columns.categories if column.side == "view" and column.name == config.page]
    return (*KEYS, *pages)
