"""Choices that the public live forms leave open, and the quirks that their files are known to hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from segrec.records import Config


class KliveForm(Config):
    """KLive's files: what nobody can know before a file is seen."""

    separator: Literal["tab", "comma", "space", "caret_a"] = "tab"
    "Between the fields of a line."
    lists: Literal["comma", "comma_space", "space"] = "comma"
    "Between the numbers inside the square brackets of a vector: `,` or `, ` or a space."
    header: bool = False
    "A first line with the publisher's field names."
    left_shifted: bool = False
    "lvtr is written one segment early: a line carries the rate of the segment after it, the last of a room none."
    test_share: float = Field(default=0.17, ge=0, lt=1)
    "Share of rooms under test/: the newest."


class KuailiveM3Form(Config):
    """KuaiLive-M3's files."""

    utc_offset_hours: int = Field(default=8, ge=-12, le=14)
    "Clock of the columns that hold a date and time; columns in epoch ms have none."
    time_unit: Literal["ms", "us", "ns"] = "us"
    "Unit of the date and time columns in parquet files."
    open_room_share: float = Field(default=0.03, ge=0, le=1)
    "Share of rooms whose end_timestamp is NULL."
    missing_end_share: float = Field(default=0.01, ge=0, le=1)
    "Share of sessions without an end; their play_duration is there."
    parts: PositiveInt = 3
    "Files of live_emb_128_ts."


class KuailiveForm(Config):
    """KuaiLive's files."""

    streamer_column: Literal["streamer_id", "author_id"] = "streamer_id"
    "What room.csv and click.csv call the streamer: as documented, or as the publisher's own scripts do."
    two_day_share: float = Field(default=0.05, ge=0, le=1)
    "Share of rooms that stand on a second p_date, too."
