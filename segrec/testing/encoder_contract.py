"""What every encoder must do: a base class whose tests each encoder's test inherits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from segrec.encoders import ENCODERS, find_encoder
from segrec.encoders.encoder import SkipEncoder
from segrec.encoders.encoder_runs import freeze_encoder, thaw_skip
from segrec.encoders.prediction import ExitPrediction, SkipPrediction
from segrec.records import DatasetFolder
from segrec.segments.history import HistoryLog
from segrec.segments.views import skip_views_of


class EncoderContract:
    """Inherit, set `name` and `sets`; `dataset` may be overridden by a fixture of that name."""

    name: ClassVar[str]
    sets: ClassVar[Sequence[str]]
    "Small settings, so that a fit takes seconds."

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, interest_dataset: DatasetFolder) -> DatasetFolder:
        """The dataset to fit on."""
        return interest_dataset

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> SkipEncoder:
        """The encoder, fitted once for all tests."""
        config = find_encoder(cls.name).Config.of(sets=[*cls.sets, "device=cpu"])
        fitted = find_encoder(cls.name).fit(config, dataset, tmp_path_factory.mktemp("fit"))[0]
        assert isinstance(fitted, SkipEncoder)
        return fitted

    @pytest.fixture(scope="class")
    @classmethod
    def views(cls, dataset: DatasetFolder) -> pl.DataFrame:
        """Test views."""
        return skip_views_of(dataset, ["test"])

    def predicted(self, encoder: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame) -> SkipPrediction:
        """Predictions of views with the whole log as their past."""
        log = HistoryLog.of(skip_views_of(dataset, ["train", "valid", "test"]), encoder.past_columns)
        return encoder.predict(views, log, encoder.surroundings(dataset))

    def test_is_registered_and_its_default_config_builds_and_survives_a_round_trip(self, tmp_path: Path) -> None:
        """By name, and from its own YAML."""
        config = find_encoder(self.name).Config.of()
        file = tmp_path / "config.yaml"
        file.write_text(config.to_yaml())
        assert self.name in ENCODERS
        assert find_encoder(self.name).Config.of(file) == config

    def test_predicts_every_view_finitely(
        self, fitted: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame
    ) -> None:
        """Finite inside each video; an exit distribution sums to one."""
        found = self.predicted(fitted, dataset, views)
        assert found.lengths.tolist() == views["n_segments"].to_list()
        inside = np.arange(found.skip_scores().shape[1]) < found.lengths[:, None]
        assert np.isfinite(found.skip_scores()[inside]).all()
        assert isinstance(found, ExitPrediction) == fitted.calibrated
        if isinstance(found, ExitPrediction):
            total = np.exp(found.log_exit.astype(np.float64)).sum(axis=1) + np.exp(found.log_end)
            assert total == pytest.approx(np.ones(len(found)), abs=1e-5)

    def test_rows_keep_their_order_and_ignore_their_batch_mates(
        self, fitted: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame
    ) -> None:
        """Permuted or picked views get the same numbers."""
        order = np.random.default_rng(0).permutation(views.height)
        whole = self.predicted(fitted, dataset, views).skip_scores()
        permuted = self.predicted(fitted, dataset, views[order]).skip_scores()
        few = self.predicted(fitted, dataset, views[3:5]).skip_scores()
        assert permuted == pytest.approx(whole[order], rel=1e-4, abs=1e-5)
        assert few == pytest.approx(whole[3:5], rel=1e-4, abs=1e-5)

    def test_a_batch_of_one(self, fitted: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame) -> None:
        """One view alone is no special case."""
        one = self.predicted(fitted, dataset, views[:1])
        whole = self.predicted(fitted, dataset, views)
        assert one.skip_scores()[0] == pytest.approx(whole.skip_scores()[0], rel=1e-4, abs=1e-5)

    def test_unseen_user_item_and_author(
        self, fitted: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame
    ) -> None:
        """Unknown ids, and a missing author, are scored."""
        strangers = views[:3].with_columns(
            user_id=pl.lit(10**9), item_id=pl.lit(10**9), author_id=pl.Series([10**9, None, 3])
        )
        found = self.predicted(fitted, dataset, strangers)
        assert np.isfinite(found.skip_scores()[:, 0]).all()

    def test_the_outcome_of_a_view_is_not_looked_at(
        self, fitted: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame
    ) -> None:
        """Another outcome of the asked views changes nothing."""
        blind = views.with_columns(watch_ms=pl.lit(1), exit_segment=pl.lit(0, pl.Int32))
        told, found = (self.predicted(fitted, dataset, part) for part in (views, blind))
        assert np.array_equal(told.skip_scores(), found.skip_scores())

    def test_frozen_and_thawed_predicts_bit_equal(
        self, fitted: SkipEncoder, dataset: DatasetFolder, views: pl.DataFrame, tmp_path: Path
    ) -> None:
        """Freezing loses nothing, and the same parts give the same hash."""
        config = find_encoder(self.name).Config.of(sets=[*self.sets, "device=cpu"])
        frozen = freeze_encoder(tmp_path / "frozen", self.name, config, fitted, dataset)
        again = self.predicted(thaw_skip(frozen), dataset, views)
        assert np.array_equal(self.predicted(fitted, dataset, views).skip_scores(), again.skip_scores())
        assert freeze_encoder(tmp_path / "twice", self.name, config, thaw_skip(frozen), dataset).hash == frozen.hash
