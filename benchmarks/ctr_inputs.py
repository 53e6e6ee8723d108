"""The same features for every CTR peer: our own encoder's codes, bags and numbers, out-of-fold rates of big ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.encoded_rows import EncodedRows
from ranking.feature_encoding import FittedFeatures, RowEncoder
from ranking.features import FeatureConfig, build_spec
from ranking.labels import fit_label
from segrec.records import KEY, SPLITS, DatasetFolder

FOLDS = 5
BIG = 100
"Ids with more rows in their table get a rate; the others are plain categories."
PRIOR_STRENGTH = 10.0
BAG_LENGTH = 5


@dataclass(frozen=True)
class PeerInputs:
    """n rows of train, valid and test, one after another."""

    dataset: DatasetFolder
    label: str
    names: list[str]
    "Of the F id columns and, after them, the bags."
    codes: npt.NDArray[np.int64]
    "(n, F); 0 = missing, 1 = unseen or rare."
    sizes: list[int]
    "Table rows of ids and bags."
    bags: dict[str, npt.NDArray[np.int64]]
    "(n, BAG_LENGTH) codes, 0 where there are fewer."
    numbers: npt.NDArray[np.float32]
    "(n, D) standardised."
    rates: npt.NDArray[np.float32]
    "(n, 2K) standardised: logit of the out-of-fold rate and log count of each big id."
    labels: npt.NDArray[np.float32]
    split: npt.NDArray[np.str_]
    keys: pl.DataFrame

    def part(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of a split."""
        return np.flatnonzero(self.split == split)

    @property
    def numeric(self) -> npt.NDArray[np.float32]:
        """Numbers and rates side by side."""
        return np.concatenate([self.numbers, self.rates], axis=1)


def read_inputs(dataset: DatasetFolder, label_name: str, min_count: int) -> PeerInputs:
    """Encodes a dataset; ids seen less than `min_count` times in train share a row."""
    spec = build_spec(dataset, FeatureConfig(min_count=min_count))
    fitted = FittedFeatures.fit(dataset, spec)
    encoder, label = RowEncoder(fitted, dataset), fit_label(dataset, label_name)
    frames = [dataset.interactions([split]).collect() for split in SPLITS]
    frame = pl.concat(frames)
    encoded: EncodedRows = encoder.encode(frame.select(list(dict.fromkeys([*encoder.columns, *KEY]))))
    split, labels = frame["split"].to_numpy().astype(str), label.values(frame)
    ids = [feature.name for feature in spec.ids]
    bags = {name: padded(*bag) for name, bag in encoded.bags.items()}
    codes = encoded.ids.T.astype(np.int64)
    # The rates see every id, also those too rare for a row of their own.
    whole = {name: frame[name].to_physical().to_numpy() for name in ("user_id", "item_id", "author_id") if name in ids}
    big = {name: whole.get(name, codes[:, place]) for place, name in enumerate(ids) if fitted.rows_of(name) > BIG}
    big |= {name: bag[:, 0] for name, bag in bags.items()}
    rates = np.concatenate([fold_rates(column, labels, split == "train") for column in big.values()], axis=1)
    return PeerInputs(
        dataset=dataset,
        label=label_name,
        names=[*ids, *bags],
        codes=codes,
        sizes=[fitted.rows_of(name) for name in (*ids, *bags)],
        bags=bags,
        numbers=encoded.dense,
        rates=standardised(rates, split == "train"),
        labels=labels,
        split=split,
        keys=frame.select(KEY),
    )


def fold_rates(
    ids: npt.NDArray[np.int64], labels: npt.NDArray[np.float32], train: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(n, 2): logit of the id's shrunk positive rate, log(1 + rows); train rows do not see their own fold."""
    codes = np.unique(ids, return_inverse=True)[1]
    fold = np.where(train, np.random.default_rng(0).integers(0, FOLDS, len(ids)), FOLDS)
    base, count = float(labels[train].mean()), int(codes.max()) + 1
    out = np.empty((len(ids), 2))
    for number in range(FOLDS + 1):
        seen, told = train & (fold != number), fold == number
        rows, positives = np.bincount(codes[seen], minlength=count), np.bincount(codes[seen], labels[seen], count)
        rate = (positives + PRIOR_STRENGTH * base) / (rows + PRIOR_STRENGTH)
        scale = 1.0 if number == FOLDS else FOLDS / (FOLDS - 1)
        out[told, 0] = np.log(rate / (1 - rate))[codes[told]]
        out[told, 1] = np.log1p(scale * rows)[codes[told]]
    return out


def standardised(values: npt.NDArray[np.float64], train: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Zero mean and unit deviation on train."""
    mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
    return ((values - mean) / np.maximum(deviation, 1e-6)).astype(np.float32)


def padded(values: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, BAG_LENGTH) of a jagged column."""
    lengths = np.diff(offsets)
    place = np.arange(BAG_LENGTH)
    inside = place < lengths[:, None]
    where = np.minimum(offsets[:-1, None] + place, max(len(values) - 1, 0))
    return np.where(inside, values[where], 0).astype(np.int64)
