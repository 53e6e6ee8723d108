"""What a page shows of live rooms beside its tables: predictions along rooms, alignment, losses, thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from ranking.report.alignment_heat_map import AlignmentMap, alignment_picture
from ranking.report.charts import Absent, Picture
from ranking.report.gathering import Gathered, RunRecord
from ranking.report.loss_pictures import PAIR_KINDS, part_curves, part_pictures, shape_pictures
from ranking.report.room_curves import RoomCurves, predictions_at_hand, room_pictures
from ranking.report.thresholds import threshold_pictures
from ranking.report.training_curves import read_scalars
from segrec.encoders.encoder import LiveEncoder
from segrec.encoders.encoder_runs import thaw_live
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.freezing import FrozenEncoder
from segrec.losses.pairwise import PairKind
from segrec.records import SegrecError
from segrec.segments.rooms import Rooms


@dataclass(frozen=True)
class LivePart:
    """Pictures of live rooms."""

    rooms: list[Picture] | Absent
    alignment: Picture | Absent
    losses: list[Picture]
    "Parts of the loss in training; empty where no run had a pairwise loss."
    shapes: list[Picture]
    "Of the pairwise losses; empty where no run had one."
    thresholds: list[Picture]


@dataclass(frozen=True)
class _Fitted:
    """A run with its encoder."""

    run: RunRecord
    encoder: LiveEncoder

    @property
    def valid_nll(self) -> float:
        """Of the rows that its fit left; infinite without one."""
        found = [row.value for row in self.run.rows if (row.split, row.metric) == ("valid", "NLL")]
        return min((value for value in found if not math.isnan(value)), default=math.inf)


@dataclass(frozen=True)
class _Pairwise:
    """A run's pairwise loss."""

    pair: PairKind
    sigma: float


def live_part(gathered: Gathered) -> LivePart | None:
    """None where no run and no metric row is about live rooms."""
    runs = [run for run in gathered.runs if run.task == "highlight"]
    if not runs and not any(row.task == "highlight" for row in gathered.rows):
        return None
    own = [run.meta.model for run in gathered.runs]
    encoders = [run for run in runs if run.meta.kind == "encoder"]
    fitted = sorted(_fitted(encoders), key=lambda one: one.valid_nll)
    pairs = {run.label: config for run in encoders if (config := _pairwise(run)) is not None}
    events = {run.label: read_scalars(run.folder.path / "events") for run in encoders if run.label in pairs}
    curves = part_curves({_named(name, pairs[name]): scalars for name, scalars in events.items()})
    sigmas = sorted({config.sigma for config in pairs.values()})
    return LivePart(
        rooms=_rooms(fitted, runs),
        alignment=_alignment(fitted, encoders),
        losses=[] if curves is None else part_pictures(curves),
        shapes=shape_pictures(sigmas[0], [config.pair for config in pairs.values()]) if sigmas else [],
        thresholds=threshold_pictures(gathered.rows, own),
    )


def _fitted(runs: Sequence[RunRecord]) -> list[_Fitted]:
    """Those whose weights and dataset are at hand."""
    return [
        _Fitted(run, thaw_live(FrozenEncoder.open(run.folder.frozen)))
        for run in runs
        if run.dataset is not None and run.folder.frozen.is_dir()
    ]


def _pairwise(run: RunRecord) -> _Pairwise | None:
    """The run's settings, where it had a pairwise loss."""
    if not run.folder.config.is_file():
        return None
    values = yaml.safe_load(run.folder.config.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not values.get("weight_pair") or values.get("pair") not in PAIR_KINDS:
        return None
    return _Pairwise(values["pair"], float(values["sigma"]))


def _named(label: str, config: _Pairwise) -> str:
    return label if config.pair in label else f"{label} ({config.pair})"


def _rooms(fitted: Sequence[_Fitted], runs: Sequence[RunRecord]) -> list[Picture] | Absent:
    """Of each target's encoder with the lowest valid NLL, beside a ranker that predicts the same; its target first."""
    if not fitted:
        return Absent("no fitted encoder of live rooms with its dataset is here", _FIT)
    best = {(one.encoder.target, one.encoder.label_shift): one for one in reversed(fitted)}
    pictures: list[Picture] = []
    for one in sorted(best.values(), key=lambda one: _ranker(one, runs) is None):
        dataset = one.run.dataset
        assert dataset is not None
        try:
            pictures += room_pictures(RoomCurves.of(one.run, one.encoder, dataset, _ranker(one, runs)))
        except SegrecError as error:
            return Absent(f"rooms of {one.run.label}: {error}")
    return pictures


def _ranker(best: _Fitted, runs: Sequence[RunRecord]) -> RunRecord | None:
    wanted = (best.encoder.target, best.encoder.label_shift, best.run.meta.dataset_fingerprint)
    for run in runs:
        asked = (run.meta.label, run.meta.label_shift, run.meta.dataset_fingerprint)
        if run.meta.kind == "ranker" and asked == wanted and predictions_at_hand(run.folder.path):
            return run
    return None


def _alignment(fitted: Sequence[_Fitted], runs: Sequence[RunRecord]) -> Picture | Absent:
    """Of the encoder with the lowest valid NLL of those that learned with an alignment loss."""
    for one in fitted:
        encoder, dataset = one.encoder, one.run.dataset
        if not isinstance(encoder, LiveRateEncoder) or dataset is None or not encoder.config.aligned:
            continue
        if not {"text", "visual"} <= set(encoder.inputs.content_scales):
            continue
        try:
            found = AlignmentMap.of(encoder, Rooms.of(dataset, ["test"]))
            if found is not None:
                return alignment_picture(found, one.run.label)
        except SegrecError as error:
            return Absent(f"text and frames of {one.run.label}: {error}")
    where = runs[0].meta.dataset if runs else "DATASET"
    return Absent(
        "no run here learned to align text with frames",
        f"segrec fit kuaihl {where} --out RUN --set align=mtam",
    )


_FIT = "segrec fit kuaihl DATASET --out RUN"
