"""How often an id's earlier rows were positive: lagged rates and counts as dense features."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ranking.rows.encoded_rows import EncodedRows
from segrec.records import DataError

BINS = 24
"Equal spans of train's time."


@dataclass(frozen=True)
class LabelRates:
    """Rows and positive rows of each id in train, by span of time.

    A row sees the spans before its own: never its own label nor anything later; rows after train see all of it.
    (Out-of-fold rates see later rows, and within a user they are low just where the row is positive, because that
    positive is missing from them.) Two columns a feature: logit of (positives + strength * base) / (rows + strength),
    and log(1 + rows).
    """

    features: tuple[str, ...]
    "All id features, in the order of the codes."
    base: float
    "Positive rate of train."
    strength: float
    "How many rows at the base rate are mixed in."
    rows: dict[str, npt.NDArray[np.int32]]
    """(table rows, BINS + 1) of each feature that gets rates: rows in the spans before span 0, 1 .. BINS (after train).
    Missing (0) and unseen (1) count as ids too."""
    positives: dict[str, npt.NDArray[np.number]]
    scaling: tuple[tuple[float, float], ...]
    "Mean and deviation of each column on train."

    @classmethod
    def fit(
        cls,
        train: Callable[[], Iterable[EncodedRows]],
        features: Sequence[str],
        sizes: Mapping[str, int],
        *,
        base: float,
        strength: float,
        fractional: bool = False,
    ) -> Self:
        """Counts train rows (with labels and spans), piece by piece: `train` gives them, twice.

        :param sizes: table rows of the features that get rates.
        :param fractional: labels are rates in [0, 1], not 0 or 1.
        """
        rows = {name: np.zeros((size, BINS + 1), dtype=np.int32) for name, size in sizes.items()}
        kind: type[np.number] = np.float32 if fractional else np.int32
        positives: dict[str, npt.NDArray[np.number]] = {
            name: np.zeros((size, BINS + 1), dtype=kind) for name, size in sizes.items()
        }
        for part in train():
            for name in sizes:
                codes = part.ids[features.index(name)]
                np.add.at(rows[name], (codes, part.spans + 1), 1)
                np.add.at(positives[name], (codes, part.spans + 1), part.labels.astype(kind))
        for counts in (*rows.values(), *positives.values()):
            np.cumsum(counts, axis=1, out=counts)
        unscaled = cls(tuple(features), base, strength, rows, positives, ((0.0, 1.0),) * (2 * len(sizes)))
        return replace(unscaled, scaling=_scaling(unscaled, train()))

    @property
    def names(self) -> list[str]:
        """Names of the dense columns."""
        return [f"{name}_{kind}" for name in self.rows for kind in ("rate", "rows")]

    def columns(self, encoded: EncodedRows) -> npt.NDArray[np.float32]:
        """(n, 2 K), standardised."""
        mean, deviation = np.asarray(self.scaling, dtype=np.float32).reshape(-1, 2).T
        scaled: npt.NDArray[np.float32] = (self._unscaled(encoded) - mean) / deviation
        return scaled

    def save(self, file: Path) -> None:
        """One safetensors file."""
        told = {"base": self.base, "strength": self.strength, "scaling": self.scaling, "features": self.features}
        counts: dict[str, npt.NDArray[np.number]] = {f"rows/{name}": array for name, array in self.rows.items()}
        counts |= {f"positives/{name}": array for name, array in self.positives.items()}
        save_file(counts, file, metadata={"label_rates": json.dumps(told), "order": json.dumps(list(self.rows))})

    @classmethod
    def load(cls, file: Path) -> Self:
        """:raises DataError: the file is missing or damaged."""
        try:
            with safe_open(file, framework="numpy") as opened:
                metadata = opened.metadata()
                told, order = json.loads(metadata["label_rates"]), json.loads(metadata["order"])
                rows = {name: opened.get_tensor(f"rows/{name}") for name in order}
                positives = {name: opened.get_tensor(f"positives/{name}") for name in order}
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(file, "cannot be read", found=str(error), fix="run `segrec rank` again") from None
        scaling = tuple((mean, deviation) for mean, deviation in told["scaling"])
        return cls(tuple(told["features"]), told["base"], told["strength"], rows, positives, scaling)

    def _unscaled(self, encoded: EncodedRows) -> npt.NDArray[np.float32]:
        out = np.empty((encoded.rows, 2 * len(self.rows)), dtype=np.float32)
        for place, (name, counts) in enumerate(self.rows.items()):
            codes = encoded.ids[self.features.index(name)]
            seen, positive = (table[codes, encoded.spans] for table in (counts, self.positives[name]))
            rate = (positive + self.strength * self.base) / (seen + self.strength)
            out[:, 2 * place] = np.log(rate / (1 - rate))
            out[:, 2 * place + 1] = np.log1p(seen)
        return out


def spans_of(time_ms: npt.NDArray[np.int64], first_ms: int, last_ms: int) -> npt.NDArray[np.int8]:
    """Span of each row (n,): 0 .. BINS - 1 inside train's time [first_ms, last_ms], BINS after it."""
    width = (last_ms - first_ms + 1) / BINS
    spans: npt.NDArray[np.int8] = np.clip((time_ms - first_ms) // width, 0, BINS).astype(np.int8)
    return spans


def _scaling(rates: LabelRates, train: Iterable[EncodedRows]) -> tuple[tuple[float, float], ...]:
    count, total, squares = 0, np.zeros(2 * len(rates.rows)), np.zeros(2 * len(rates.rows))
    for part in train:
        columns = rates.columns(part).astype(np.float64)
        count += len(columns)
        total += columns.sum(axis=0)
        squares += (columns**2).sum(axis=0)
    mean = total / max(count, 1)
    deviation = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return tuple((float(m), float(d) if d > 1e-6 else 1.0) for m, d in zip(mean, deviation, strict=True))
