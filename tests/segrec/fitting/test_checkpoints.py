"""Checkpoints: the newest and the best stay, damaged ones are noticed, a full disk is one line."""

from __future__ import annotations

import errno
import json
import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from segrec.fitting import Checkpoints, Progress, checkpoint_folder, checkpoints
from segrec.records import DataError


def saved(
    folder: Path, steps: list[int], *, best: dict[int, int] | None = None, keep_last: int = 2, background: bool = False
) -> Checkpoints:
    """Checkpoints at `steps` of a module whose weight is the step; `best`: step -> best step by then."""
    module = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    kept = Checkpoints(folder, module, optimizer, keep_last, background=background)
    for step in steps:
        module.weight.data.fill_(step)
        module.weight.grad = torch.full_like(module.weight, 1.0)
        optimizer.step()
        module.weight.data.fill_(step)
        kept.save(Progress(epoch=0, batch=step, step=step, best_step=(best or {}).get(step)))
    kept.flush()
    return kept


def reopened(folder: Path) -> tuple[Checkpoints, nn.Linear, torch.optim.Adam]:
    module = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.7)
    return Checkpoints(folder, module, optimizer), module, optimizer


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    best = {10: 10, 20: 20, 30: 20, 40: 20, 50: 20}
    assert saved(tmp_path, [10, 20, 30, 40, 50], best=best).steps() == [20, 40, 50]


def test_the_best_of_an_older_kept_checkpoint_is_kept_too(tmp_path: Path) -> None:
    # 30 is the new best; if it turns out damaged, 20 goes on and knows 10 as the best
    assert saved(tmp_path, [10, 20, 30], best={10: 10, 20: 10, 30: 30}).steps() == [10, 20, 30]


@pytest.mark.parametrize("damaged", ["", "{}x", "[]"])
def test_one_damaged_while_the_run_goes_on_does_not_stop_the_next(tmp_path: Path, damaged: str) -> None:
    kept = saved(tmp_path, [10, 20], best={10: 10, 20: 10})
    (tmp_path / "step_00000020" / "progress.json").write_text(damaged)
    kept.save(Progress(epoch=0, batch=30, step=30, best_step=10))
    assert kept.steps() == [10, 20, 30]


def test_restoring_brings_back_weights_optimizer_cursor_and_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(11)
    saved(tmp_path, [1, 2])
    expected = torch.rand(3)
    torch.manual_seed(12)
    kept, module, optimizer = reopened(tmp_path)
    progress = kept.restore_newest()
    assert progress == Progress(batch=2, step=2)
    assert module.weight.item() == 2.0
    state = optimizer.state_dict()
    assert state["param_groups"][0]["lr"] == 0.1
    assert state["state"][0]["step"].item() == 2.0
    # Adam's means after two gradients of 1: 0.9 * 0.1 + 0.1 and 0.999 * 0.001 + 0.001
    assert state["state"][0]["exp_avg"].item() == pytest.approx(0.19)
    assert state["state"][0]["exp_avg_sq"].item() == pytest.approx(0.001999)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_to_restore(tmp_path: Path) -> None:
    assert reopened(tmp_path / "absent")[0].restore_newest() is None


def truncated(path: Path) -> None:
    data = next(path.glob("*.distcp"))
    data.write_bytes(data.read_bytes()[:-10])


def zeroed(path: Path) -> None:
    data = next(path.glob("*.distcp"))
    data.write_bytes(bytes(data.stat().st_size))


def without_metadata(path: Path) -> None:
    (path / ".metadata").unlink()


def without_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def with_half_a_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"a":')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "bytes"),
        (zeroed, "other content than was written"),
        (without_metadata, ".metadata: No such file"),
        (without_manifest, "manifest.json: No such file"),
        (with_half_a_manifest, "does not parse"),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], words: str
) -> None:
    saved(tmp_path, [10, 20])
    damage(tmp_path / "step_00000020")
    kept, module, _ = reopened(tmp_path)
    with caplog.at_level(logging.WARNING, logger="segrec"):
        progress = kept.restore_newest()
    assert progress is not None
    assert (progress.step, module.weight.item()) == (10, 10.0)
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("segrec")]
    assert "step_00000020 is damaged" in message
    assert words in message
    assert kept.steps() == [10]


