"""What became of the ids of a run, by split and feature: known, unseen, missing, sharing a row, evicted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from ranking.encoding.feature_encoding import FittedFeatures
from ranking.encoding.feature_spec import BagFeature, IdFeature
from ranking.encoding.raw_ids import raw_ids
from ranking.rows.encoded_rows import EncodedRows
from segrec.records import DatasetFolder, Split
from segrec.tables import MISSING, IdCodes, Vocabulary
from segrec.tables.id_codes import IdKind, RawKeys
from segrec.tables.managed_ids import ManagedIds
from segrec.tables.vocabulary import FIRST_KNOWN

FILE = "id_report.json"


@dataclass(frozen=True)
class IdUse:
    """One feature on one split. Rows are impressions; of a bag, its ids."""

    split: str
    feature: str
    ids: IdKind
    table_rows: int
    known: int = 0
    "Rows whose id has a row of the table: was in train (vocabulary, hash), has a row at the end (managed)."
    unseen: int = 0
    missing: int = 0
    distinct: int | None = None
    "Hash: different ids of the split."
    collided: int | None = None
    "Hash: those of them that share a row with another id of train or of the split."
    collided_rows: int | None = None
    admitted: int | None = None
    "Managed: ids that were given a row in training."
    evicted: int | None = None
    "Managed: ids that lost theirs."


@dataclass(frozen=True)
class IdReport:
    """A run's `IdUse`s; stored as id_report.json."""

    uses: tuple[IdUse, ...]

    @classmethod
    def measure(
        cls,
        dataset: DatasetFolder,
        features: FittedFeatures,
        encoded: Mapping[Split, Iterable[EncodedRows]],
        managed: ManagedIds | None = None,
        *,
        wanted: pl.Expr | None = None,
    ) -> Self:
        """Counts the encoded rows of each split, and the raw ids of hashed features.

        :param wanted: of the dataset's rows, those that `encoded` has; None = all.
        """
        train = {
            feature.name: raw_ids(dataset, feature, "train", wanted)
            for feature in features.spec.coded
            if feature.coding.ids == "hash"
        }
        uses: list[IdUse] = []
        for split, parts in encoded.items():
            counted = _counted(features, parts, managed)
            for feature in features.spec.coded:
                use = IdUse(split, feature.name, feature.coding.ids, features.rows_of(feature.name))
                known, unseen, missing = (int(count) for count in counted[feature.name])
                use = replace(use, known=known, unseen=unseen, missing=missing)
                if feature.name in train:
                    own = raw_ids(dataset, feature, split, wanted)
                    use = _with_collisions(use, feature, features, train[feature.name], own)
                if feature.coding.ids == "managed" and managed is not None:
                    counts = managed.counts()[feature.name]
                    use = replace(use, admitted=counts.admitted, evicted=counts.evicted)
                uses.append(use)
        return cls(tuple(uses))

    def write(self, folder: Path) -> None:
        """id_report.json, one line a feature and split."""
        lines = [
            json.dumps({key: value for key, value in asdict(use).items() if value is not None}) for use in self.uses
        ]
        (folder / FILE).write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote."""
        return cls(tuple(IdUse(**use) for use in json.loads((folder / FILE).read_text(encoding="utf-8"))))

    def lines(self) -> list[str]:
        """A table of the features that have something to tell; empty where none has."""
        told = [use for use in self.uses if use.unseen or use.missing or use.collided or use.evicted]
        if not told:
            return []
        head = ("split", "feature", "ids", "rows", "unseen", "missing", "collided", "evicted")
        cells = [head, *(_cells(use) for use in told)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        ]


def _counted(
    features: FittedFeatures, parts: Iterable[EncodedRows], managed: ManagedIds | None
) -> dict[str, npt.NDArray[np.int64]]:
    """(known, unseen, missing) rows of each feature."""
    names = [feature.name for feature in features.spec.coded]
    totals = {name: np.zeros(3, dtype=np.int64) for name in names}
    for rows in parts:
        columns = [*rows.ids, *(rows.bags[name][0] for name in names[len(rows.ids) :])]
        for name, codes in zip(names, columns, strict=True):
            placed = _rows_of(name, codes.astype(np.int64), features.vocabularies.get(name), managed)
            found = Vocabulary.counts_of(placed)
            totals[name] += (found.known, found.unseen, found.missing)
    return totals


def _rows_of(
    name: str, codes: npt.NDArray[np.int64], kind: IdCodes | None, managed: ManagedIds | None
) -> npt.NDArray[np.int64]:
    if not isinstance(kind, RawKeys):
        return codes
    if managed is None:  # they lie sharded inside TorchRec's tables: only missing ones can be told
        return np.where(codes == kind.missing, MISSING, FIRST_KNOWN)
    rows: npt.NDArray[np.int64] = managed.rows_of(name, torch.from_numpy(codes)).cpu().numpy()
    return rows


def _with_collisions(
    use: IdUse, feature: IdFeature | BagFeature, features: FittedFeatures, train: pl.DataFrame, split: pl.DataFrame
) -> IdUse:
    """Of a hashed feature: `train` and `split` hold id and rows of each id."""
    everyone = pl.concat([train, split]).select(pl.col("id").unique())
    codes = features.vocabularies[feature.name]
    sharing = np.bincount(codes.encode(everyone["id"]), minlength=codes.size)
    collided = split.filter(pl.Series(sharing[codes.encode(split["id"])] > 1))
    unseen = int(split.join(train, on="id", how="anti")["rows"].sum())
    return replace(
        use,
        known=use.known - unseen,
        unseen=unseen,
        distinct=split.height,
        collided=collided.height,
        collided_rows=int(collided["rows"].sum()),
    )


def _cells(use: IdUse) -> tuple[str, ...]:
    rows = use.known + use.unseen + use.missing
    collided = f"{_share(use.collided, use.distinct)} of ids" if use.collided is not None else ""
    evicted = "" if use.evicted is None else f"{use.evicted} of {use.admitted}"
    told = (use.split, use.feature, use.ids, str(use.table_rows))
    return (*told, _share(use.unseen, rows), _share(use.missing, rows), collided, evicted)


def _share(part: int, whole: int | None) -> str:
    return f"{part / whole:.1%}" if whole else "0.0%"
