"""`segrec evaluate highlight` end to end: encoder runs of two seeds, files, leaks, both protocols, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from segrec.encoders.one_step_highlight import TARGET
from segrec.highlight_evaluation.runs import Asked, agreed_target
from segrec.records import (
    ConfigError,
    DatasetFolder,
    MetricRow,
    RunMeta,
    ScoreMeta,
    SegrecError,
    read_metric_rows,
    write_run_meta,
    write_score_table,
)

SIMPLE = ["last_value", "room_mean", "streamer_mean", "minus_position"]
Make = Callable[..., Path]


def evaluate(*arguments: str | Path) -> str:
    """The command's output; SegrecError as the command line turns it into exit code 2."""
    done = CliRunner().invoke(build_app(), ["evaluate", "highlight", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def of(rows: list[MetricRow], **asked: object) -> list[MetricRow]:
    return [row for row in rows if all(getattr(row, name) == value for name, value in asked.items())]


def test_runs_of_two_seeds_beside_all_baselines(live: DatasetFolder, make_run: Make, tmp_path: Path) -> None:
    runs = [make_run(f"run{seed}", seed=seed, noise=0.05) for seed in (1, 2)]
    told = evaluate(*runs, live.path, "--out", tmp_path / "o.json")
    rows = read_metric_rows(tmp_path / "o.json")
    assert {row.task for row in rows} == {"highlight"}
    assert set(SIMPLE) | {"global_mean", "oracle", "echo"} == {row.model for row in rows}
    assert "oracle_rate" not in told, "shift 0: the runs say so"
    assert "echo - last_value" in told
    tau = {row.seed: row.value for row in of(rows, model="echo", metric="tau_room", cohort="all", versus=None)}
    assert tau[None] == pytest.approx((tau[1] + tau[2]) / 2)
    assert {row.versus for row in of(rows, model="echo")} == {None, *SIMPLE}
    (share,) = of(rows, model="echo", metric="oracle_share_tau_room", cohort="all")
    assert 0.5 < share.value <= 1.0
    assert share.low is not None
    assert not [row for row in rows if row.metric == "tau"], "no bare tau"


def test_files_join_the_table_and_thresholds_say_what_remains(
    live: DatasetFolder, make_scores: Make, tmp_path: Path
) -> None:
    file = make_scores()
    told = evaluate(f"mine={file}", live.path, "--out", tmp_path / "o.json", "--target", "lvtr", "--shift", "1")
    rows = read_metric_rows(tmp_path / "o.json")
    assert "mine" in told
    assert "oracle_rate" in told
    (mine,) = of(rows, model="mine", metric="tau_room", cohort="all", versus=None)
    (place,) = of(rows, model="minus_position", metric="tau_room", cohort="all", versus=None)
    assert mine.value == pytest.approx(-place.value), "scores rise with the segment number"
    counts = [
        of(rows, model="mine", metric=f"tau_global{at}", cohort="all", versus=None)[0].n for at in ("", "@0.2", "@0.6")
    ]
    assert counts[0] > counts[1] > counts[2] > 0


def test_a_leaking_ranker_run_shows_as_such(live: DatasetFolder, make_scores: Make, tmp_path: Path) -> None:
    file = make_scores("leaky/predictions.parquet")
    meta = RunMeta(
        kind="ranker", name="deep_fm", seed=3, dataset="-", dataset_fingerprint=live.meta.fingerprint, rows="segments",
        label="lvtr", label_shift=1, leak=True,
    )  # fmt: skip
    write_run_meta(file.parent, meta)
    told = evaluate(file.parent, f"mine={file}", live.path, "--out", tmp_path / "o.json")
    models = {row.model for row in read_metric_rows(tmp_path / "o.json")}
    assert {"deep_fm+leak", "mine+leak", "oracle_rate"} <= models
    assert "deep_fm+leak" in told


def test_a_live_score_table_is_checked(live: DatasetFolder, make_scores: Make, tmp_path: Path) -> None:
    frame = pl.read_parquet(make_scores()).with_columns(end_ms=pl.lit(0))
    files = {}
    for name, fingerprint in (("own", live.meta.fingerprint), ("other", "0" * 64)):
        meta = ScoreMeta(
            form="live", kind="relevance", encoder="echo", encoder_hash="0", dataset_fingerprint=fingerprint,
            segment_ms=live.meta.segment_ms, trained_until_ms=0, fitted_on=["train"],
        )  # fmt: skip
        files[name] = tmp_path / f"{name}_table.parquet"
        write_score_table(files[name], [frame], meta)
    asked = [live.path, "--out", tmp_path / "o.json", "--target", "ctr", "--shift", "0", "--cohort", "all"]
    assert "table" in evaluate(f"table={files['own']}", *asked)
    with pytest.raises(SegrecError, match="scores belong to another dataset"):
        evaluate(f"table={files['other']}", *asked)


def test_the_same_seed_gives_the_same_file(live: DatasetFolder, make_scores: Make, tmp_path: Path) -> None:
    asked = [f"mine={make_scores()}", live.path, "--target", "lvtr", "--shift", "0", "--cohort", "all"]
    for name in ("a", "b"):
        evaluate(*asked, "--out", tmp_path / name)
    evaluate(*asked, "--seed", "1", "--out", tmp_path / "c")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert (tmp_path / "a").read_text() != (tmp_path / "c").read_text()


@pytest.fixture
def with_likes(live: DatasetFolder, tmp_path: Path) -> DatasetFolder:
    """The live dataset with a count of likes, and everybody entered."""
    likes = live.segments().collect().with_columns(likes=pl.col("comments") // 2)
    rows = live.interactions().collect().with_columns(is_click=pl.lit(1, pl.Int8))
    copy = tmp_path / "m3"
    (copy / "segments").mkdir(parents=True)
    (copy / "interactions" / "day=1").mkdir(parents=True)
    likes.write_parquet(copy / "segments" / "part-0.parquet")
    live.items().write_parquet(copy / "items.parquet")
    live.segment_truth().write_parquet(copy / "truth_segments.parquet")
    rows.write_parquet(copy / "interactions" / "day=1" / "part-0.parquet")
    (copy / "dataset.json").write_text(live.meta.model_dump_json())
    return DatasetFolder.open(copy)


def test_kuailive_m3(with_likes: DatasetFolder, make_scores: Make, tmp_path: Path) -> None:
    asked = [with_likes.path, "--out", tmp_path / "o.json", "--protocol", "kuailive_m3"]
    told = evaluate(f"up={make_scores()}", *asked)
    found = read_metric_rows(tmp_path / "o.json")
    assert {row.protocol for row in found} == {"kuailive_m3"}
    assert {row.metric for row in found} == {
        "mAP", "F1@50%", "spearman", "tau_room", "kendall_pairs@0.2", "kendall_pairs@0.4",
    }  # fmt: skip
    assert {row.model for row in found} == {"minus_position", "last_value", "room_mean", "chance", "up"}
    for metric in ("spearman", "tau_room"):
        (up,) = of(found, model="up", metric=metric, versus=None)
        (down,) = of(found, model="minus_position", metric=metric, versus=None)
        assert up.value == pytest.approx(-down.value)
    assert "mAP" in told
    (chance,) = of(found, model="chance", metric="spearman", versus=None)
    assert np.isnan(chance.value)


def test_kuailive_m3_refuses_what_saw_its_rooms(
    with_likes: DatasetFolder, make_run: Make, make_scores: Make, tmp_path: Path
) -> None:
    asked = [with_likes.path, "--out", tmp_path / "o.json", "--protocol", "kuailive_m3"]
    run = make_run("run")
    assert "echo" in evaluate(run, *asked), "fitted on the first 70% of rooms, measured on the last 20%"
    late = make_scores("late/predictions.parquet").parent
    meta = RunMeta(
        kind="ranker", name="dcn_v2", seed=0, dataset="-", dataset_fingerprint=with_likes.meta.fingerprint,
        trained_until_ms=10**13,
    )  # fmt: skip
    write_run_meta(late, meta)
    with pytest.raises(SegrecError, match="was trained on rooms as new as the measured ones"):
        evaluate(late, *asked)


BAD = {
    "protocol": (["--protocol", "phd"], r"unknown protocol 'phd' \(known: live, kuailive_m3\)"),
    "split": (["--split", "future", "--target", "lvtr", "--shift", "1"], "unknown split 'future'"),
    "no target": ([], "no run says what is predicted; pass --target"),
    "m3's own target": (["--protocol", "kuailive_m3", "--target", "lvtr"], "kuailive_m3 has its own target"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_use_is_one_line_and_writes_nothing(case: str, live: DatasetFolder, tmp_path: Path) -> None:
    arguments, message = BAD[case]
    with pytest.raises(SegrecError, match=message):
        evaluate(live.path, "--out", tmp_path / "o.json", *arguments)
    assert list(tmp_path.iterdir()) == []


FILES = {
    "missing": (lambda frame: frame.filter(pl.col("segment") != 5), r"\(found: 6 of \d+ missing; expected: a score of"),
    "not finite": (lambda frame: frame.with_columns(score=pl.lit(float("nan"))), "lacks finite scores"),
    "twice": (lambda frame: pl.concat([frame, frame.head(2)]), "more than once .found: 2 rows too many"),
    "column": (lambda frame: frame.rename({"score": "value"}), r"'score' is missing \(found: item_id, segment, value;"),
    "type": (lambda frame: frame.with_columns(item_id=pl.lit("room")), "columns of other types than the dataset"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_files_that_do_not_fit_are_refused(case: str, live: DatasetFolder, make_scores: Make, tmp_path: Path) -> None:
    change, message = FILES[case]
    file = make_scores(change=change)
    with pytest.raises(SegrecError, match=message):
        evaluate(f"mine={file}", live.path, "--out", tmp_path / "o.json", "--target", "lvtr", "--shift", "1")


def test_what_is_no_file_is_refused(live: DatasetFolder, tmp_path: Path) -> None:
    asked = [live.path, "--out", tmp_path / "o.json", "--target", "lvtr", "--shift", "1"]
    (tmp_path / "text.parquet").write_text("hello")
    for named, message in (
        (f"mine={tmp_path / 'none.parquet'}", "is missing"),
        (f"mine={tmp_path / 'text.parquet'}", "cannot be read as Parquet"),
        (f"={tmp_path / 'text.parquet'}", "has no name"),
        (str(tmp_path), "is not a run folder"),
    ):
        with pytest.raises(SegrecError, match=message):
            evaluate(named, *asked)


def test_runs_that_do_not_fit_are_refused(live: DatasetFolder, make_run: Make, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "o.json"]
    own, next_one = make_run("own"), make_run("next", label_shift=1)
    with pytest.raises(SegrecError, match=r"runs predict different targets .*shift 0; .*shift 1"):
        evaluate(own, next_one, live.path, *out)
    with pytest.raises(SegrecError, match=r"echo predicts lvtr shift 0 .given: --target ctr --shift 0"):
        evaluate(own, live.path, *out, "--target", "ctr")
    with pytest.raises(SegrecError, match="was fitted on the train rows"):
        evaluate(own, live.path, *out, "--split", "train")
    meta = RunMeta.model_validate_json((own / "run.json").read_text())
    write_run_meta(own, meta.model_copy(update={"dataset_fingerprint": "elsewhere"}))
    with pytest.raises(SegrecError, match="own: was fitted on another dataset"):
        evaluate(own, live.path, *out)
    write_run_meta(own, meta.model_copy(update={"kind": "ranker"}))
    with pytest.raises(SegrecError, match=r"has no predictions.parquet of segments \(found: a ranker run\)"):
        evaluate(own, live.path, *out)


def test_the_benchmarks_score_has_a_protocol_of_its_own() -> None:
    run = Asked(Path("run"), "highlight_mlp", 1, (TARGET, 1), None, None)
    with pytest.raises(
        ConfigError, match="highlight_mlp predicts the score of the KuaiLive-M3 benchmark; pass --protoc"
    ):
        agreed_target([run], None, None)
