"""What a CTR evaluation measures on: the rows of a split, their label, their users, and which are warm or cold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.targets.labels import EffectiveViewLabel, FlagLabel, SingleLabel
from ranking.targets.watch_labels import WatchTimeLabel
from segrec.metrics.intervals import cluster_codes
from segrec.records import KEY, DataError, DatasetFolder, Split

_ROW = (*KEY, "author_id", "duration_ms")

Bools = npt.NDArray[np.bool_]

Cohort = Literal[
    "all", "warm", "cold", "warm_users", "cold_users", "warm_items", "cold_items", "warm_authors", "cold_authors",
    "first_of_user",
]  # fmt: skip
COHORTS: tuple[Cohort, ...] = get_args(Cohort)
"""warm: user and item both occur in train; cold: at least one does not; the next six look at one side only. A row
without an author is of neither authors' cohort.

first_of_user: each user's first row of the split. No model can have seen a label of these rows' users inside the split,
so models that follow a user's history up to the minute and models that do not are compared there on equal terms."""


@dataclass(frozen=True)
class Outcomes:
    """The n rows of a split that have the label, in the dataset's order: by time."""

    rows: pl.DataFrame
    "user_id, item_id, time_ms, author_id, duration_ms; n rows."
    values: npt.NDArray[np.float64]
    "0 or 1; of a watch time seconds, of a watch share [0, 1]."
    binary: bool
    "Whether `values` are 0 and 1, and predictions probabilities."
    bounded: bool
    "Whether predictions lie in [0, 1]."
    users: npt.NDArray[np.int64]
    "Number of each row's user, 0 .. : the clusters of intervals and the groups of GAUC."
    warm_user: Bools
    warm_item: Bools
    warm_author: Bools
    cold_author: Bools
    split: Split
    label: str

    @classmethod
    def of(cls, dataset: DatasetFolder, label: SingleLabel, split: Split) -> Outcomes:
        """:raises DataError: the split has no row."""
        columns = list(dict.fromkeys([*_ROW, *label.columns]))
        labelled = dataset.interactions([split]).filter(label.known())
        frame = labelled.select(columns).collect(engine="streaming")
        if frame.is_empty():
            raise DataError(dataset.path, f"has no {split} row with label {label.name}", fix="choose another --split")
        warm_author = _seen(dataset, frame["author_id"])
        return cls(
            rows=frame.select(_ROW),
            values=label.values(frame).astype(np.float64),
            binary=isinstance(label, FlagLabel | EffectiveViewLabel),
            bounded=not isinstance(label, WatchTimeLabel),
            users=cluster_codes(frame["user_id"].to_numpy(), frame.height),
            warm_user=_seen(dataset, frame["user_id"]),
            warm_item=_seen(dataset, frame["item_id"]),
            warm_author=warm_author,
            cold_author=frame["author_id"].is_not_null().to_numpy() & ~warm_author,
            split=split,
            label=label.name,
        )

    @property
    def labels(self) -> Bools:
        """(n,) True for positive rows."""
        return self.values > 0

    def cohort(self, name: Cohort) -> Bools:
        """(n,) True for the rows of the cohort."""
        warm = {"users": self.warm_user, "items": self.warm_item, "": self.warm_user & self.warm_item}
        if name == "all":
            return np.ones(len(self.labels), dtype=np.bool_)
        if name in ("warm_authors", "cold_authors"):
            return self.warm_author if name == "warm_authors" else self.cold_author
        if name == "first_of_user":
            first = np.zeros(len(self.labels), dtype=np.bool_)
            first[np.unique(self.users, return_index=True)[1]] = True
            return first
        temperature, _, side = name.partition("_")
        return warm[side] if temperature == "warm" else ~warm[side]


def _seen(dataset: DatasetFolder, ids: pl.Series) -> Bools:
    """Which of `ids` occur in train; a missing one does not."""
    known = dataset.interactions(["train"]).select(pl.col(ids.name).unique()).collect(engine="streaming")
    seen: Bools = ids.is_in(known.to_series().implode()).fill_null(False).to_numpy()
    return seen
