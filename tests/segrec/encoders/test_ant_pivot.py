"""AntPivot-causal: the contract of live encoders, and that text alone is what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segrec.encoders.ant_pivot import AntPivotConfig, AntPivotEncoder
from segrec.records import DataError, DatasetFolder
from segrec.segments.rooms import Rooms
from segrec.testing.live_dataset import make_live_dataset
from segrec.testing.live_encoder_contract import LiveEncoderContract

SMALL = ("width=8", "heads=2", "epochs=2", "batch_size=4", "chunk=4", "blocks=1")


class TestContract(LiveEncoderContract):
    name, sets = "ant_pivot", SMALL


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    return make_live_dataset(tmp_path / "dataset", rooms=24)


def test_its_scores_follow_the_true_rate(dataset: DatasetFolder, tmp_path: Path) -> None:
    sets = ("width=16", "heads=2", "epochs=15", "batch_size=4", "blocks=1", "dropout=0", "learning_rate=0.01")
    encoder, result = AntPivotEncoder.fit(AntPivotConfig.of(sets=sets), dataset, tmp_path / "fit")
    rooms = Rooms.of(dataset, ["test"])
    truth = dataset.segment_truth()
    assert truth is not None
    rate = rooms.frame.join(truth, on=["item_id", "end_ms"], maintain_order="left", suffix="_true")["lvtr_true"]
    scores = encoder.predict(rooms, dataset)
    assert np.corrcoef(scores, rate.to_numpy())[0, 1] > 0.5
    assert 0.8 < result.best["calibration_ratio"] < 1.25


def test_other_vectors_than_it_was_fitted_on_are_refused(dataset: DatasetFolder, tmp_path: Path) -> None:
    encoder, _ = AntPivotEncoder.fit(AntPivotConfig.of(sets=(*SMALL, "epochs=1")), dataset, tmp_path / "fit")
    other = make_live_dataset(tmp_path / "other", width=8)
    with pytest.raises(DataError, match=r"another width.*found: 8.*expected: 12"):
        encoder.predict(Rooms.of(other, ["test"]), other)
    with pytest.raises(DataError, match="has no segment vectors 'speech'"):
        AntPivotEncoder.fit(AntPivotConfig.of(sets=("text=speech",)), dataset, tmp_path / "fit2")
