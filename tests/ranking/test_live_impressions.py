"""Impressions of live rooms: no length, an age, labels that may be unknown, scores by the moment, priors that exist."""

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.encoding.feature_spec import DenseFeature, IdFeature
from ranking.features import FeatureConfig, build_spec
from ranking.measures.outcomes import Outcomes
from ranking.measures.placebos import PLACEBOS
from ranking.prediction import predict
from ranking.rankers import find_ranker
from ranking.rows.row_context import RowContext
from ranking.targets.labels import fit_label, note_of
from ranking.targets.rate_priors import STRENGTH, position_prior, prior_probabilities
from ranking.training.ranker_run import train_ranker
from segrec.metrics.auc import auc
from segrec.records import DataError, FoldRule, ScoreMeta, ScoreTable, read_metric_rows, write_score_table

MINUTE = 60_000
ROWS = pl.DataFrame(
    {
        "user_id": [1, 1, 2, 2, 1, 2], "item_id": [10, 11, 10, 11, 20, 20], "author_id": [5, 6, 5, 6, 5, 5],
        "time_ms": [MINUTE, 3 * MINUTE, 4 * MINUTE, 2 * MINUTE, 100 * MINUTE, 90 * MINUTE],
        "duration_ms": [None] * 6, "watch_ms": [0, 1, 2, 3, 4, 5], "split": ["train"] * 4 + ["valid", "test"],
        "is_click": [0, 1, 1, 1, 0, 1], "long_view": [0, None, 1, 1, None, None],
    },
    schema_overrides={"duration_ms": pl.Int64},
)  # fmt: skip
ROOMS = pl.DataFrame(
    {
        "item_id": [10, 11, 20], "author_id": [5, 6, 5], "start_ms": [0, 2 * MINUTE, 95 * MINUTE],
        "end_ms": [9 * MINUTE] * 3, "split": ["train", "train", "valid"], "kind": ["a", "b", "a"],
    }
)  # fmt: skip


@pytest.fixture
def rooms(make_dataset):
    return make_dataset(ROWS, items=ROOMS, flags=["is_click", "long_view"])


def test_age_instead_of_length(rooms):
    spec = build_spec(rooms, FeatureConfig())
    names = [feature.name for feature in spec.ids]
    assert names == ["user_id", "item_id", "author_id", "hour", "room_age", "kind"]  # no duration, end or split
    assert spec.ids[4] == IdFeature(name="room_age", column="room_age_ms", buckets=20)
    assert spec.dense == (DenseFeature(name="log_room_age", column="room_age_ms", transform="log1p"),)


def test_age_by_hand(rooms):
    context = RowContext.of(rooms)
    assert context.names == ("hour", "day", "room_age_ms")
    ages = context.rows(["train", "valid", "test"], ["item_id", "time_ms", "room_age_ms"]).collect().sort("time_ms")
    # a clock that is ahead of the room's start gives 0, not a negative age
    assert ages["room_age_ms"].to_list() == [MINUTE, 0, MINUTE, 4 * MINUTE, 0, 5 * MINUTE]


def test_the_rooms_end_is_no_feature_even_when_listed(make_dataset):
    with pytest.raises(DataError, match=r"features.only names 'end_ms', which the dataset does not offer"):
        build_spec(
            make_dataset(ROWS, items=ROOMS, flags=["is_click"]), FeatureConfig(only=("user_id", "end_ms"))
        )  # ROOMS stands among the item features as it is, end_ms included


def test_unknown_labels_are_left_out_and_counted(rooms):
    label = fit_label(rooms, "long_view")
    assert (label.rate, label.unknown) == (pytest.approx(2 / 3), {"test": 1, "train": 1, "valid": 1})
    told = "rows whose long_view is not known were left out: 1 test, 1 train, 1 valid"
    assert note_of(label) == told
    assert note_of(fit_label(rooms, "is_click")) is None
    assert Outcomes.of(rooms, label, "train").rows["time_ms"].to_list() == [MINUTE, 2 * MINUTE, 4 * MINUTE]
    with pytest.raises(DataError, match="has no test row with label long_view"):
        Outcomes.of(rooms, label, "test")


