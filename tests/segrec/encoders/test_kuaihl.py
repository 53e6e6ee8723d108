"""KuaiHL: the contract for its variants, every ablation, learning, what it refuses, and the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.report.training_curves import read_scalars
from segrec.encoders.encoder import Withheld
from segrec.encoders.kuaihl import KuaiHL, KuaiHLConfig
from segrec.fitting import FitResult
from segrec.metrics.kendall import kendall_tau
from segrec.records import ConfigError, DataError, DatasetFolder
from segrec.segments.rooms import Rooms
from segrec.testing.live_changes import some_rooms
from segrec.testing.live_dataset import make_live_dataset
from segrec.testing.live_encoder_contract import LiveEncoderContract

SMALL = ("width=16", "heads=2", "epochs=2", "batch_size=8")
PAPER = ("variant=paper", *SMALL, "epochs=1", "batch_size=64", "learning_rate=0.003")


class TestDefaultVariant(LiveEncoderContract):
    name, sets = "kuaihl", SMALL


class TestPaperVariant(LiveEncoderContract):
    name, sets = "kuaihl", PAPER


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return make_live_dataset(tmp_path_factory.mktemp("kuaihl") / "dataset")


def fit(dataset: DatasetFolder, folder: Path, *sets: str, withheld: Withheld | None = None) -> tuple[KuaiHL, FitResult]:
    return KuaiHL.fit(KuaiHLConfig.of(sets=[*sets, "device=cpu"]), dataset, folder, withheld)


@pytest.mark.parametrize(
    "sets",
    [
        ["fusion=self_attention_plain", "align=none"],
        ["fusion=self_attention_input", "align=dtw"],
        ["fusion=cross_attention_q", "align=mtam_released"],
        ["fusion=cross_attention_kv", "pair=L0"],
        ["fusion=cross_attention_qkv", "pair=L2"],
        ["modalities=[visual, text]", "pair=L3"],
        ["modalities=[item, visual]", "share_fusion=true"],
        ["modalities=[item, text]", "normed_residual=true"],
        ["modalities=[item]", "pair=none"],
        ["modalities=[text]", "text=visual", "relative_positions=true"],
        ["samples=rooms", "piece=1", "known=true", "weighting=binomial"],
        ["precision=bf16"],
    ],
    ids=" ".join,
)
def test_every_ablation_of_the_papers_fits(dataset: DatasetFolder, tmp_path: Path, sets: list[str]) -> None:
    encoder, _ = fit(dataset, tmp_path, *PAPER, *sets)
    found = encoder.predict(Rooms.of(dataset, ["test"]), dataset)
    assert np.isfinite(found).all()
    assert found.std() > 0


def test_default_learns_the_order_inside_rooms(tmp_path: Path) -> None:
    """Far above the newest known rate, which is two segments older than what frames show."""
    dataset = make_live_dataset(tmp_path / "dataset", rooms=60, segments=40)
    encoder, _ = fit(dataset, tmp_path / "run", "width=32")
    rooms = Rooms.of(dataset, ["test"])
    target, newest = rooms.target("lvtr", 1), rooms.newest_known("lvtr", 1)
    rates = rooms.frame["lvtr"].fill_null(0.5).to_numpy()
    last = np.where(newest >= 0, rates[newest], 0.5)
    scores, known = encoder.predict(rooms, dataset), target.known
    ours, lasts = (kendall_tau(each[known], target.values[known]).item() for each in (scores, last))
    assert ours > lasts + 0.05


def test_events_and_history_hold_the_parts_of_the_loss(dataset: DatasetFolder, tmp_path: Path) -> None:
    _, result = fit(dataset, tmp_path, *PAPER, "align=dtw")
    parts = result.history[0].parts
    assert set(parts) == {"point", "pair", "align"}
    expected = 0.65 * parts["point"] + 0.2 * parts["pair"] + 0.15 * parts["align"]
    assert result.history[0].loss == pytest.approx(expected, rel=1e-4)
    assert {"train/loss", "train/loss_point", "train/loss_pair", "train/loss_align"} <= set(
        read_scalars(tmp_path / "events")
    )


def test_withheld_rooms_are_not_seen(dataset: DatasetFolder, tmp_path: Path) -> None:
    """A fit without a stretch of train rooms is the fit on a dataset that never had them."""
    items = dataset.items()
    assert items is not None
    hidden = items.filter(pl.col("split") == "train").sort("start_ms")[2:5]
    withheld = Withheld(int(hidden["start_ms"].min()), int(hidden["start_ms"].max()) + 1)  # type: ignore[arg-type]
    without, _ = fit(dataset, tmp_path / "withheld", *SMALL, withheld=withheld)
    shutil.copytree(dataset.path, tmp_path / "fewer")
    kept = items.join(hidden, on="item_id", how="anti")
    kept.write_parquet(tmp_path / "fewer" / "items.parquet")
    fewer, _ = fit(DatasetFolder.open(tmp_path / "fewer"), tmp_path / "other", *SMALL)
    rooms = Rooms.of(dataset, ["test"])
    assert np.array_equal(without.predict(rooms, dataset), fewer.predict(rooms, dataset))


def test_raw_segments_give_the_tables_inputs(dataset: DatasetFolder, tmp_path: Path) -> None:
    """What live scoring builds from one segment at a time is what the batch path builds."""
    encoder, _ = fit(dataset, tmp_path, *SMALL)
    rooms = some_rooms(Rooms.of(dataset, ["test"]), [0])
    table = encoder.inputs.encode(rooms, dataset)
    expected = table.segments(np.arange(len(rooms.room)))
    contents = {name: content.vectors.matrix[content.rows] for name, content in table.contents.items()}
    found = encoder.segment_inputs(contents, rooms.frame["author_id"])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found.contents, expected.contents, strict=True))
    assert torch.equal(found.author_M, expected.author_M)
    nothing = encoder.segment_inputs({}, pl.Series([None], dtype=pl.Int64))
    assert [bool(part) for part in nothing.present] == [False, False]
    assert encoder.network.fuse(nothing).shape == (1, 16)
    with pytest.raises(DataError, match="another width than the encoder's"):
        encoder.segment_inputs({"text": np.zeros((1, 5), np.float32)}, pl.Series([1]))


def test_streamer_vectors_from_outside(dataset: DatasetFolder, tmp_path: Path) -> None:
    file = tmp_path / "streamers.parquet"
    vectors = np.random.default_rng(1).normal(size=(4, 6)).tolist()
    pl.DataFrame({"author_id": [3, 1, 0, 2], "vector": vectors}).write_parquet(file)
    encoder, _ = fit(dataset, tmp_path / "run", *SMALL, f"streamer_vectors={file}")
    assert encoder.network.outside is not None
    kept = encoder.network.outside.vectors
    assert kept[2:].tolist() == [pytest.approx(vectors[place]) for place in (2, 1, 3, 0)]
    assert kept[:2].abs().sum() == 0
    pl.DataFrame({"author_id": [1, 1], "vector": [[1.0], [2.0]]}).write_parquet(file)
    with pytest.raises(DataError, match="holds a streamer twice"):
        fit(dataset, tmp_path / "twice", *SMALL, f"streamer_vectors={file}")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["width=20", "heads=3"], "width 20 does not divide by heads 3"),
        (["modalities=[]"], "modalities is empty"),
        (["modalities=[sound]"], "item"),
        (["weight_point=0"], "weight_point and weight_pair are both 0"),
        (["window=1"], "greater than or equal to 2"),
    ],
)
def test_bad_settings_are_refused(sets: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KuaiHLConfig.of(sets=sets)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["target=likes"], "has no rate 'likes' (found: ctr, lvtr)"),
        (["modalities=[visual]", "visual=sound"], "has no segment vectors 'sound' (found: text, visual)"),
    ],
)
def test_what_the_dataset_lacks_is_one_line(
    dataset: DatasetFolder, tmp_path: Path, sets: list[str], message: str
) -> None:
    options = [part for each in sets for part in ("--set", each)]
    found = CliRunner().invoke(
        build_app(), ["fit", "kuaihl", str(dataset.path), "--out", str(tmp_path / "run"), *options]
    )
    assert found.exit_code != 0
    assert message in str(found.exception)


def test_command_line_fits_and_says_what_was_missing(dataset: DatasetFolder, tmp_path: Path) -> None:
    options = [part for each in (*SMALL, "text=nothing") for part in ("--set", each)]
    found = CliRunner().invoke(
        build_app(), ["fit", "kuaihl", str(dataset.path), "--out", str(tmp_path / "run"), *options]
    )
    assert found.exit_code == 0, found.output
    assert "tau_room" in found.output
    assert "note: no segment vectors for text ('nothing') (the dataset has: text, visual)" in found.output


@pytest.mark.gpu
def test_the_papers_setting_trains_in_bf16_without_nan(dataset: DatasetFolder, tmp_path: Path) -> None:
    config = KuaiHLConfig.of(sets=["variant=paper", "precision=bf16", "epochs=2", "min_viewers=null", "device=cuda"])
    encoder, result = KuaiHL.fit(config, dataset, tmp_path)
    assert (config.width, config.heads, config.fusion_layers, config.layers, config.window) == (512, 8, 3, 3, 20)
    assert np.isfinite([entry.loss for entry in result.history]).all()
    assert np.isfinite(encoder.predict(Rooms.of(dataset, ["test"]), dataset)).all()
