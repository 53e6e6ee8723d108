"""The KuaiLive-M3 benchmark's models as encoders: the contract, learning, and its own split and inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from segrec.encoders import find_encoder
from segrec.encoders.encoder import Withheld
from segrec.encoders.encoder_runs import freeze_encoder
from segrec.encoders.one_step_highlight import HighlightCausal, OneStepHighlightConfig
from segrec.records import ConfigError, DataError, DatasetFolder, SplitRule
from segrec.segments.m3_highlight import M3Rooms
from segrec.segments.rooms import Rooms
from segrec.testing.live_dataset import make_live_dataset
from segrec.testing.live_encoder_contract import LiveEncoderContract

SMALL = ("vectors=visual", "width=8", "heads=2", "layers=1", "epochs=2", "batch_size=4")


def with_sessions(path: Path, **sizes: int) -> DatasetFolder:
    """Rooms that the benchmark keeps: as many sessions as their segments have viewers' thirtieths."""
    dataset = make_live_dataset(path, **sizes)
    generator = np.random.default_rng(5)
    segments = Rooms.of(dataset).frame
    rows = segments.select("item_id", "author_id", "start_ms", "split", "lvtr").sample(
        fraction=2.0, with_replacement=True, seed=1
    )
    stay = rows["lvtr"].fill_null(0.3).to_numpy()
    watched = np.where(generator.random(rows.height) < stay, 300_000, 20_000)
    sessions = rows.select(
        user_id=pl.int_range(pl.len()), item_id="item_id", author_id="author_id", time_ms=pl.col("start_ms") - 3_000,
        duration_ms=pl.lit(None, pl.Int64), watch_ms=pl.Series(watched.astype(np.int64)),
        is_click=pl.lit(1, pl.Int8), long_view=pl.Series((watched > 60_000).astype(np.int8)), split="split",
    )  # fmt: skip
    sessions.sort("time_ms", "user_id").write_parquet(dataset.interaction_files()[0])
    return dataset


class Contract(LiveEncoderContract):
    sets = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
        return with_sessions(tmp_path_factory.mktemp("live") / "dataset")


class TestMlp(Contract):
    name = "highlight_mlp"


class TestGru(Contract):
    name = "highlight_gru"


class TestCausal(Contract):
    name = "highlight_causal"


class TestHierarchical(Contract):
    name = "highlight_hierarchical"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return with_sessions(tmp_path_factory.mktemp("rooms") / "dataset", rooms=30)


@pytest.mark.parametrize("inputs", ["plain", "es", "stats"])
def test_it_orders_the_segments_of_rooms_that_it_never_saw(dataset: DatasetFolder, tmp_path: Path, inputs: str) -> None:
    sets = ("vectors=visual", "width=16", "heads=2", "layers=1", "epochs=12", "batch_size=4", f"inputs={inputs}")
    encoder, result = HighlightCausal.fit(OneStepHighlightConfig.of(sets=sets), dataset, tmp_path)
    rooms, benchmark = Rooms.of(dataset), M3Rooms.of(dataset)
    scored = rooms.frame.select("item_id", "segment").with_columns(score=pl.Series(encoder.predict(rooms, dataset)))
    positions = benchmark.positions("test")
    found = positions.keys.join(scored, on=["item_id", "segment"], maintain_order="left")["score"].to_numpy()
    rooms_of = np.split(np.arange(len(found)), positions.offsets[1:-1])
    # Statistics alone know little more than the place; content knows the state.
    assert np.mean([spearmanr(found[rows], positions.score[rows]).statistic for rows in rooms_of]) > 0.15
    assert 0 < result.best["mAP"] <= 1


def test_a_room_longer_than_the_learned_positions_is_scored_in_pieces(dataset: DatasetFolder, tmp_path: Path) -> None:
    encoder, _ = HighlightCausal.fit(OneStepHighlightConfig.of(sets=SMALL), dataset, tmp_path / "fit")
    long = make_live_dataset(tmp_path / "long", rooms=7, segments=620)
    found = encoder.predict(Rooms.of(long, ["test"]), long)
    assert np.isfinite(found).all()
    assert len(found) > 402


def test_what_it_cannot_do_is_refused(dataset: DatasetFolder, tmp_path: Path) -> None:
    config = OneStepHighlightConfig.of(sets=SMALL)
    with pytest.raises(ConfigError, match="cannot be cross-fitted"):
        HighlightCausal.fit(config, dataset, tmp_path / "a", Withheld(0, 1))
    few = with_sessions(tmp_path / "few", rooms=6)
    with pytest.raises(DataError, match="has no valid room of the KuaiLive-M3 benchmark"):
        HighlightCausal.fit(config, few, tmp_path / "b")
    with pytest.raises(DataError, match="has no segment vectors 'feature_128'"):
        HighlightCausal.fit(OneStepHighlightConfig.of(), dataset, tmp_path / "c")


def test_statistics_are_said_to_look_ahead(dataset: DatasetFolder) -> None:
    kind = find_encoder("highlight_gru")
    assert kind.notes(OneStepHighlightConfig.of(), dataset) == []
    assert "final length" in kind.notes(OneStepHighlightConfig.of(sets=["inputs=es"]), dataset)[0]


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="width 256 does not divide by heads 3"):
        OneStepHighlightConfig.of(sets=["heads=3"])


def test_its_scores_are_no_features_of_rows_that_its_own_split_trained_on(tmp_path: Path) -> None:
    """The dataset's valid rooms begin before the benchmark's train rooms end."""
    dataset = with_sessions(tmp_path / "dataset")
    rooms = M3Rooms.of(dataset)
    early = int(rooms.frame["start_ms"].to_numpy()[rooms.offsets[len(rooms.sizes) // 2]])
    split = SplitRule(rule="time", valid_from_ms=early, test_from_ms=early + 1)
    meta = dataset.meta.model_copy(update={"split": split})
    (dataset.path / "dataset.json").write_text(meta.model_dump_json())
    dataset = DatasetFolder.open(dataset.path)
    config = OneStepHighlightConfig.of(sets=SMALL)
    encoder, _ = HighlightCausal.fit(config, dataset, tmp_path / "fit")
    frozen = freeze_encoder(tmp_path / "frozen", "highlight_causal", config, encoder, dataset)
    assert frozen.meta.fitted_on == ["train", "valid", "test"]