def test_priors_without_length_by_hand(rooms):
    label = fit_label(rooms, "is_click")
    assert position_prior(rooms) == "room_age"
    found = prior_probabilities(rooms, label, Outcomes.of(rooms, label, "valid").rows)

    def shrunk(positives, count):
        return (positives + STRENGTH * 0.75) / (count + STRENGTH)

    # valid row: user 1, room 20 (new), streamer 5, 5 minutes old: floor(log2(6)) = 2, as the row of 4 minutes (clicked)
    assert {name: values.tolist() for name, values in found.items()} == {
        "room_age": pytest.approx([shrunk(1, 1)]), "author_shrunk": pytest.approx([shrunk(1, 2)]),
        "item_shrunk": pytest.approx([0.75]), "user_shrunk": pytest.approx([shrunk(1, 2)]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def clicky(live_dataset, tmp_path_factory):
    """The live rooms with many more impressions, clicked where the last ended segment's score was high."""
    folder = tmp_path_factory.mktemp("clicky") / "rooms"
    rooms = live_dataset.segments().select("item_id", "segment", "end_ms").collect()
    generator = np.random.default_rng(2)
    scores = rooms.with_columns(score=pl.Series(generator.normal(size=rooms.height)))
    items = live_dataset.items()
    many = pl.concat([scores.join(items, on="item_id")] * 4)
    offset = generator.integers(0, 30_000, many.height)
    click = generator.random(many.height) < 1 / (1 + np.exp(-3 * many["score"].to_numpy()))
    rows = many.select(
        user_id=pl.Series(generator.integers(0, 20, many.height)), item_id="item_id", author_id="author_id",
        time_ms=pl.col("end_ms") + pl.Series(offset), duration_ms=pl.lit(None, pl.Int64), watch_ms=pl.lit(0),
        is_click=pl.Series(click.astype(np.int8)), split="split",
    ).sort("time_ms")  # fmt: skip
    (folder / "interactions" / "day=all").mkdir(parents=True)
    rows.write_parquet(folder / "interactions" / "day=all" / "part.parquet")
    items.write_parquet(folder / "items.parquet")
    counts = dict(rows["split"].value_counts().iter_rows())
    meta = live_dataset.meta.model_copy(update={"rows": counts, "flags": ["is_click"]})
    (folder / "dataset.json").write_text(meta.model_dump_json())
    dataset = type(live_dataset).open(folder)
    told = ScoreMeta(
        form="live", kind="relevance", encoder="content_ctr", encoder_hash="h", folds=FoldRule(folds=2),
        dataset_fingerprint=meta.fingerprint, segment_ms=meta.segment_ms, trained_until_ms=1, fitted_on=["train"],
    )  # fmt: skip
    write_score_table(folder.parent / "live.parquet", [scores], told)
    return dataset, ScoreTable.open(folder.parent / "live.parquet")


def run_on(dataset, out, scores, **settings):
    config = find_ranker("logistic_regression").config.checked(
        {"device": "cpu", "batch_size": 200, "epochs": 4, "learning_rate": 0.05, **settings}
    )
    return train_ranker("logistic_regression", dataset, out, label="is_click", config=config, scores=scores)


def test_live_scores_lift_the_ranker_and_placebos_do_not(clicky, tmp_path):
    dataset, scores = clicky
    run, result = run_on(dataset, tmp_path / "run", scores)
    assert result.best["AUC"] > 0.8
    found = predict(run, dataset, "test")
    assert auc(found["label"].to_numpy(), found["prediction"].to_numpy()) > 0.8
    arguments = ["evaluate", "ctr", str(run.path), str(dataset.path), "--placebo", "--out", str(tmp_path / "ctr.json")]
    done = CliRunner().invoke(build_app(), [*arguments, "--replicates", "100"])
    assert done.exit_code == 0, done.output
    rows = {
        (row.model, row.versus): row
        for row in read_metric_rows(tmp_path / "ctr.json")
        if (row.cohort, row.metric, row.seed) == ("all", "AUC", None)
    }
    real = "logistic_regression:features"
    for placebo in PLACEBOS:
        assert rows[f"{real}+placebo_{placebo}", None].value < 0.6
        assert rows[real, f"{real}+placebo_{placebo}"].low > 0.1
    assert {"room_age", "author_shrunk", "item_shrunk", "user_shrunk"} < {model for model, _ in rows}


def test_scores_that_end_later_change_no_prediction(clicky, tmp_path):
    """The leak test through the whole ranker: scores of segments that end after a moment change nothing before it."""
    dataset, scores = clicky
    run, _ = run_on(dataset, tmp_path / "run", scores, epochs=1)
    before = predict(run, dataset, "test")
    cut = int(before["time_ms"].median())
    frame = scores.frame().collect()
    later = frame.with_columns(score=pl.when(pl.col("end_ms") > cut).then(9.0).otherwise("score"))
    write_score_table(tmp_path / "later.parquet", [later], scores.meta)
    after = predict(run, dataset, "test", scores=ScoreTable.open(tmp_path / "later.parquet"))
    early = (before["time_ms"] <= cut).to_numpy()
    assert np.array_equal(before["prediction"].to_numpy()[early], after["prediction"].to_numpy()[early])
    assert not np.array_equal(before["prediction"].to_numpy(), after["prediction"].to_numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_fingerprint": "0" * 64}, "scores belong to another dataset"),
        ({"segment_ms": 5000}, "scores stand on another segment grid"),
        ({"fitted_on": ["train", "test"]}, "scores were fitted on the test rows"),
    ],
)
def test_live_scores_that_must_not_be_used(changes, message, clicky, tmp_path):
    dataset, scores = clicky
    meta = scores.meta.model_copy(update=changes)
    write_score_table(tmp_path / "bad.parquet", [scores.frame().collect()], meta)
    with pytest.raises(DataError, match=message):
        run_on(dataset, tmp_path / "run", ScoreTable.open(tmp_path / "bad.parquet"))
