"""Live rooms -> numbers: what a live encoder learns by counting, and how it encodes rooms with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from segrec.encoders.live_batches import Content, LiveTable, SegmentInputs
from segrec.encoders.live_config import LiveConfig
from segrec.encoders.live_known import KnownColumns, known_table
from segrec.encoders.live_network import LiveShape
from segrec.encoders.live_pulls import learned_columns
from segrec.encoders.scales import Scales
from segrec.encoders.streamer_vectors import StreamerVectors
from segrec.records import DataError, DatasetFolder, SegmentVectors
from segrec.segments.rooms import NO_ROW, IntArray, RateTarget, Rooms
from segrec.tables import Vocabulary

FloatArray = npt.NDArray[np.float32]

_SCALED_BY = 20_000
"Vectors of so many train segments, evenly spread, decide on the scales."


@dataclass(frozen=True)
class LiveInputs:
    """Everything that is counted, not trained."""

    config: LiveConfig
    streamers: Vocabulary | None
    "None: the streamer is no input."
    content_scales: Mapping[str, Scales]
    "By modality, in the network's order: their number of columns is the vectors' width."
    columns: KnownColumns | None
    known_scales: Scales
    base_logit: float
    side_logits: tuple[float, ...]
    "Of each side target."

    @classmethod
    def learn(
        cls, config: LiveConfig, train: Rooms, target: RateTarget, history: Rooms, outside: StreamerVectors | None
    ) -> tuple[Self, LiveTable]:
        """The inputs, and the train rooms encoded. `history`: all rooms that may be known."""
        dataset = train.dataset
        contents = {name: dataset.vectors(vectors) for name, vectors in content_names(config, dataset).items()}
        scales = {name: _content_scales(config, train, vectors) for name, vectors in contents.items()}
        columns = learned_columns(train, config.label_shift, history) if config.known else None
        raw = known_table(train, columns, history) if columns is not None else _no_columns(train)
        sides = side_targets(config, train)
        side_logits = tuple(_mean_logit(side) for side in sides)
        streamers = _streamers(config, train, outside)
        inputs = cls(config, streamers, scales, columns, Scales.of(raw), _mean_logit(target), side_logits)
        return inputs, replace(inputs._table(train, raw, contents), target=target, sides=sides)

    def shape(self, outside: StreamerVectors | None) -> LiveShape:
        """Sizes of the network."""
        return LiveShape(
            streamers=0 if self.streamers is None else self.streamers.size,
            streamer_width=0 if outside is None else outside.width,
            vector_widths={name: len(scales.means) for name, scales in self.content_scales.items()},
            known_width=len(self.known_scales.means),
            base_logit=self.base_logit,
            side_logits=self.side_logits,
        )

    def encode(self, rooms: Rooms, dataset: DatasetFolder) -> LiveTable:
        """Rooms of `dataset` as a table.

        :raises DataError: vectors that it was fitted on are missing, or have another width.
        """
        raw = _no_columns(rooms)
        if self.columns is not None:
            raw = known_table(rooms, self.columns, Rooms.of(dataset))
        return self._table(rooms, raw, self._contents(dataset))

    def segment_inputs(
        self,
        contents: Mapping[str, FloatArray],
        authors: pl.Series | IntArray,
        known_MF: FloatArray | None = None,
        *,
        present: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    ) -> SegmentInputs:
        """M raw segments as what `LiveNetwork.fuse` takes.

        :param contents: by modality (visual, text), (M, E) unscaled; a row with NaN, or a modality that is not there,
            is missing content.
        :param authors: (M,) ids of the streamers, null where unknown; or their codes.
        :param known_MF: what `KnownState.push` gave; None: nothing is known.
        :param present: (M,) by modality, which rows of `contents` are there, where the caller has looked already.
        :raises DataError: vectors of another width than the encoder was fitted on.
        """
        vectors, seen = [], []
        for name, scales in self.content_scales.items():
            raw = contents.get(name)
            if raw is None:
                raw = np.full((len(authors), len(scales.means)), np.nan, np.float32)
            _check_width(f"vectors of modality {name!r}", raw.shape[1], len(scales.means))
            there = np.asarray(np.isfinite(raw).all(axis=1)) if present is None else present[name]
            scaled = scales.scaled(raw)
            scaled[~there] = 0.0
            vectors.append(torch.from_numpy(scaled))
            seen.append(torch.from_numpy(there))
        raw_known = np.full((len(authors), len(self.known_scales.means)), np.nan, np.float32)
        raw_known = raw_known if known_MF is None else known_MF
        codes = np.array(authors if isinstance(authors, np.ndarray) else self._codes(authors))
        known = torch.from_numpy(self.known_scales.scaled(raw_known))
        return SegmentInputs(tuple(vectors), tuple(seen), torch.from_numpy(codes), known)

    def _codes(self, authors: pl.Series) -> IntArray:
        return np.zeros(len(authors), np.int64) if self.streamers is None else self.streamers.encode(authors)

    def _contents(self, dataset: DatasetFolder) -> dict[str, SegmentVectors]:
        found = {}
        for name, scales in self.content_scales.items():
            found[name] = dataset.vectors(getattr(self.config, name))
            _check_width(f"{found[name].folder}", found[name].meta.dim, len(scales.means))
        return found

    def _table(self, rooms: Rooms, raw: FloatArray, contents: Mapping[str, SegmentVectors]) -> LiveTable:
        return LiveTable(
            contents={
                name: Content(vectors, rooms.vector_rows(vectors), self.content_scales[name])
                for name, vectors in contents.items()
            },
            author=self._codes(rooms.frame["author_id"]),
            known=self.known_scales.scaled(raw),
            run_offsets=rooms.run_offsets,
        )


def side_targets(config: LiveConfig, rooms: Rooms) -> tuple[RateTarget, ...]:
    """All rates of each segment and of the next one, but the target itself and what is known nowhere."""
    if config.weight_side == 0:
        return ()
    asked = [(rate, shift) for rate in rooms.dataset.meta.rates for shift in (0, 1)]
    found = [rooms.target(*side) for side in asked if side != (config.target, config.label_shift)]
    return tuple(side for side in found if side.known.any())


def content_names(config: LiveConfig, dataset: DatasetFolder) -> dict[str, str]:
    """Names of the vectors by modality that an encoder uses on this dataset.

    :raises DataError: a modality was asked for by name and the dataset lacks its vectors.
    """
    named: dict[str, str] = {"visual": config.visual, "text": config.text}
    if config.modalities is None:
        return {name: vectors for name, vectors in named.items() if vectors in dataset.vector_names()}
    asked = {str(name): vectors for name, vectors in named.items() if name in config.modalities}
    for vectors in asked.values():
        dataset.vectors(vectors)
    return asked


def _streamers(config: LiveConfig, train: Rooms, outside: StreamerVectors | None) -> Vocabulary | None:
    if config.modalities is not None and "item" not in config.modalities:
        return None
    if outside is not None:
        return outside.vocabulary
    return Vocabulary.fit(train.frame["author_id"].gather(train.offsets[:-1]), config.min_count)


def _content_scales(config: LiveConfig, train: Rooms, vectors: SegmentVectors) -> Scales:
    return Scales.none(vectors.meta.dim) if config.vector_scaling == "none" else vector_scales(train, vectors)


def vector_scales(train: Rooms, vectors: SegmentVectors) -> Scales:
    """Of the vectors' dimensions over the segments of `train`, or many of them, evenly spread."""
    rows = train.vector_rows(vectors)
    rows = np.sort(rows[rows != NO_ROW])
    if len(rows) == 0:
        return Scales.none(vectors.meta.dim)
    return Scales.of(vectors.matrix[rows[:: max(len(rows) // _SCALED_BY, 1)]].astype(np.float32))


def _mean_logit(target: RateTarget) -> float:
    trials = np.nan_to_num(target.trials[target.known])
    weights = trials if trials.sum() > 0 else np.ones_like(trials)
    rate = float(np.clip(np.average(target.values[target.known], weights=weights), 1e-4, 1 - 1e-4))
    return float(np.log(rate) - np.log1p(-rate))


def _no_columns(rooms: Rooms) -> FloatArray:
    return np.zeros((len(rooms.room), 0), np.float32)


def _check_width(where: str, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(
            where, "have another width than the encoder's", found=found, expected=expected,
            fix="score with the vectors that it was fitted on",
        )  # fmt: skip
