from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ranking.cli import main


def segrec(monkeypatch, *arguments: object) -> int:
    """Runs the command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["segrec", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


SMALL = ("--users", 8, "--items", 12, "--impressions-per-user", 10)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_writes_the_same_bytes(monkeypatch, tmp_path, capsys):
    for out in ("a", "b"):
        assert segrec(monkeypatch, "simulate", "short", "--out", tmp_path / out, "--seed", 5, *SMALL) == 0
    assert "80 impressions of 8 users, 12 videos, seed 5, as kuairand" in capsys.readouterr().out
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert segrec(monkeypatch, "simulate", "short", "--out", tmp_path / "c", "--seed", 6, *SMALL) == 0
    assert bytes_of(tmp_path / "a") != bytes_of(tmp_path / "c")


def test_a_worlds_own_yaml_makes_it_again(monkeypatch, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    sets = ("--set", "watching.taste_weight=0.5")
    assert segrec(monkeypatch, "simulate", "short", "--out", first, "--seed", 5, *SMALL, *sets) == 0
    assert yaml.safe_load((first / "world.yaml").read_text())["watching"]["taste_weight"] == 0.5
    assert segrec(monkeypatch, "simulate", "short", "--out", again, "--config", first / "world.yaml") == 0
    assert bytes_of(first) == bytes_of(again)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--users", 0), "field 'viewers.users': Input should be greater than 0 (found: 0)"),
        (("--items", -3), "field 'videos.items': Input should be greater than 0 (found: -3)"),
        (("--impressions-per-user", 0), "field 'exposure.impressions_per_user'"),
        (("--days", 1), "field 'exposure.days': Input should be greater than or equal to 2 (found: 1)"),
        (("--format", "klive"), "--format 'klive' is unknown (known: kuairand, segmm, segmm_sample)"),
        (("--set", "watching.nose=1"), "unknown field 'watching.nose' (known: base_logit, "),
        (("--set", "nose"), "--set 'nose' is not of the form key=value"),
        (("--config", "missing.yaml"), "missing.yaml: cannot be read"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(monkeypatch, tmp_path, capsys, arguments, message):
    assert segrec(monkeypatch, "simulate", "short", "--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_told_otherwise(monkeypatch, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    assert segrec(monkeypatch, "simulate", "short", "--out", out, *SMALL) == 2
    assert "exists already; choose another --out, or pass --overwrite" in capsys.readouterr().err
    assert (out / "mine.txt").read_text() == "keep"
    assert segrec(monkeypatch, "simulate", "short", "--out", out, *SMALL, "--overwrite") == 0
    assert not (out / "mine.txt").exists()


def test_an_unwritable_place_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert segrec(monkeypatch, "simulate", "short", "--out", tmp_path / "file" / "out", *SMALL) == 2
    assert "cannot be written" in capsys.readouterr().err
