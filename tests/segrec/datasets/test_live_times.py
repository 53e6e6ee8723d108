"""Times of every type as epoch milliseconds, converted by their own unit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from segrec.datasets.live_times import epoch_ms, has_no_zone
from segrec.records import DataError

AT = datetime(2025, 5, 10, 12, 30, 0, 250_000)
MS = int(AT.replace(tzinfo=UTC).timestamp() * 1000)
FILE = Path("events.csv")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_of_every_unit(unit):
    naive = pl.Series("at", [AT, None], dtype=pl.Datetime(unit))
    assert epoch_ms(naive, FILE, 0.0, 1).to_list() == [MS, None]
    assert epoch_ms(naive, FILE, 8.0, 1).to_list() == [MS - 8 * 3_600_000, None], "noon there is earlier in UTC"
    zoned = naive.dt.replace_time_zone("Asia/Shanghai")
    assert epoch_ms(zoned, FILE, 3.0, 1).to_list() == [MS - 8 * 3_600_000, None], "a zone of its own needs no offset"
    assert (has_no_zone(naive), has_no_zone(zoned)) == (True, False)


def test_texts():
    texts = [
        "2025-05-10 12:30:00.250",
        "2025-05-10T12:30:00",
        "2025-05-10 12:30",
        "2025-05-10T12:30:00.250+08:00",
        " ",
        None,
    ]
    found = epoch_ms(pl.Series("at", texts), FILE, 2.0, 2).to_list()
    two, eight = 2 * 3_600_000, 8 * 3_600_000
    assert found == [MS - two, MS - 250 - two, MS - 250 - two, MS - eight, None, None]
    assert epoch_ms(pl.Series("at", [str(MS), "", None]), FILE, 8.0, 2).to_list() == [MS, None, None]
    assert epoch_ms(pl.Series("at", [MS, None]), FILE, 8.0, 2).to_list() == [MS, None]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([MS, 1_746_880_200], "row 8, column 'at': not a time (found: 1746880200; expected: milliseconds since 1970)"),
        (
            ["2025-05-10 12:30:00", "yesterday"],
            "row 8, column 'at': not a time (found: yesterday; expected: a time like",
        ),
        ([str(MS), "12"], "row 8, column 'at': not a time"),
        ([0.5, 1.5], "column 'at' has the wrong type (found: Float64; expected: milliseconds or dates with times)"),
    ],
)
def test_what_is_no_time(values, told):
    with pytest.raises(DataError) as error:
        epoch_ms(pl.Series("at", values), FILE, 0.0, 7)
    assert told in str(error.value)
