"""How long a view lasted, as something to learn: in seconds, or as a share of the item's duration."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.targets.chance_label import ChanceLabel
from segrec.records import Config, DataError, DatasetFolder, Split

WATCH_TIME, WATCH_SHARE = "watch_time", "watch_share"
CAP_QUANTILE = 0.999
"Longer views of train (a loop left running) count as this one."


class WatchTimeLabel(Config):
    """Seconds watched, min(watch_ms, cap_ms) / 1000; a ranker's exp(logit) is their expectation over `mean`.

    The loss is the weighted logistic regression of Covington et al. (RecSys 2016), section 4.2, with every impression
    as a negative of weight 1 and as a positive of weight u = seconds / mean: -u log p - log(1 - p)
    = (1 + u) cross-entropy(u / (1 + u), p). Its mean is least where the odds p / (1 - p) are E[u].
    """

    kind: Literal["watch_time"] = "watch_time"
    name: Literal["watch_time"] = "watch_time"
    mean: float
    "Seconds a train row."
    cap_ms: int
    rate: float
    "Mean of u / (1 + u) over train."
    unknown: dict[Split, int] = {}
    "Rows without a watch time, by split: left out."

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return ("watch_ms",)

    @property
    def start(self) -> float:
        """Sigmoid that a ranker's last bias starts at: odds of 1 are the mean."""
        return 0.5

    def known(self) -> pl.Expr:
        """True for the rows that have this label."""
        return pl.col("watch_ms").is_not_null()

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) seconds."""
        return rows.select((pl.col("watch_ms").clip(0, self.cap_ms) / 1000).cast(pl.Float32)).to_series().to_numpy()

    def shares(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """u / (1 + u) in [0, 1)."""
        shares: npt.NDArray[np.float32] = values / (values + np.float32(self.mean))
        return shares

    def answers(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Expected seconds."""
        seconds: npt.NDArray[np.float64] = self.mean * np.exp(logits)
        return seconds

    def weights(self, rows: pl.DataFrame) -> None:
        """All rows count alike."""


class WatchShareLabel(ChanceLabel):
    """min(watch_ms / duration_ms, 1), learned by cross-entropy with the share as target: its expectation.

    (Papke and Wooldridge, Journal of Applied Econometrics 1996: fractional logistic regression.)
    """

    kind: Literal["watch_share"] = "watch_share"
    name: Literal["watch_share"] = "watch_share"
    unknown: dict[Split, int] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `values` needs."""
        return ("watch_ms", "duration_ms")

    def known(self) -> pl.Expr:
        """True for the rows that have this label."""
        return pl.col("watch_ms").is_not_null() & (pl.col("duration_ms") > 0).fill_null(False)

    def values(self, rows: pl.DataFrame) -> npt.NDArray[np.float32]:
        """(n,) in [0, 1]."""
        return rows.select(_share().cast(pl.Float32)).to_series().to_numpy()


def fit_watch_time(dataset: DatasetFolder) -> WatchTimeLabel:
    """Mean and cap of train.

    :raises DataError: no train row was watched.
    """
    watched = dataset.interactions(["train"]).select("watch_ms").drop_nulls()
    cap = watched.select(pl.col("watch_ms").quantile(CAP_QUANTILE, "higher")).collect(engine="streaming").item()
    seconds = pl.col("watch_ms").clip(0, cap or 0) / 1000
    mean = watched.select(seconds.mean()).collect(engine="streaming").item()
    if not mean:
        raise DataError(
            dataset.path, "label 'watch_time' is 0 or missing in all train rows", fix="choose another --label"
        )
    rate = watched.select((seconds / (seconds + mean)).mean()).collect(engine="streaming").item()
    unknown = unknown_rows(dataset, pl.col("watch_ms").is_not_null())
    return WatchTimeLabel(mean=mean, cap_ms=int(cap), rate=rate, unknown=unknown)


def fit_watch_share(dataset: DatasetFolder) -> WatchShareLabel:
    """Mean of train.

    :raises DataError: all train rows have a share of 0, or all of 1, or none has any.
    """
    known = WatchShareLabel(rate=0.5).known()
    shares = dataset.interactions(["train"]).filter(known).select(_share().mean())
    rate = shares.collect(engine="streaming").item()
    if rate is None or not 0 < rate < 1:
        raise DataError(
            dataset.path, "label 'watch_share' has one value only in the train rows", found=f"mean {rate}",
            fix="choose another --label",
        )  # fmt: skip
    return WatchShareLabel(rate=rate, unknown=unknown_rows(dataset, known))


def unknown_rows(dataset: DatasetFolder, known: pl.Expr) -> dict[Split, int]:
    """Rows where `known` is not true, by split."""
    missing = dataset.interactions().filter(~known).group_by("split").agg(pl.len())
    return dict(missing.collect(engine="streaming").sort("split").iter_rows())


def _share() -> pl.Expr:
    return (pl.col("watch_ms") / pl.col("duration_ms")).clip(0, 1)
