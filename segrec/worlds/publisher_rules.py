"""The publisher's own rules for flags (KuaiRand), and the exact probability that a view will obey them."""

from __future__ import annotations

import numpy as np

from segrec.worlds.jagged import Floats, Ints, positions_of, row_sums, starts_of
from segrec.worlds.videos import SEGMENT_MS


def least_valid_play_ms(duration_ms: Ints) -> Ints:
    """Shortest play that is valid: the whole video up to 7 s, else more than 7 s (is_click of a single-column page)."""
    return np.where(duration_ms <= 7_000, duration_ms, 7_001)


def least_long_view_ms(duration_ms: Ints) -> Ints:
    """Shortest play that is long: the whole video up to 18 s, else 18 s (long_view)."""
    return np.where(duration_ms <= 18_000, duration_ms, 18_000)


def exit_span_ms(segment: Ints, duration_ms: Ints) -> tuple[Ints, Ints]:
    """First and last watch_ms that count as an exit in `segment`: 5 s segments, the last ends before the video does."""
    first = segment * SEGMENT_MS + 1
    last = np.minimum((segment + 1) * SEGMENT_MS, duration_ms - 1)
    return first, last


def play_probability(exit_probability: Floats, lengths: Ints, duration_ms: Ints, least_ms: Ints) -> Floats:
    """(R,) P(watch_ms >= least_ms), for least_ms <= duration_ms, of R views with `lengths` segments each.

    `exit_probability` is flat, lengths + 1 values a row, the last for "watched to the end"; inside its exit segment a
    view ends at a whole millisecond drawn uniformly from `exit_span_ms`.
    """
    slots = lengths + 1
    segment = positions_of(slots)
    duration, least = np.repeat(duration_ms, slots), np.repeat(least_ms, slots)
    first, last = exit_span_ms(segment, duration)
    reaching = np.clip(last - np.maximum(first, least) + 1, 0, None) / np.maximum(last - first + 1, 1)
    reaching[starts_of(slots) + lengths] = 1.0
    return row_sums(exit_probability * reaching, slots)
