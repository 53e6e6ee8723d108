"""Runs appear whole, go on where they were stopped, and give way where they never learned anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from segrec.records import DataError, RunFolder, RunMeta, new_run, partial_folder

META = RunMeta(kind="encoder", name="made", seed=1, dataset="data", dataset_fingerprint="f", device="cpu", versions={})


def stop(out: Path, error: BaseException, *made: str, config: str = "a: 1\n") -> None:
    """A run that writes the files `made` and fails."""

    def fails() -> None:
        with new_run(out, META, config, overwrite=False) as folder:
            for name in made:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text("")
            raise error

    with pytest.raises(type(error)):
        fails()


def test_a_finished_run_holds_what_was_run(tmp_path: Path) -> None:
    with new_run(tmp_path / "run", META, "a: 1\n", overwrite=False) as folder:
        assert folder == partial_folder(tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").meta == META
    assert (tmp_path / "run" / "config.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize("made", [(), ("features/spec.yaml",)])
def test_a_run_refused_before_it_learned_leaves_no_folder(tmp_path: Path, made: tuple[str, ...]) -> None:
    stop(tmp_path / "run", DataError("data", "has no rate"), *made)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "made"), [(DataError("loss", "is NaN"), "checkpoints/step_1/x"), (KeyboardInterrupt(), "half")]
)
def test_what_was_made_is_kept_for_the_next_try(tmp_path: Path, error: BaseException, made: str) -> None:
    stop(tmp_path / "run", error, made)
    assert (partial_folder(tmp_path / "run") / made).is_file()
    with new_run(tmp_path / "run", META, "a: 1\n", overwrite=False):
        pass
    assert (tmp_path / "run" / made).is_file()


def test_a_stopped_run_of_another_config_is_in_the_way_only_if_it_learned(tmp_path: Path) -> None:
    stop(tmp_path / "run", KeyboardInterrupt(), "features/x")
    stop(tmp_path / "run", KeyboardInterrupt(), "checkpoints/step_1/x", config="a: 2\n")
    assert not (partial_folder(tmp_path / "run") / "features").exists()
    with (
        pytest.raises(DataError, match="holds a stopped run with another config"),
        new_run(tmp_path / "run", META, "a: 3\n", overwrite=False),
    ):
        pass
    with new_run(tmp_path / "run", META, "a: 3\n", overwrite=True):
        pass
    assert not (tmp_path / "run" / "checkpoints").exists()
