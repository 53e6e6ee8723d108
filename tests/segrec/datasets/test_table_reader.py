"""Somebody's own log: units, types, side features, vectors, and maps that are wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from segrec.datasets import ReadOptions, find_reader, read_dataset
from segrec.records import ConfigError, DataError


def _read(made, out):
    log, columns = made
    return read_dataset("table", log, out, ReadOptions(columns=columns))


def test_three_rows_by_hand(table, tmp_path):
    rows = pl.DataFrame(
        {"uid": ["a", "b", "a"], "vid": [7, 8, 7], "ts": [100, 200, 300], "length": [10.5] * 3,
         "played": [0.0, 1.25, 20], "liked": [True, False, True], "page": ["x", "y", "x"]}
    )  # fmt: skip
    dataset = _read(table(rows, open_map()), tmp_path / "out")
    frame = dataset.interactions().collect()
    columns = ["user_id", "item_id", "time_ms", "duration_ms", "watch_ms", "liked", "page"]
    assert frame.select(columns).rows() == [
        ("a", 7, 100_000, 10_500, 0, 1, "x"),
        ("b", 8, 200_000, 10_500, 1250, 0, "y"),
        ("a", 7, 300_000, 10_500, 20_000, 1, "x"),
    ]  # fmt: skip
    assert (dataset.meta.flags, dataset.meta.context) == (["liked"], ["page"])


def open_map(**changes: str) -> str:
    """The usual map with `changes`; an empty text takes the field out."""
    fields = {
        "user_id": "uid", "item_id": "vid", "time": "{column: ts, unit: s}", "duration": "{column: length, unit: s}",
        "watch": "{column: played, unit: s}", "flags": "[liked]", "context": "[page]",
    }  # fmt: skip
    return "".join(f"{key}: {value}\n" for key, value in {**fields, **changes}.items() if value)


@pytest.fixture(autouse=True)
def _three_rows_may_be_split(monkeypatch):
    import segrec.datasets.folder_writer as writer

    monkeypatch.setattr(writer, "check_parts", lambda *_: None)


NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([1_709_294_400] * 2, "s", NOON),
        ([1_709_294_400.25] * 2, "s", NOON + timedelta(milliseconds=250)),
        ([1_709_294_400_000] * 2, "ms", NOON),
        ([1_709_294_400_000_999] * 2, "us", NOON),
        (["2024-03-01 20:00:00"] * 2, "datetime", NOON),
        (["2024-03-01T20:00:00"] * 2, "datetime", NOON),
        (["2024-03-01T12:00:00Z"] * 2, "datetime", NOON),
        (["2024-03-01T14:00:00+02:00"] * 2, "datetime", NOON),
    ],
)
@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_times_in_every_unit(table, tmp_path, forms, *, values, unit, expected, name):
    frame = forms.table_frame(2).with_columns(ts=pl.Series(values))
    text = open_map(time=f"{{column: ts, unit: {unit}}}", utc_offset_hours="8")
    dataset = _read(table(frame, text, name), tmp_path / "out")
    assert dataset.interactions().collect()["time_ms"].unique().to_list() == [round(expected.timestamp() * 1000)]
    assert dataset.interaction_files()[0].parent.name == "day=2024-03-01"


@pytest.mark.parametrize("resolution", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_parquet_dates_of_every_resolution_and_zone(table, tmp_path, forms, resolution, zone):
    clock = timezone(timedelta(hours=8)) if zone != "UTC" else UTC
    stamp = pl.Series([NOON.astimezone(clock).replace(tzinfo=None)] * 2).cast(pl.Datetime(resolution))
    frame = forms.table_frame(2).with_columns(ts=stamp.dt.replace_time_zone(zone))
    text = open_map(time="{column: ts, unit: datetime}", utc_offset_hours="8")
    dataset = _read(table(frame, text, "log.parquet"), tmp_path / "out")
    assert dataset.interactions().collect()["time_ms"].to_list() == [round(NOON.timestamp() * 1000)] * 2


def test_ids_keep_their_kind(table, tmp_path, forms):
    frame = forms.table_frame(4).with_columns(
        uid=pl.Series(["x", "y", "x", "y"], dtype=pl.Categorical), vid=pl.Series([1.0, 2.0, 3.0, 4.0])
    )
    schema = _read(table(frame, name="log.parquet"), tmp_path / "out").interactions().collect_schema()
    assert (schema["user_id"], schema["item_id"], schema["author_id"]) == (pl.String, pl.Int64, pl.Int64)


def test_a_given_split_is_kept(table, tmp_path, forms):
    parts = ["train", "valid", "test", "train"]
    frame = forms.table_frame(4).with_columns(part=pl.Series(parts))
    dataset = _read(table(frame, open_map(split="part")), tmp_path / "out")
    assert dataset.interactions().collect()["split"].to_list() == parts
    assert dataset.meta.split.rule == "given"


def test_side_files_join_authors_and_bring_features(table, tmp_path, forms):
    pl.DataFrame({"u": ["u0", "u1", None], "age": [20, 30, 5], "vip": [True, False, True]}).write_csv(
        tmp_path / "u.csv"
    )
    pl.DataFrame(
        {"v": range(7), "author_id": [f"s{i}" for i in range(7)], "topic": ["a"] * 7, "x": [0.5] * 7}
    ).write_parquet(tmp_path / "v.parquet")
    text = open_map(users="{file: u.csv, id: u}", items="{file: v.parquet, id: v, features: [author_id, topic]}")
    dataset = _read(table(None, text), tmp_path / "out")
    assert (dataset.meta.user_features, dataset.meta.item_features) == (["age", "vip"], ["topic"])
    users = dataset.users()
    assert users is not None
    assert users.rows() == [("u0", 20, 1), ("u1", 30, 0)]
    frame = dataset.interactions().collect()
    assert (frame["author_id"] == "s" + frame["item_id"].cast(pl.String)).all()
    assert dataset.meta.rejected == {"users: missing user_id": 1}


def test_a_folder_of_files_in_order(table, tmp_path, forms):
    frame = forms.table_frame(50)
    log, columns = table(frame.head(20), name="part-1.parquet")
    table(frame.tail(30), name="part-2.parquet")
    whole = read_dataset("table", log.parent, tmp_path / "parts", ReadOptions(columns=columns))
    log.unlink()
    (log.parent / "part-2.parquet").unlink()
    table(frame, name="log.parquet")
    one = read_dataset("table", log.parent, tmp_path / "one", ReadOptions(columns=columns))
    assert whole.meta.fingerprint == one.meta.fingerprint


def test_csv_and_parquet_give_the_same_fingerprint(table, tmp_path):
    one = _read(table(None), tmp_path / "csv").meta
    two = _read(table(None, name="log.parquet"), tmp_path / "parquet").meta
    assert one.fingerprint == two.fingerprint
    other = _read(table(None, open_map(segment_ms="3000"), name="log.parquet"), tmp_path / "grid").meta
    assert other.fingerprint != two.fingerprint


def test_vectors_by_the_map(table, tmp_path):
    vectors = pl.DataFrame(
        {"v": [1, 1], "s": [0, 1], "e": pl.Series([[1.0, 0.5], [2.0, 0.25]], dtype=pl.Array(pl.Float32, 2))}
    )
    vectors.write_parquet(tmp_path / "vec.parquet")
    text = open_map(vectors="{text: {file: vec.parquet, item_id: v, segment: s, vector: e, model: bge r1}}")
    dataset = _read(table(None, text), tmp_path / "out")
    assert dataset.vector_names() == ["text"]
    assert dataset.vectors("text").matrix.tolist() == [[1.0, 0.5], [2.0, 0.25]]
    assert dataset.vectors("text").meta.model == "bge r1"


def test_without_a_map_a_minimal_one_is_shown(table):
    log, _ = table()
    with pytest.raises(
        ConfigError, match=r"user_id: uid, item_id: vid, time: \{column: ts, unit: ms\}.*watch: \{column: played"
    ):
        find_reader("table")(log, ReadOptions())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (open_map(tiem="{column: ts, unit: s}"), "unknown field 'tiem' .known: user_id, item_id"),
        (open_map(time="{column: ts}"), "missing field 'time.unit' .known: column, unit"),
        (
            open_map(time="{column: ts, unit: minutes}"),
            "field 'time.unit': Input should be 's', 'ms', 'us' or 'datetime'",
        ),
        (open_map(users="{file: u.csv, key: u}"), "'users.(id|key)' .known: file, id, features"),
        (open_map(context="[liked]"), "column 'liked' is named twice"),
        (open_map(flags="[watch_ms]"), "'watch_ms' among flags or context has a name of segrec's own"),
        (
            open_map(vectors="{text: {fil: a}}"),
            "unknown field 'vectors.text.fil' .known: file|missing field 'vectors.text.file",
        ),
        ("[1]", "holds a list .expected: a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_wrong_maps(table, text, message):
    log, columns = table(None, text)
    with pytest.raises(ConfigError, match=message) as told:
        find_reader("table")(log, ReadOptions(columns=columns))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "changes", "message"),
    [
        ({"uid": 0.5}, {}, "column 'uid' has the wrong type .found: Float64; expected: whole numbers or text"),
        ({"liked": 2}, {}, "row 1, column 'liked': wrong value .found: 2; expected: 0 or 1"),
        ({"liked": "yes"}, {}, "column 'liked' has the wrong type .found: String"),
        ({"played": "long"}, {}, "column 'played' has the wrong type .found: String; expected: numbers in s"),
        (
            {"ts": "2024-13-45"},
            {"time": "{column: ts, unit: datetime}"},
            "row 1, column 'ts': wrong value .found: 2024-13-45",
        ),
        (
            {"ts": 5},
            {"time": "{column: ts, unit: datetime}"},
            "column 'ts' has the wrong type .found: Int32; expected: dates",
        ),
        (
            {"page": "eval"},
            {"split": "page"},
            "row 1, column 'page': wrong value .found: eval; expected: train, valid or test",
        ),
        ({"played": float("nan")}, {}, "row 1, column 'played': not a finite number .found: nan"),
        ({"ts": float("inf")}, {}, "row 1, column 'ts': not a finite number .found: inf"),
    ],
)
def test_wrong_values_in_parquet(table, tmp_path, forms, *, change, changes, message):
    frame = forms.table_frame(5).with_columns(**{name: pl.lit(value) for name, value in change.items()})
    text = open_map(**changes) if "split" not in changes else open_map(context="", **changes)
    with pytest.raises(DataError, match=message):
        _read(table(frame, text, "log.parquet"), tmp_path / "out")


def test_a_file_of_another_type_than_the_one_before(table, tmp_path, forms):
    log, columns = table(forms.table_frame(5), name="a.parquet")
    table(forms.table_frame(5).with_columns(vid=pl.col("vid").cast(pl.String)), name="b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: column 'item_id' is of another type than in the rows before"):
        read_dataset("table", log.parent, tmp_path / "out", ReadOptions(columns=columns))


def test_ids_of_features_of_another_type(table, tmp_path):
    pl.DataFrame({"u": [1], "age": [20]}).write_csv(tmp_path / "u.csv")
    with pytest.raises(DataError, match=r"u.csv: column 'u' is of another type than the log's user_id .found: Int64"):
        _read(table(None, open_map(users="{file: u.csv, id: u}")), tmp_path / "out")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (
            {"item_id": [1, 2], "segment": [0, 0], "vector": [[1.0], [1.0, 2.0]]},
            "row 1: the vector has another width .found: 2",
        ),
        ({"item_id": ["1"], "segment": [0], "vector": [[1.0]]}, "'item_id' is of another type than the log's items"),
        ({"item_id": [1], "segment": [-1], "vector": [[1.0]]}, "'segment' holds no segment numbers"),
        ({"item_id": [1], "segment": [0], "vector": [1.0]}, "'vector' holds no vectors .found: double"),
        ({"item_id": [1, 1], "segment": [0, 0], "vector": [[1.0], [1.0]]}, "pair occurs twice"),
        ({"item_id": [1], "segment": [0], "vector": [[float("inf")]]}, "row 0 has a NaN or infinite value"),
        ({"item_id": [1], "segment": [0], "vectr": [[1.0]]}, "column 'vector' is missing .*is 'vectr' meant"),
    ],
)
def test_wrong_vectors(table, tmp_path, vectors, message):
    pl.DataFrame(vectors).write_parquet(tmp_path / "vec.parquet")
    with pytest.raises(DataError, match=message):
        _read(table(None, open_map(vectors="{text: {file: vec.parquet}}")), tmp_path / "out")
