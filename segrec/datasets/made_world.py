"""What tells a made world from real logs, when it is written in their form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TRUTH = "truth.parquet"
SEGMENT_TRUTH = "truth_segments.parquet"
ALIGNMENT_TRUTH = "truth_alignment.parquet"
LICENCE = "none needed: a made world, no real user"

VECTORS = "the made world's own content vectors"


def truth_file(places: Sequence[Path], name: str = TRUTH) -> Path | None:
    """The file `name` in one of the folders `places`."""
    return next((place / name for place in places if (place / name).is_file()), None)


def origin(truth: Path | None, licence: str, source: str) -> tuple[str, str]:
    """(licence, source) of a log: the publisher's, unless known truth lies beside it."""
    if truth is None:
        return licence, source
    return LICENCE, f"made world with known truth, in the form of {source.split(' (', maxsplit=1)[0]}"
