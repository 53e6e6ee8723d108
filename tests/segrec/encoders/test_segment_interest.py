"""The segment-interest encoder: the contract for its variants and ablations, learning, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from segrec.encoders import find_encoder
from segrec.encoders.encoder import Withheld
from segrec.encoders.priors import LengthPositionPrior
from segrec.encoders.segment_interest import SegmentInterest
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.encoders.segment_interest_learning import predict_table
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.segments.history import HistoryLog
from segrec.segments.views import skip_views_of
from segrec.testing.encoder_contract import EncoderContract

SMALL = ("epochs=2", "batch_size=64", "width=16", "min_count=2")
PAPER = (*SMALL, "variant=paper", "layers=2")


class TestHazardVariant(EncoderContract):
    name, sets = "segment_interest", SMALL


class TestHazardVariantWithContent(EncoderContract):
    name, sets = "segment_interest", SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, vector_dataset: DatasetFolder) -> DatasetFolder:
        return vector_dataset


class TestPaperVariantByIds(EncoderContract):
    name, sets = "segment_interest", PAPER


class TestPaperVariantWithContent(EncoderContract):
    name, sets = "segment_interest", PAPER

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, vector_dataset: DatasetFolder) -> DatasetFolder:
        return vector_dataset


class TestReleasedVariant(EncoderContract):
    name: ClassVar[str] = "segment_interest"
    sets = (*SMALL, "variant=released", "layers=2")

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, vector_dataset: DatasetFolder) -> DatasetFolder:
        return vector_dataset


def fit(dataset: DatasetFolder, folder: Path, *sets: str, withheld: Withheld | None = None) -> SegmentInterest:
    return SegmentInterest.fit(SegmentInterestConfig.of(sets=[*sets, "device=cpu"]), dataset, folder, withheld)[0]


@pytest.mark.parametrize(
    "sets",
    [
        ["modalities=id"],
        ["modalities=visual"],
        ["attention=none"],
        ["attention=self"],
        ["attention=cross"],
        ["position_bias=false", "item_position=none"],
        ["loss=bce"],
        ["loss=hazard"],
        ["loss=hazard", "prior_offset=true", "context=true"],
        ["loss_scope=watched"],
        ["squash_fusion=true", "bias_per_slot=true", "attention_dropout=0.1"],
        ["body=mlp"],
    ],
    ids=" ".join,
)
def test_every_ablation_of_the_paper_fits(vector_dataset: DatasetFolder, tmp_path: Path, sets: list[str]) -> None:
    encoder = fit(vector_dataset, tmp_path, *PAPER, "epochs=1", *sets)
    views = skip_views_of(vector_dataset, ["test"])
    log = HistoryLog.of(views, encoder.past_columns)
    found = encoder.predict(views, log, encoder.surroundings(vector_dataset))
    inside = np.arange(found.skip_scores().shape[1]) < found.lengths[:, None]
    assert np.isfinite(found.skip_scores()[inside]).all()
    assert found.skip_scores()[inside].std() > 0


def test_default_learns_who_leaves_early(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    """Odd users leave early: the encoder must be well below the (length, position) prior."""
    encoder = fit(interest_dataset, tmp_path, "epochs=8", "batch_size=32", "width=32", "min_count=2")
    train, test = (skip_views_of(interest_dataset, [split]) for split in ("train", "test"))
    log = HistoryLog.of(skip_views_of(interest_dataset, ["train", "valid", "test"]), encoder.past_columns)
    exits = test["exit_segment"].to_numpy().astype(np.int64)
    found = encoder.predict(test, log, encoder.surroundings(interest_dataset)).log_likelihood(exits).mean()  # type: ignore[union-attr]
    prior = LengthPositionPrior.fit(train).predict(test).log_likelihood(exits).mean()
    assert found > prior + 0.1


def test_untrained_default_is_the_length_position_prior(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    """Zero-initialised scores: before the first step each segment has the smoothed hazard of its length."""
    from segrec.encoders.segment_interest import _network

    encoder = fit(interest_dataset, tmp_path, *SMALL)
    views = skip_views_of(interest_dataset, ["test"])
    surroundings = encoder.surroundings(interest_dataset)
    table = encoder.inputs.encode(views, HistoryLog.of(views, encoder.past_columns), surroundings)
    import torch

    network = _network(encoder.inputs, encoder.slots, "cpu").eval()
    found = predict_table(network, table, encoder.inputs.config, encoder.slots, torch.device("cpu"))
    counts = encoder.inputs.counts
    assert counts is not None
    length = int(views["n_segments"][0])
    assert 1 - found.stay()[0, :length] == pytest.approx(counts.hazards[length, :length], rel=1e-3)  # type: ignore[union-attr]


def test_same_seed_same_weights_other_seed_others(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    first, again, other = (
        fit(interest_dataset, tmp_path / str(number), *SMALL, f"seed={seed}") for number, seed in enumerate((1, 1, 2))
    )
    weights = [encoder.network.state_dict() for encoder in (first, again, other)]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])
    assert any(bool((weights[0][name] != weights[2][name]).any()) for name in weights[0])


def test_withheld_rows_leave_no_trace(
    small_log: pl.DataFrame, make_interest_dataset: Callable[..., DatasetFolder], tmp_path: Path
) -> None:
    """A fit without the second day is the same whatever happened on that day."""
    start = int(small_log["time_ms"].min()) // 86_400_000 * 86_400_000 + 86_400_000  # type: ignore[arg-type]
    day = Withheld(start, start + 86_400_000)
    other = small_log.with_columns(watch_ms=pl.when(day.kept()).then("watch_ms").otherwise(pl.col("duration_ms") // 2))
    encoders = [
        fit(make_interest_dataset(log, name), tmp_path / f"fit-{name}", *SMALL, withheld=day)
        for name, log in (("as-it-was", small_log), ("otherwise", other))
    ]
    first, second = (encoder.parts().tensors for encoder in encoders)
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_counts_of_training_views_come_from_other_blocks(small_log: pl.DataFrame) -> None:
    """An item seen on one day only has no count left for its own views."""
    from segrec.encoders.segment_interest_counts import ExitCounts

    train = pl.DataFrame(
        {
            "user_id": [1, 2, 3, 4], "item_id": [7, 7, 8, 8], "author_id": [1, 1, None, None],
            "n_segments": [2, 2, 2, 2], "exit_segment": [0, 0, 0, 2],
        }
    )  # fmt: skip
    counts = ExitCounts.count(train, 4)
    whole, known = counts.out_of_fold(train, np.array([0, 0, 1, 2]))
    views = counts.view_names.index("item_id_log_views")
    reached = counts.known_names.index("item_id_log_reached")
    assert whole[:, views] == pytest.approx([0, 0, np.log(2), np.log(2)])
    assert known[0, reached] == 0
    assert known[4, reached] == pytest.approx(np.log(2) / 3)
    everything, _ = counts.features(train)
    assert everything[:, views] == pytest.approx(np.log([3, 3, 3, 3]))
    assert whole[:, counts.view_names.index("author_id_log_views")].tolist()[2:] == [0, 0]


def test_dataset_without_vectors_is_told(interest_dataset: DatasetFolder) -> None:
    (note,) = SegmentInterest.notes(SegmentInterestConfig.of(), interest_dataset)
    assert "no segment vectors 'visual'" in note
    assert SegmentInterest.notes(SegmentInterestConfig.of(sets=["modalities=id"]), interest_dataset) == []


def test_visual_only_needs_vectors(interest_dataset: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no segment vectors 'visual'"):
        fit(interest_dataset, tmp_path, *PAPER, "modalities=visual")


def test_vectors_of_another_width_are_refused(
    vector_dataset: DatasetFolder, small_log: pl.DataFrame, make_interest_dataset: Callable[..., DatasetFolder],
    tmp_path: Path,
) -> None:  # fmt: skip
    encoder = fit(vector_dataset, tmp_path, *PAPER, "epochs=1")
    with pytest.raises(DataError, match="has no segment vectors"):
        encoder.surroundings(make_interest_dataset(small_log))


def test_no_train_view_is_an_error(
    small_log: pl.DataFrame, make_interest_dataset: Callable[..., DatasetFolder], tmp_path: Path
) -> None:
    empty = make_interest_dataset(small_log.filter(pl.col("split") != "train"))
    with pytest.raises(DataError, match="has no train view to fit on"):
        fit(empty, tmp_path, *SMALL)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["variant=best"], "field 'variant'"),
        (["widht=8"], "unknown field 'widht'"),
        (["heads=3"], "width 128 does not divide by heads 3"),
        (["fusion_heads=7"], "does not divide by fusion_heads 7"),
        (["loss=bce"], "prior_offset needs loss hazard"),
        (["loss_scope=all40_bprmax"], "belongs to loss intra_video"),
        (["dropout=1"], "field 'dropout'"),
        (["epochs=0"], "field 'epochs'"),
    ],
)
def test_bad_settings(sets: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SegmentInterestConfig.of(sets=sets)


def test_a_setting_wins_over_its_variant() -> None:
    config = SegmentInterestConfig.of(sets=["variant=paper", "learning_rate=0.5"])
    assert (config.learning_rate, config.body, config.patience) == (0.5, "attention", 10)


def test_unknown_encoder_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown encoder 'segmm' \(known: .*segment_interest"):
        find_encoder("segmm")
