"""A made live world in the files of KLive (djx2726889/KLive): one line a segment, in eight files, in no order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from segrec.records import ConfigError
from segrec.worlds.jagged import Floats, starts_of
from segrec.worlds.live import LiveWorld
from segrec.worlds.live_rooms import FIRST_DAY_MS, SEGMENT_MS
from segrec.worlds.live_truth_files import write_segment_truth

SHIFTED_START_S = 685_000_000
"The publisher's timestamps are shifted seconds: the world's first day begins here."
FIELDS = ("live_id", "timestamp", "lvtr", "image_feaure", "text_feaure")
"The publisher's own spelling."
SEPARATORS = {"tab": "\t", "comma": ",", "space": " ", "caret_a": "\x01"}
LIST_SEPARATORS = {"comma": ",", "comma_space": ", ", "space": " "}
FILES = 8
_CHUNK = 4_096


def write_klive(world: LiveWorld, folder: Path) -> None:
    """Writes live_id2aid.txt and train/ and test/ with eight logs each, and the segments' truth.

    timestamp = the segment's start in shifted s; lvtr = the observed rate; the text vector of a silent segment is all
    zeros. Segments whose rate nobody was counted for have no line.

    :raises ConfigError: segments of the world do not all last 30 s.
    """
    form, rooms = world.config.klive, world.rooms
    if (rooms.end_ms - rooms.start_ms != SEGMENT_MS).any():
        raise ConfigError("--format klive: its segments last 30 s; make the world with --set rooms.varying_share=0")
    rate = observed_lvtr(world)
    if form.left_shifted:
        rate = np.append(rate[1:], np.nan)
        rate[starts_of(rooms.lengths) + rooms.lengths - 1] = np.nan
    written = ~np.isnan(rate)
    later_ms = SHIFTED_START_S * 1000 - FIRST_DAY_MS
    _write_rooms(world, folder)
    rng = np.random.default_rng([world.config.seed, 201])
    file = rng.integers(FILES, size=len(rate))
    first_test_room = int(np.ceil(len(rooms.lengths) * (1 - form.test_share)))
    for part, inside in {"train": rooms.room < first_test_room, "test": rooms.room >= first_test_room}.items():
        (folder / part).mkdir()
        for number in range(FILES):
            rows = rng.permutation(np.flatnonzero(inside & written & (file == number)))
            lines = _lines(world, rate, (rooms.start_ms + later_ms) // 1000, rows)
            name = f"{number}_test_score_infer_output.log"
            with (folder / part / name).open("w", encoding="utf-8", newline="\n") as stream:
                if form.header:
                    stream.write(SEPARATORS[form.separator].join(FIELDS) + "\n")
                stream.writelines(lines)
    described = written.copy()
    if form.left_shifted:
        described[1:] |= written[:-1]
    write_segment_truth(world, folder, described, later_ms)


def observed_lvtr(world: LiveWorld) -> Floats:
    """(T,) share of long views among the entries that count, NaN where there is none."""
    entries = world.segments["entries"].to_numpy()
    seen: Floats = np.where(entries > 0, world.segments["long_views"].to_numpy() / np.maximum(entries, 1), np.nan)
    return seen


def _write_rooms(world: LiveWorld, folder: Path) -> None:
    authors = world.streamers.author_id[world.rooms.streamer]
    rooms = pl.DataFrame({"live_id": world.rooms.item_id, "author_id": authors}).sort("live_id")
    separator = SEPARATORS[world.config.klive.separator]
    rooms.write_csv(folder / "live_id2aid.txt", separator=separator, include_header=world.config.klive.header)


def _lines(world: LiveWorld, rate: Floats, at_s: np.ndarray, rows: np.ndarray) -> list[str]:
    form, rooms = world.config.klive, world.rooms
    between, inside = SEPARATORS[form.separator], LIST_SEPARATORS[form.lists]

    def printed(vectors: Floats) -> list[str]:
        return [f"[{inside.join(map(repr, row))}]" for row in vectors[rows].astype(np.float32).tolist()]

    fields = (
        map(str, rooms.item_id[rooms.room[rows]].tolist()),
        map(str, at_s[rows].tolist()),
        map(repr, rate[rows].tolist()),
        printed(world.content.visual),
        printed(world.content.text),
    )
    return [between.join(values) + "\n" for values in zip(*fields, strict=True)]