def test_all_damaged_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, [10, 20])
    truncated(tmp_path / "step_00000010")
    truncated(tmp_path / "step_00000020")
    assert reopened(tmp_path)[0].restore_newest() is None
    assert len([record for record in caplog.records if "is damaged" in record.getMessage()]) == 2


def test_damaged_best_weights_are_an_error(tmp_path: Path) -> None:
    kept = saved(tmp_path, [10])
    truncated(tmp_path / "step_00000010")
    with pytest.raises(DataError, match="step_00000010: is damaged"):
        kept.load_weights(10)


def saved_whole(kept: Checkpoints, step: int) -> None:
    kept.save(Progress(step=step))
    kept.flush()


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("background", [False, True], ids=["now", "background"])
def test_a_full_disk_is_one_line_and_leaves_older_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    kept = saved(tmp_path, [10], background=background)
    monkeypatch.setattr(checkpoint_folder, "write_json", no_space)
    expected = r"step_00000020: cannot be written \(found: No space left on device\); free space and run again"
    with pytest.raises(DataError, match=expected):
        saved_whole(kept, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000010"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The system refuses larger files, as a full disk does; Python ignores the signal and gets the error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("background", [False, True], ids=["now", "background"])
def test_the_system_stops_a_write_in_the_middle_and_the_run_goes_on_from_the_one_before(
    tmp_path: Path, background: bool
) -> None:
    module = nn.Linear(1000, 100)
    with Checkpoints(tmp_path, module, None, background=background) as kept:
        saved_whole(kept, 1)
        with (
            file_size_limit(100_000),
            pytest.raises(DataError, match=r"step_00000002: cannot be written \(found: .+\)"),
        ):
            saved_whole(kept, 2)
        assert kept.steps() == [1]
        assert not list(tmp_path.glob("*.partial"))
        assert kept.restore_newest() == Progress(step=1)
        kept.save(Progress(step=2))
    assert kept.steps() == [1, 2]


def test_a_half_written_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    kept = saved(tmp_path, [10])
    (tmp_path / "step_00000020.partial").mkdir()
    assert kept.steps() == [10]


def test_only_dcp_metadata_is_a_pickle(tmp_path: Path) -> None:
    saved(tmp_path, [10])
    folder = tmp_path / "step_00000010"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest) == [".metadata", "__0_0.distcp", "optimizer.json", "progress.json", "random_0.json"]
    assert json.loads((folder / "optimizer.json").read_text())[0]["betas"] == [0.9, 0.999]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            [1.0, 2.0, 3.0, 5.0, 8.0, 9.0],
            3,
            [3.0, 5.0, 6.0],
        ),  # two column shards -> none: means of 1 and 5, 2 and 8 ...
        ([1.0, 2.0, 3.0], 6, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], 3, [1.0, 2.0, 3.0]),
    ],
)
def test_row_wise_sums_of_another_number_of_column_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: list[float], after: int, expected: list[float]
) -> None:
    module = nn.Embedding(3, 4)
    monkeypatch.setattr(checkpoints, "fused_state", lambda _: {"weight/w.momentum1": torch.tensor(before)})
    Checkpoints(tmp_path, module, None).save(Progress(step=1))
    now = torch.zeros(after)
    monkeypatch.setattr(checkpoints, "fused_state", lambda _: {"weight/w.momentum1": now})
    assert Checkpoints(tmp_path, module, None).restore_newest() == Progress(step=1)
    assert now.tolist() == expected


def test_sums_of_another_number_of_rows_are_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Embedding(3, 4)
    monkeypatch.setattr(checkpoints, "fused_state", lambda _: {"weight/w.momentum1": torch.zeros(3)})
    Checkpoints(tmp_path, module, None).save(Progress(step=1))
    monkeypatch.setattr(checkpoints, "fused_state", lambda _: {"weight/w.momentum1": torch.zeros(4)})
    with pytest.raises(
        DataError, match=r"'tables/weight/w.momentum1' has another shape \(found: \(3,\); expected: \(4,\)"
    ):
        Checkpoints(tmp_path, module, None).restore_newest()
