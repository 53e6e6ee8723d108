"""The views that are measured, and parts of them by whether the item was seen in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from segrec.encoders.exit_table import Outcomes
from segrec.metrics.intervals import cluster_codes
from segrec.records import ConfigError

COHORTS = ("all", "warm", "cold")


@dataclass(frozen=True)
class Cohort:
    """Some of the measured views, drawn by user in the bootstrap."""

    name: str
    rows: npt.NDArray[np.bool_]
    "(n,) of all measured views."
    users: npt.NDArray[Any]
    "(n,) user ids of all measured views."
    outcomes: Outcomes
    "Of all measured views."

    @property
    def size(self) -> int:
        """Views in the cohort."""
        return int(self.rows.sum())

    @cached_property
    def codes(self) -> npt.NDArray[np.int64]:
        """(size,) user number of each of its views."""
        return cluster_codes(self.users[self.rows], self.size)

    @cached_property
    def own_outcomes(self) -> Outcomes:
        """Outcomes of its views."""
        return self.outcomes.rows(self.rows)


def skip_cohorts(views: pl.DataFrame, train: pl.DataFrame, names: Sequence[str] | None = None) -> list[Cohort]:
    """all; warm = items with a training view; cold = items without. Empty ones are left out.

    :raises ConfigError: a name among `names` (all when not given) that is none of these.
    """
    for name in names or ():
        if name not in COHORTS:
            raise ConfigError(f"unknown cohort {name!r} (known: {', '.join(COHORTS)})")
    seen = views["item_id"].is_in(train["item_id"].unique().implode()).to_numpy()
    users, outcomes = views["user_id"].to_numpy(), Outcomes.of(views)
    masks = {"all": np.ones(views.height, dtype=bool), "warm": seen, "cold": ~seen}
    return [Cohort(name, masks[name], users, outcomes) for name in names or COHORTS if masks[name].any()]
