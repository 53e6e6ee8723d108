"""Scores of rooms while they run: the look-back state of many rooms, one new segment of each at a time.

The same numbers as `LiveEncoder.predict` gives for whole rooms afterwards. Legend: M new segments of different rooms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from segrec.encoders.encoder_runs import thaw_live
from segrec.encoders.live_known import rate_pairs
from segrec.encoders.live_rate import LiveRateEncoder
from segrec.freezing import FrozenEncoder
from segrec.records import ConfigError, DataError
from segrec.scoring.live_columns import SegmentArrays, SegmentColumns, pair_of
from segrec.scoring.live_outcomes import PendingRates, StreamerPasts
from segrec.scoring.live_segments import LiveSegment, RateOutcome
from segrec.scoring.live_slots import NO_SLOT, RoomId, RoomSlots
from segrec.segments.rooms import GAP_TOLERANCE_MS, Rooms

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SWEEPS = 8
"Idle rooms are looked for so many times in `idle_ms`."


@dataclass(frozen=True, kw_only=True)
class LiveScorerConfig:
    """How many rooms, how long, how exactly."""

    capacity: int = 10_000
    "Rooms at once; one more and the room whose newest push is longest ago is forgotten."
    idle_ms: int = 30 * 60_000
    "A room without a segment for so long, by the newest end of any room, is forgotten."
    state: Literal["float32", "float16"] = "float32"
    "How keys and values are stored; float16 halves the memory, scores then differ in the third digit."
    late: Literal["count", "error"] = "count"
    "A segment that starts before its room's newest one: NaN and counted, or an error before anything is scored."

    def __post_init__(self) -> None:
        for name in ("capacity", "idle_ms"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1 (found: {getattr(self, name)})")


class LiveScorer:
    """Scores each segment when it has ended, from it and those before it.

    - A segment that starts when one of the room's newest `window` did is a duplicate: the stored score comes back.
    - Any other that starts before the room's newest is late: see `LiveScorerConfig.late`. State stays as it is.
    - More than GAP_TOLERANCE_MS after the end of the one before, a new run begins: nothing before is attended to.
    - `counts` says how often each of this happened, and why rooms were forgotten.
    """

    def __init__(self, encoder: LiveRateEncoder, encoder_hash: str, config: LiveScorerConfig | None = None) -> None:
        self.encoder, self.encoder_hash = encoder, encoder_hash
        self.config = config or LiveScorerConfig()
        capacity, columns = self.config.capacity, encoder.inputs.columns
        rates = 0 if columns is None else len(columns.rates)
        decoder = encoder.network.decoder
        self.decoded = decoder.new_state(capacity, dtype=getattr(torch, self.config.state))
        self.slots = RoomSlots(capacity, decoder.window)
        self.known = encoder.known_state(capacity)
        self.pending = PendingRates(capacity, rates)
        self.pasts = StreamerPasts(rates)
        self.streamers: list[RoomId | None] = [None] * capacity
        "(S,)"
        self.codes = np.zeros(capacity, np.int64)
        "(S,) of the streamers, as the network takes them."
        self.counts: Counter[str] = Counter()
        "scored, duplicate, late, gap, evicted_idle, evicted_full, outcome, outcome_refused, outcome_unknown_room."
        self.newest_ms, self.next_sweep_ms = 0, 0

    @classmethod
    def open(cls, frozen: FrozenEncoder, config: LiveScorerConfig | None = None) -> LiveScorer:
        """:raises DataError: an encoder of views, or of rooms but without a decoder that goes one step at a time."""
        encoder = thaw_live(frozen)
        if not isinstance(encoder, LiveRateEncoder):
            raise DataError(
                frozen.folder, "cannot score rooms that still run", found=frozen.meta.model,
                expected="content_ctr or kuaihl", fix="score whole rooms with `segrec score`",
            )  # fmt: skip
        return cls(encoder, frozen.hash, config)

    def __len__(self) -> int:
        """Rooms at the moment."""
        return len(self.slots)

    def push(self, room: RoomId, segment: LiveSegment) -> float:
        """The segment's score in (0, 1), NaN when it is late."""
        return float(self.push_many([(room, segment)])[0])

    def push_many(self, pushes: Sequence[tuple[RoomId, LiveSegment]]) -> FloatArray:
        """(M,) scores in the given order; a room may come more than once, its segments in time order.

        :raises ConfigError: bad segments (see `SegmentArrays.of`), or late ones under late="error"; nothing is scored.
        """
        return self._pushed(SegmentArrays.of(pushes, self.encoder))

    def push_columns(self, segments: SegmentColumns) -> FloatArray:
        """What `push_many` gives for the same segments, with no Python object a segment.

        :raises ConfigError: as `push_many`, and columns of different lengths; nothing is scored.
        """
        return self._pushed(SegmentArrays.of_columns(segments, self.encoder))

    def observe(self, outcomes: Sequence[RateOutcome]) -> None:
        """Rates that have become known. Later segments look at each from its segment's end + known_after_ms on.

        Each room's outcomes of one rate come in time order: one that comes again, or after a later one, is refused
        and counted, as is one of a room that is not here.

        :raises ConfigError: a rate that the encoder does not know; nothing of the call is taken.
        """
        columns = self.encoder.inputs.columns
        if columns is None:
            return
        pairs = [pair_of(columns, one.rate, one.value, one.trials) for one in outcomes]
        for outcome, (rate, *pair) in zip(outcomes, pairs, strict=True):
            slot = self.slots.slot_of.get(outcome.room)
            if slot is None:
                self.counts["outcome_unknown_room"] += 1
                continue
            self._told(np.array([slot]), np.array([rate]), np.array([outcome.end_ms]), np.array([pair]))

    def remember(self, history: Rooms) -> None:
        """What is known of streamers from rooms that ran before: call it once, before the first push.

        Without it a streamer's earlier rooms are those that this scorer saw itself.
        """
        columns, meta = self.encoder.inputs.columns, history.dataset.meta
        for number, rate in enumerate(() if columns is None else columns.rates):
            if rate not in meta.rates:
                continue
            pairs = rate_pairs(history.frame, meta, rate)
            told = history.frame.select(
                streamer=pl.col("author_id").cast(pl.String),
                known_ms=pl.col("end_ms") + meta.rates[rate].known_after_ms,
            ).with_columns(successes=pairs[:, 0], trials=pairs[:, 1])
            kept = told.filter(pl.col("streamer").is_not_null())
            self.pasts.learn(number, kept, int(history.end_ms.max()) - self.config.idle_ms)

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, taken when the scorer was made."""
        state = {} if self.known is None else vars(self.known)
        known = sum(part.nbytes for part in state.values() if isinstance(part, np.ndarray))
        return self.decoded.nbytes + self.slots.nbytes + self.pending.nbytes + self.codes.nbytes + known

    def _pushed(self, new: SegmentArrays) -> FloatArray:
        """(M,) scores of checked segments."""
        if self.config.late == "error":
            self._refuse_late(new)
        scores = np.full(len(new.rooms), np.nan, np.float32)
        for rows in new.waves(self.config.capacity):
            scores[rows] = self._wave(new.rows(rows))
        self._sweep()
        return scores

    def _told(self, slots: IntArray, rates: IntArray, end_ms: IntArray, pairs: DoubleArray) -> None:
        """(K,) outcomes of different slots and rates."""
        columns = self.encoder.inputs.columns
        assert columns is not None
        known_ms = end_ms + np.array(columns.known_after_ms, np.int64)[rates]
        taken = self.pending.add(slots, rates, end_ms, known_ms, pairs)
        self.counts.update(outcome=int(taken.sum()), outcome_refused=int((~taken).sum()))
        streamers = [self.streamers[slot] for slot in slots[taken].tolist()]
        self.pasts.add_all(streamers, rates[taken], known_ms[taken], pairs[taken])

    def _wave(self, new: SegmentArrays) -> FloatArray:
        """(M,) scores of segments of different rooms, at most `capacity`."""
        slots = self._unless_idle(new)
        here = slots != NO_SLOT
        stored, scores = self.slots.stored(slots, new.start_ms)
        stored &= here
        late = here & ~stored & (new.start_ms < self.slots.newest_start[slots])
        fresh = ~stored & ~late
        scores = np.where(stored, scores, np.float32("nan"))
        self.counts.update(duplicate=int(stored.sum()), late=int(late.sum()), scored=int(fresh.sum()))
        self.slots.touch(new.rooms_at(np.flatnonzero(here)))
        coming = np.flatnonzero(fresh & ~here)
        if len(coming):
            slots[coming] = self._begun(new.rows(coming))
        rows = np.flatnonzero(fresh)
        if len(rows):
            scores[rows] = self._scored(slots[rows], new.rows(rows))
        return scores

    def _unless_idle(self, new: SegmentArrays) -> IntArray:
        """(M,) slots; a room that comes back after `idle_ms` begins anew, swept before or not."""
        slots = self.slots.find(new.rooms)
        oldest = self.slots.newest_end[slots] + self.config.idle_ms
        gone = np.flatnonzero((slots != NO_SLOT) & (new.start_ms > oldest))
        self.slots.drop(new.rooms_at(gone))
        self.counts["evicted_idle"] += len(gone)
        slots[gone] = NO_SLOT
        return slots

    def _begun(self, new: SegmentArrays) -> IntArray:
        """(M,) slots of rooms that were not here."""
        codes = self._codes_of(new.streamers)
        slots, evicted = self.slots.take(new.rooms)
        self.counts["evicted_full"] += evicted
        self.decoded.clear(torch.from_numpy(slots))
        self.pending.clear(slots)
        self.codes[slots] = codes
        for slot, streamer in zip(slots.tolist(), new.streamers, strict=True):
            self.streamers[slot] = streamer
        if self.known is not None:
            pasts = [
                self.pasts.as_of("" if streamer is None else str(streamer), begun)
                for streamer, begun in zip(new.streamers, new.start_ms.tolist(), strict=True)
            ]
            self.known.begin(slots, new.start_ms, np.stack(pasts))
        return slots

    def _codes_of(self, streamers: Sequence[int | str | None]) -> IntArray:
        """(M,) before anything is changed: ids of another type than the encoder's are refused."""
        if self.encoder.inputs.streamers is None:
            return np.zeros(len(streamers), np.int64)
        try:
            ids = pl.Series("streamer", streamers)
        except TypeError:
            raise ConfigError("streamers are of several types (expected: all numbers, or all text)") from None
        return self.encoder.inputs.streamers.encode(ids)

    @torch.inference_mode()
    def _scored(self, slots: IntArray, new: SegmentArrays) -> FloatArray:
        """(M,) scores of the next segment of the rooms in `slots`."""
        before = self.slots.newest_end[slots]
        gap = (self.slots.pushed[slots] > 0) & (new.start_ms > before + GAP_TOLERANCE_MS)
        self.counts["gap"] += int(gap.sum())
        self.decoded.clear(torch.from_numpy(slots[gap]))
        network = self.encoder.network
        inputs = self.encoder.segment_inputs(
            new.contents, self.codes[slots], self._known(slots, new), present=new.present
        )
        states = network.decoder.step(network.fuse(inputs), self.decoded, torch.from_numpy(slots))
        scores: FloatArray = network.head(states).sigmoid().numpy()
        self.slots.remember(slots, new.start_ms, new.end_ms, scores)
        self.newest_ms = max(self.newest_ms, int(new.end_ms.max()))
        return scores

    def _known(self, slots: IntArray, new: SegmentArrays) -> FloatArray | None:
        if self.known is None:
            return None
        rows, rates = np.nonzero(~np.isnan(new.pairs[:, :, 1]))
        if len(rows):
            self._told(slots[rows], rates, new.end_ms[rows], new.pairs[rows, rates])
        asked = new.end_ms if self.known.columns.shift else new.start_ms
        return self.known.push(slots, new.end_ms, new.counters, self.pending.due(slots, asked))

    def _sweep(self) -> None:
        """Forgets idle rooms, now and then; what streamers' pasts hold of so long ago becomes one sum."""
        if self.newest_ms < self.next_sweep_ms:
            return
        before = self.newest_ms - self.config.idle_ms
        idle = self.slots.idle(before)
        self.slots.drop(idle)
        self.counts["evicted_idle"] += len(idle)
        self.pasts.fold(before)
        self.next_sweep_ms = self.newest_ms + self.config.idle_ms // _SWEEPS

    def _refuse_late(self, new: SegmentArrays) -> None:
        newest: dict[RoomId, list[int]] = {}
        slots = self.slots.find(new.rooms)
        stored, _ = self.slots.stored(slots, new.start_ms)
        for row, (room, start) in enumerate(zip(new.rooms, new.start_ms.tolist(), strict=True)):
            slot, told = slots[row], newest.setdefault(room, [])
            if (slot != NO_SLOT and stored[row]) or start in told:
                continue
            known = [*told, *([int(self.slots.newest_start[slot])] if slot != NO_SLOT else [])]
            if known and start < max(known):
                raise ConfigError(
                    f"segment of room {room!r} starts before its newest one (found: {start}, expected: >= {max(known)})"
                )
            told.append(start)
