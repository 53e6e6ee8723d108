"""What every live encoder must do: a base class whose tests each live encoder's test inherits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from segrec.encoders import ENCODERS, find_encoder
from segrec.encoders.encoder import LiveEncoder
from segrec.encoders.encoder_runs import freeze_encoder, thaw_live
from segrec.records import DatasetFolder
from segrec.segments.rooms import Rooms
from segrec.testing.live_changes import changed_after, some_rooms, with_streamers, without_vectors
from segrec.testing.live_dataset import make_live_dataset


class LiveEncoderContract:
    """Inherit, set `name` and `sets`; `dataset` may be overridden by a fixture of that name."""

    name: ClassVar[str]
    sets: ClassVar[Sequence[str]]
    "Small settings, so that a fit takes a second."

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
        """The dataset to fit on."""
        return make_live_dataset(tmp_path_factory.mktemp("live") / "dataset")

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> LiveEncoder:
        """The encoder, fitted once for all tests."""
        config = find_encoder(cls.name).Config.of(sets=[*cls.sets, "device=cpu"])
        fitted = find_encoder(cls.name).fit(config, dataset, tmp_path_factory.mktemp("fit"))[0]
        assert isinstance(fitted, LiveEncoder)
        return fitted

    @pytest.fixture(scope="class")
    @classmethod
    def rooms(cls, dataset: DatasetFolder) -> Rooms:
        """Valid and test rooms."""
        return Rooms.of(dataset, ["valid", "test"])

    def test_is_registered_and_its_default_config_survives_a_round_trip(self, tmp_path: Path) -> None:
        """By name, and from its own YAML."""
        config = find_encoder(self.name).Config.of()
        file = tmp_path / "config.yaml"
        file.write_text(config.to_yaml())
        assert self.name in ENCODERS
        assert find_encoder(self.name).Config.of(file) == config

    def test_scores_every_segment_finitely(self, fitted: LiveEncoder, dataset: DatasetFolder, rooms: Rooms) -> None:
        """One number a segment, not all the same."""
        found = fitted.predict(rooms, dataset)
        assert found.shape == (rooms.frame.height,)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert found.std() > 0

    def test_what_is_not_known_yet_changes_no_score(
        self, fitted: LiveEncoder, dataset: DatasetFolder, rooms: Rooms, tmp_path: Path
    ) -> None:
        """Causality: counts, rates and vectors after time T leave the scores of segments that end by T as they are."""
        told = fitted.predict(rooms, dataset)
        middle = (rooms.offsets[:-1] + rooms.offsets[1:]) // 2
        for number, row in enumerate((middle[0], middle[-1], rooms.offsets[1])):
            time_ms = int(rooms.end_ms[row])
            other = changed_after(dataset, tmp_path / str(number), time_ms)
            found = fitted.predict(Rooms.of(other, ["valid", "test"]), other)
            by_then = rooms.end_ms <= time_ms
            assert by_then.any()
            assert np.abs(found - told)[by_then].max() <= 1e-6
            assert np.abs(found - told)[~by_then].max() > 1e-6

    def test_rooms_do_not_see_each_other(self, fitted: LiveEncoder, dataset: DatasetFolder, rooms: Rooms) -> None:
        """Picked and exchanged rooms get the same numbers."""
        whole, last = fitted.predict(rooms, dataset), len(rooms.offsets) - 2
        found = fitted.predict(some_rooms(rooms, [last, 0]), dataset)
        expected = [whole[rooms.offsets[place] : rooms.offsets[place + 1]] for place in (last, 0)]
        assert found == pytest.approx(np.concatenate(expected), rel=1e-4, abs=1e-5)

    def test_a_room_of_one_segment(self, fitted: LiveEncoder, dataset: DatasetFolder, rooms: Rooms) -> None:
        """The first segment's score does not wait for the second."""
        whole = fitted.predict(rooms, dataset)
        found = fitted.predict(some_rooms(rooms, [1], segments=1), dataset)
        assert found == pytest.approx(whole[rooms.offsets[1] : rooms.offsets[1] + 1], rel=1e-4, abs=1e-5)

    def test_unseen_and_missing_streamers(self, fitted: LiveEncoder, dataset: DatasetFolder, tmp_path: Path) -> None:
        """They are scored."""
        strangers = with_streamers(dataset, tmp_path / "strangers", [10**9, None])
        assert np.isfinite(fitted.predict(Rooms.of(strangers, ["test"]), strangers)).all()

    def test_segments_without_vectors(self, fitted: LiveEncoder, dataset: DatasetFolder, tmp_path: Path) -> None:
        """They are scored."""
        holes = without_vectors(dataset, tmp_path / "holes", every=3)
        assert np.isfinite(fitted.predict(Rooms.of(holes, ["test"]), holes)).all()

    def test_frozen_and_thawed_scores_bit_equal(
        self, fitted: LiveEncoder, dataset: DatasetFolder, rooms: Rooms, tmp_path: Path
    ) -> None:
        """Freezing loses nothing, and the same parts give the same hash."""
        config = find_encoder(self.name).Config.of(sets=[*self.sets, "device=cpu"])
        frozen = freeze_encoder(tmp_path / "frozen", self.name, config, fitted, dataset)
        thawed = thaw_live(frozen)
        assert (thawed.target, thawed.label_shift) == (fitted.target, fitted.label_shift)
        assert np.array_equal(fitted.predict(rooms, dataset), thawed.predict(rooms, dataset))
        assert freeze_encoder(tmp_path / "twice", self.name, config, thawed, dataset).hash == frozen.hash
