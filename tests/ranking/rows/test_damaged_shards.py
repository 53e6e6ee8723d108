"""Runs on logs with damaged shards: stopped by name, or gone on without their rows, which are counted."""

import json
import shutil

import polars as pl
import pyarrow.parquet as pq
import pytest

from ranking.encoding.histories import HistoryStore
from ranking.rankers import find_ranker
from ranking.rows.damaged_shards import SKIPPED, readable, rows_left_out, skipped_note
from ranking.training.ranker_run import train_ranker
from segrec.records import DataError, DatasetFolder

DAY, OTHER = "interactions/day=2022-04-25/part.parquet", "interactions/day=2022-04-26/part.parquet"


@pytest.fixture
def log(click_log, tmp_path):
    """A copy of the small log; its second day in row groups of 200 rows."""
    shutil.copytree(click_log.path, tmp_path / "log")
    pl.read_parquet(tmp_path / "log" / DAY).write_parquet(tmp_path / "log" / DAY, row_group_size=200)
    return DatasetFolder.open(tmp_path / "log")


def spoil_page(log, group, column="time_ms"):
    """Writes over the head of a page; the footer stays."""
    metadata = pq.read_metadata(log.path / DAY).row_group(group)
    names = [metadata.column(place).path_in_schema for place in range(metadata.num_columns)]
    page = metadata.column(names.index(column))
    with (log.path / DAY).open("r+b") as stream:
        stream.seek(page.dictionary_page_offset or page.data_page_offset)
        stream.write(b"\xff" * 16)


def truncate(log):
    (log.path / DAY).write_bytes((log.path / DAY).read_bytes()[:3000])


def lose(log):
    (log.path / DAY).unlink()


def train(log, out, **data):
    config = find_ranker("dcn_v2").config.checked(
        {"device": "cpu", "epochs": 1, "batch_size": 128, "cross_layers": 1, "mlp": [8], "data": data}
    )
    return train_ranker("dcn_v2", log, out, label="is_click", config=config)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda log: spoil_page(log, 1), rf"{DAY}: row group 1 cannot be read \(found: .+\); write it again, or leave"),
        (lambda log: spoil_page(log, 0, "is_click"), rf"{DAY}: row group 0 cannot be read \(found: .+\); write it"),
        (truncate, rf"{DAY}: cannot be read as Parquet \(found: .+\); write it again"),
        (lose, r"interactions lack rows: a day file is gone \(found: 2,\d+; expected: 3,000\); read the source again"),
    ],
    ids=["page", "label", "truncated", "lost"],
)
def test_a_damaged_shard_stops_the_run_by_its_name(log, tmp_path, spoil, told):
    spoil(log)
    with pytest.raises(DataError, match=told) as caught:
        train(log, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spoil", "row_groups"),
    [(lambda log: spoil_page(log, 1), [1]), (truncate, [None]), (lose, [])],
    ids=["page", "truncated", "lost"],
)
def test_a_damaged_shard_is_left_out_and_counted(log, tmp_path, caplog, spoil, row_groups):
    day = pl.read_parquet(log.path / DAY).height
    spoil(log)
    lost = 200 if row_groups == [1] else day
    run, result = train(log, tmp_path / "run", on_corrupt="skip")
    told = json.loads((run.path / SKIPPED).read_text(encoding="utf-8"))
    assert told["rows"] == lost
    assert [(shard["file"], shard["row_group"]) for shard in told["shards"]] == [(DAY, group) for group in row_groups]
    assert skipped_note(run.path) == f"{lost} rows in damaged or lost shards were left out: see {run.path / SKIPPED}"
    warnings = [record.getMessage() for record in caplog.records if "damaged_shards" in record.name]
    assert len(warnings) == 1
    assert (f"{DAY} is left out: " if row_groups else f"{log.path}: {lost} rows are in no file any more") in warnings[0]
    trained = log.meta.rows["train"] - lost
    assert result.steps == -(-trained // 128)
    cursor = json.loads(next((run.path / "checkpoints").glob("step_*/cursor.json")).read_text(encoding="utf-8"))
    assert cursor["order"]["rows"] == trained


def test_several_shards_are_told_file_by_file(log):
    spoil_page(log, 0)
    spoil_page(log, 2)
    (log.path / OTHER).write_bytes(b"PAR1")
    with readable(log, "skip") as sound:
        assert [(each.file, each.row_group) for each in sound.left_out] == [(DAY, 0), (DAY, 2), (OTHER, None)]
        assert sound.interactions().collect().height == 3000 - rows_left_out(sound)
        assert log.path / OTHER not in sound.interaction_files()
        assert {group.number for group in sound.row_groups() if group.file == log.path / DAY}.isdisjoint({0, 2})


def test_histories_leave_damaged_shards_out_too(log):
    spoil_page(log, 1)
    with readable(log, "skip") as sound:
        histories = HistoryStore.of(sound, ["item_id"])
        again = HistoryStore.of(sound, ["item_id"])
    assert len(histories.ended.ends) == len(again.ended.ends) == 2800


def test_nothing_is_left(log):
    for file in log.interaction_files():
        file.write_bytes(b"")
    with (
        pytest.raises(DataError, match="has no interactions"),
        readable(log, "skip"),
    ):
        pass


def test_a_sound_log_is_left_alone(log, tmp_path):
    with readable(log, "skip") as same:
        assert same == log
    run, _ = train(log, tmp_path / "run", on_corrupt="skip")
    assert not (run.path / SKIPPED).exists()
    assert skipped_note(run.path) is None


def test_errors_that_are_no_damage_stay_what_they_are(log):
    with pytest.raises(pl.exceptions.ColumnNotFoundError), readable(log, "stop") as same:
        same.interactions().select("nothing").collect()


def test_damage_after_the_start_stops_the_run_even_under_skip(log):
    with pytest.raises(DataError, match=rf"{DAY}: row group 1 cannot be read"), readable(log, "skip") as same:  # noqa: PT012
        spoil_page(log, 1)
        same.interactions().select(pl.col("time_ms").sum()).collect()
