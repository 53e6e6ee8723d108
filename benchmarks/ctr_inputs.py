"""The same features for every CTR peer: the columns that our own ranker trains on, label rates included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.rankers.dcn_v2 import DcnV2Config
from ranking.rows.encoded_rows import EncodedRows
from ranking.targets.labels import fit_label
from ranking.training.ranker_data import RankerData
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
    "(n, F); 0 = missing, 1 = unseen in train."
    sizes: list[int]
    "Table rows of ids and bags."
    bags: dict[str, npt.NDArray[np.int64]]
    "(n, BAG_LENGTH) codes, 0 where there are fewer."
    numeric: npt.NDArray[np.float32]
    "(n, D) standardised numbers, lagged rates and counts of big ids."
    labels: npt.NDArray[np.float32]
    split: npt.NDArray[np.str_]
    keys: pl.DataFrame

    def part(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of a split."""
        return np.flatnonzero(self.split == split)


def read_inputs(dataset: DatasetFolder, label: str) -> PeerInputs:
    """Encodes a dataset as `segrec rank dcn_v2` does by default."""
    config = DcnV2Config()
    data = RankerData.fit(dataset, fit_label(dataset, label), config, None)
    parts, keys, split = [], [], []
    for name in SPLITS:
        stream = data.stream(dataset, [name], config)
        parts += list(stream.encoded())
        keys += [stream.source.keys(piece).select(KEY) for piece in stream.source.pieces]
        split += [name] * stream.source.rows
    encoded = EncodedRows.concatenated(parts)
    spec = data.features.spec
    return PeerInputs(
        dataset=dataset,
        label=label,
        names=[feature.name for feature in spec.coded],
        codes=encoded.ids.T.astype(np.int64),
        sizes=[data.features.rows_of(feature.name) for feature in spec.coded],
        bags={name: padded(*bag) for name, bag in encoded.bags.items()},
        numeric=encoded.dense,
        labels=encoded.labels,
        split=np.asarray(split),
        keys=pl.concat(keys),
    )


def fold_rates(inputs: PeerInputs) -> npt.NDArray[np.float64]:
    """(n, 2K): logit of each big id's shrunk positive rate and log(1 + rows); a train row does not see its own fold.

    The usual out-of-fold target encoding, which LightGBM gets beside the lagged rates.
    """
    train = inputs.split == "train"
    fold = np.where(train, np.random.default_rng(0).integers(0, FOLDS, len(train)), FOLDS)
    base, columns = float(inputs.labels[train].mean()), []
    big = [inputs.codes[:, place] for place, size in enumerate(inputs.sizes[: inputs.codes.shape[1]]) if size > BIG]
    for codes in (*big, *(bag[:, 0] for bag in inputs.bags.values())):
        out, count = np.empty((len(codes), 2)), int(codes.max()) + 1
        for number in range(FOLDS + 1):
            seen, told = train & (fold != number), fold == number
            rows = np.bincount(codes[seen], minlength=count)
            positives = np.bincount(codes[seen], inputs.labels[seen], count)
            rate = (positives + PRIOR_STRENGTH * base) / (rows + PRIOR_STRENGTH)
            scale = 1.0 if number == FOLDS else FOLDS / (FOLDS - 1)
            out[told, 0], out[told, 1] = np.log(rate / (1 - rate))[codes[told]], np.log1p(scale * rows)[codes[told]]
        columns.append(out)
    return np.concatenate(columns, axis=1)


def padded(values: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, BAG_LENGTH) of a jagged column."""
    lengths = np.diff(offsets)
    place = np.arange(BAG_LENGTH)
    inside = place < lengths[:, None]
    where = np.minimum(offsets[:-1, None] + place, max(len(values) - 1, 0))
    return np.where(inside, values[where], 0).astype(np.int64)
