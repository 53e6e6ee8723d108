"""A spec fitted on train: vocabularies, bucket edges and scaling; turns rows of a dataset into codes and numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.encoding.column_values import bag_codes, days, flat_bags, id_values, log_age, numbers, transformed
from ranking.encoding.event_windows import EventCodes, EventWindows
from ranking.encoding.feature_columns import check_columns
from ranking.encoding.feature_fitting import (
    fit_edges,
    fit_scaling,
    fit_vocabulary,
    frequent,
    train_sides,
    train_vocabulary,
)
from ranking.encoding.feature_spec import KEY_OF, BagFeature, FeatureSpec, IdFeature, Side
from ranking.encoding.histories import HistoryStore
from ranking.rows.encoded_rows import EncodedRows
from ranking.rows.row_context import RowContext
from segrec.records import KEY, DataError, DatasetFolder, scan_parquet
from segrec.tables import MISSING, UNSEEN, IdCodes, Vocabulary, id_codes

COHORT_IDS = ("user_id", "item_id")
"Ids whose presence in train makes a row warm."


@dataclass(frozen=True)
class FittedFeatures:
    """What encoding needs, fitted on train rows only and stored with the run."""

    spec: FeatureSpec
    vocabularies: dict[str, IdCodes]
    "By feature name; ids and bags without buckets. Hashed and managed ones know their number of rows only."
    seen: dict[str, Vocabulary]
    "All of train's user_id (where rows have one) and item_id, however rare: what warm means."
    edges: dict[str, tuple[float, ...]]
    "Inner edges of bucketed ids, ascending."
    scaling: dict[str, tuple[float, float]]
    "Mean and deviation of dense features after their transform."
    train_ms: tuple[int, int]
    "First and last time_ms of train."

    @classmethod
    def fit(cls, dataset: DatasetFolder, spec: FeatureSpec) -> Self:
        """Fits on the train rows, streaming: memory grows with the number of ids, not with the log.

        :raises DataError: the dataset has no train row, or lacks a column of the spec.
        """
        check_columns(dataset, spec)
        context = RowContext.of(dataset)
        cohorts = [column for column in COHORT_IDS if column in dataset.interactions().collect_schema()]
        seen = {column: train_vocabulary(context, column) for column in cohorts}
        if not len(seen["item_id"].ids):
            raise DataError(dataset.path, "has no train row", fix="read it again with another split")
        sides = train_sides(dataset, seen)
        vocabularies: dict[str, IdCodes] = {}
        edges = {}
        for feature in spec.coded:
            if isinstance(feature, IdFeature) and feature.buckets is not None:
                edges[feature.name] = fit_edges(context, sides, feature)
            elif feature.coding.ids != "vocabulary":
                vocabularies[feature.name] = id_codes(feature.coding)
            elif feature.side == "impression" and isinstance(feature, IdFeature):
                whole = seen.get(feature.column) or train_vocabulary(context, feature.column)
                vocabularies[feature.name] = frequent(whole, feature.min_count)
            else:
                vocabularies[feature.name] = fit_vocabulary(context, sides, feature)
        scaling = {feature.name: fit_scaling(context, sides, feature) for feature in spec.dense}
        train = dataset.interactions(["train"]).select(first=pl.col("time_ms").min(), last=pl.col("time_ms").max())
        return cls(spec, vocabularies, seen, edges, scaling, train.collect(engine="streaming").row(0))

    def rows_of(self, name: str) -> int:
        """Rows of the table behind an id or bag feature."""
        return len(self.edges[name]) + 3 if name in self.edges else self.vocabularies[name].size

    @property
    def dense_names(self) -> list[str]:
        """Columns of the dense matrix: values in the spec's order, then a missing indicator for each imputed one."""
        imputed = [f"{feature.name}_missing" for feature in self.spec.dense if feature.missing == "impute"]
        return [feature.name for feature in self.spec.dense] + imputed

    def save(self, folder: Path) -> None:
        """Writes spec.yaml, scaling.json and one Parquet file a vocabulary (hashed and managed ids have none)."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.yaml").write_text(self.spec.to_yaml(), encoding="utf-8")
        numbers = {"edges": self.edges, "scaling": self.scaling, "train_ms": self.train_ms}
        numbers["seen"] = list(self.seen)
        (folder / "scaling.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        for kind, group in (("vocabularies", self.vocabularies), ("seen", self.seen)):
            (folder / kind).mkdir(exist_ok=True)
            for name, vocabulary in group.items():
                if isinstance(vocabulary, Vocabulary):
                    vocabulary.to_frame().write_parquet(folder / kind / f"{name}.parquet", compression="zstd")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """:raises DataError: a file is missing or damaged."""
        try:
            numbers = json.loads((folder / "scaling.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                folder / "scaling.json", "cannot be read", found=str(error), fix="run `segrec rank` again"
            ) from None
        spec = FeatureSpec.of(folder / "spec.yaml")
        edges = {name: tuple(values) for name, values in numbers["edges"].items()}
        coded = [feature for feature in spec.coded if feature.name not in edges]
        return cls(
            spec,
            {feature.name: _load_codes(folder / "vocabularies", feature) for feature in coded},
            {name: _load_vocabulary(folder / "seen" / f"{name}.parquet") for name in numbers.get("seen", COHORT_IDS)},
            edges,
            {name: (mean, deviation) for name, (mean, deviation) in numbers["scaling"].items()},
            (numbers["train_ms"][0], numbers["train_ms"][1]),
        )


class RowEncoder:
    """Encodes impressions of one dataset; side tables are encoded once, here.

    :raises DataError: the dataset lacks a column of the spec, or it holds lists where the spec has single values.
    """

    def __init__(self, fitted: FittedFeatures, dataset: DatasetFolder) -> None:
        check_columns(dataset, fitted.spec)
        self.fitted, self._dataset, self._context = fitted, dataset, RowContext.of(dataset)
        schema = dataset.interactions().collect_schema().names()
        self.keys = tuple(key for key in (*KEY, "segment") if key in schema)
        "user_id, item_id, time_ms; rows that are segments have no user but a number."
        self._sides = {side: self._encoded_side(side) for side, key in KEY_OF.items() if key in self.keys}
        own = [feature.column for feature in fitted.spec.all if feature.side == "impression"]
        self.columns = list(dict.fromkeys([*self.keys, *(name for name in own if name not in self._context.names)]))
        self._past = self._history_store()
        self._events = EventCodes({}, {}) if self._past is None else self._encoded_events(self._past)

    def encode(self, frame: pl.DataFrame) -> EncodedRows:
        """Codes and numbers of impressions, rows in the frame's order.

        :raises DataError: a missing value or an unseen id under policy "reject", an infinite number (the row is named).
        """
        spec = self.fitted.spec
        rows = self._context.added(frame.lazy()).collect()
        coded = rows.select(*self.keys, "day", *self._coded(rows, "impression"))
        for side, encoded in self._sides.items():
            coded = coded.join(encoded, on=KEY_OF[side], how="left", maintain_order="left")
        for feature in spec.all:
            if feature.missing == "reject":
                self._refuse_missing(coded, feature.name)
        for feature in spec.coded:
            if feature.unseen == "reject":
                self._refuse_unseen(coded, feature)
        ids = np.stack([self._filled(coded[_coded_name(feature.name)], feature) for feature in spec.ids])
        bags = {feature.name: flat_bags(coded[_coded_name(feature.name)]) for feature in spec.bags}
        return EncodedRows(ids=ids, bags=bags, dense=self._dense(coded), past=self._windows(frame))

    def _filled(self, codes: pl.Series, feature: IdFeature) -> npt.NDArray[np.integer]:
        """(n,) codes, missing ones included; int64 where they are keys of managed ids, else int32."""
        known = self.fitted.vocabularies.get(feature.name)
        return codes.fill_null(MISSING if known is None else known.missing).to_numpy()

    def _history_store(self) -> HistoryStore | None:
        spec = self.fitted.spec
        wanted = {sequence.id_feature for sequence in spec.sequences}
        columns = [_event_column(feature) for feature in spec.ids if feature.name in wanted]
        return HistoryStore.of(self._dataset, columns, spec.history.events) if columns else None

    def _windows(self, frame: pl.DataFrame) -> EventWindows | None:
        if self._past is None:
            return None
        start, end = self._past.windows(frame, self.fitted.spec.history)
        return EventWindows(start, end, self._events)

    def _encoded_events(self, store: HistoryStore) -> EventCodes:
        """Codes of the store's events, as their id features code the same values."""
        features = {feature.name: feature for feature in self.fitted.spec.ids}
        places, codes = {}, {}
        for sequence in self.fitted.spec.sequences:
            feature = features[sequence.id_feature]
            column = store.columns[_event_column(feature)]
            if feature.side == "impression":
                coded = self._id_codes(column.values, feature)
            else:
                key, side = KEY_OF[feature.side], self._sides[feature.side]
                joined = column.values.rename(key).to_frame().join(side, on=key, how="left", maintain_order="left")
                coded = joined[_coded_name(feature.name)]
            places[sequence.name], codes[sequence.name] = column.places, self._filled(coded, feature)
        return EventCodes(places, codes)

    def _dense(self, coded: pl.DataFrame) -> npt.NDArray[np.float32]:
        values, indicators = [], []
        for feature in self.fitted.spec.dense:
            column = coded[_coded_name(feature.name)]
            if feature.transform == "log_age_days":
                column = self._scaled(log_age(coded["day"], column).rename(feature.name))
            values.append(column.fill_null(0.0).cast(pl.Float32).to_numpy())
            if feature.missing == "impute":
                indicators.append(column.is_null().cast(pl.Float32).to_numpy())
        if not values:
            return np.zeros((coded.height, 0), dtype=np.float32)
        return np.ascontiguousarray(np.stack([*values, *indicators], axis=1))

    def _encoded_side(self, side: Side) -> pl.DataFrame:
        frame = self._dataset.users() if side == "user" else self._dataset.items()
        key = KEY_OF[side]
        if frame is None:
            dtype = self._dataset.interactions().collect_schema()[key]
            return pl.DataFrame(schema={key: dtype})
        return frame.select(key, *self._coded(frame, side))

    def _coded(self, frame: pl.DataFrame, side: Side) -> list[pl.Series]:
        """Coded columns of the features that live in `frame`; null = missing."""
        spec, fitted = self.fitted.spec, self.fitted
        coded: list[pl.Series] = []
        for feature in spec.all:
            if feature.side != side:
                continue
            values = frame[feature.column]
            if isinstance(feature, IdFeature):
                column = self._id_codes(values, feature)
            elif isinstance(feature, BagFeature):
                column = bag_codes(values, feature, fitted.vocabularies[feature.name])
            elif feature.transform == "log_age_days":
                column = days(values)
            else:
                column = self._scaled(transformed(values, feature).rename(feature.name))
            coded.append(column.rename(_coded_name(feature.name)))
        return coded

    def _id_codes(self, values: pl.Series, feature: IdFeature) -> pl.Series:
        if feature.buckets is None:
            vocabulary = self.fitted.vocabularies[feature.name]
            encoded = pl.Series(vocabulary.encode(id_values(values)))
            found = encoded.set(encoded == vocabulary.missing, None)
            return found if feature.coding.ids == "managed" else found.cast(pl.Int32)
        known = numbers(values)
        codes = np.searchsorted(self.fitted.edges[feature.name], known.fill_null(0.0).to_numpy(), side="left") + 2
        return pl.Series(codes.astype(np.int32)).set(known.is_null(), None)

    def _scaled(self, values: pl.Series) -> pl.Series:
        mean, deviation = self.fitted.scaling[values.name]
        infinite = values.is_infinite()
        if infinite.any():
            raise DataError(
                self._dataset.path,
                f"feature {values.name!r} is infinite in row {infinite.arg_max()}",
                fix="clean the source",
            )
        return ((values - mean) / deviation).cast(pl.Float32)

    def _refuse_missing(self, coded: pl.DataFrame, name: str) -> None:
        missing = coded.filter(pl.col(_coded_name(name)).is_null())
        if missing.height:
            raise DataError(
                self._dataset.path, f"feature {name!r} is missing and its policy is 'reject'",
                found=self._first_key(missing), fix=f"fill it in the source, or set features.missing.{name}=impute",
            )  # fmt: skip

    def _refuse_unseen(self, coded: pl.DataFrame, feature: IdFeature | BagFeature) -> None:
        codes = pl.col(_coded_name(feature.name))
        unseen = coded.filter(codes.list.contains(UNSEEN) if isinstance(feature, BagFeature) else codes == UNSEEN)
        if unseen.height:
            raise DataError(
                self._dataset.path, f"feature {feature.name!r} holds an id that train did not; its policy is 'reject'",
                found=self._first_key(unseen), fix=f"train on such rows, or set features.unseen.{feature.name}=share",
            )  # fmt: skip

    def _first_key(self, rows: pl.DataFrame) -> str:
        return ", ".join(f"{key} {value}" for key, value in rows.select(self.keys).row(0, named=True).items())


def _coded_name(feature: str) -> str:
    """Coded columns stand beside the keys, which may be features themselves."""
    return f"{feature} coded"


def _load_codes(folder: Path, feature: IdFeature | BagFeature) -> IdCodes:
    if feature.coding.ids != "vocabulary":
        return id_codes(feature.coding)
    return _load_vocabulary(folder / f"{feature.name}.parquet")


def _event_column(feature: IdFeature) -> str:
    """The impression column that tells a past event's value of `feature`."""
    return feature.column if feature.side == "impression" else KEY_OF[feature.side]


def _load_vocabulary(file: Path) -> Vocabulary:
    return Vocabulary.from_frame(scan_parquet([file]).collect(), str(file))
