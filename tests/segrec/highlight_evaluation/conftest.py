"""A small live dataset, runs of a tiny live encoder on it, and files of scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch

from segrec.encoders import ENCODERS
from segrec.encoders.encoder import LiveEncoder, Parts, Withheld
from segrec.encoders.encoder_runs import freeze_encoder
from segrec.fitting import FitConfig, FitResult
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder, RunMeta, write_run_meta
from segrec.segments.rooms import Rooms
from segrec.testing.live_dataset import make_live_dataset


class EchoConfig(FitConfig):
    """What the tiny encoder says."""

    target: str = "lvtr"
    label_shift: int = 0
    noise: float = 0.1


class Echo(LiveEncoder):
    """The true rate with some noise, from the made dataset's truth: not honest, but quick."""

    Config = EchoConfig

    def __init__(self, config: EchoConfig) -> None:
        self.config, self.target, self.label_shift = config, config.target, config.label_shift

    @classmethod
    def fit(
        cls, config: EchoConfig, dataset: DatasetFolder, folder: Path, withheld: Withheld | None = None
    ) -> tuple[Self, FitResult]:
        raise NotImplementedError

    @classmethod
    def thaw(cls, frozen: FrozenEncoder) -> Self:
        return cls(EchoConfig(**frozen.meta.config))

    def parts(self) -> Parts:
        return Parts({"nothing": torch.zeros(1)}, {}, {})

    def predict(self, rooms: Rooms, dataset: DatasetFolder) -> npt.NDArray[np.float32]:
        truth = dataset.segment_truth()
        assert truth is not None
        joined = rooms.frame.select("item_id", "end_ms").join(truth, on=["item_id", "end_ms"], maintain_order="left")
        noise = np.random.default_rng(self.config.seed).normal(0, self.config.noise, joined.height)
        return np.clip(joined[self.target].to_numpy() + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """40 rooms of five streamers, of up to 36 segments."""
    return make_live_dataset(tmp_path_factory.mktemp("live") / "dataset", rooms=40, segments=36, seed=1)


@pytest.fixture
def make_run(live: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes an encoder run of the tiny encoder."""
    monkeypatch.setitem(ENCODERS, "echo", Echo)

    def make(name: str = "run", **settings: Any) -> Path:
        folder, config = tmp_path / name, EchoConfig(**settings)
        folder.mkdir()
        freeze_encoder(folder / "frozen", "echo", config, Echo(config), live)
        meta = RunMeta(
            kind="encoder", name="echo", seed=config.seed, dataset="-", dataset_fingerprint=live.meta.fingerprint
        )
        write_run_meta(folder, meta)
        return folder

    return make


@pytest.fixture
def make_scores(live: DatasetFolder, tmp_path: Path) -> Callable[..., Path]:
    """Writes (item_id, segment, score) of all segments, score = segment number, after a change."""

    def make(
        name: str = "scores.parquet", change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame
    ) -> Path:
        frame = Rooms.of(live).frame.select("item_id", "segment", score=pl.col("segment") / 100)
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        change(frame).write_parquet(file)
        return file

    return make
