from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ranking.cli import main


def simulate(monkeypatch, *arguments: object) -> int:
    """Exit code of `segrec simulate live ...`."""
    monkeypatch.setattr(sys, "argv", ["segrec", "simulate", "live", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


SMALL = ("--users", 50, "--rooms", 4, "--set", "rooms.segments=6", "--set", "audience.exposures=15")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("form", ["kuailive_m3", "klive", "kuailive"])
def test_the_same_seed_writes_the_same_bytes(monkeypatch, tmp_path, capsys, form):
    for out in ("a", "b"):
        assert simulate(monkeypatch, "--out", tmp_path / out, "--seed", 5, "--format", form, *SMALL) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith(f"{tmp_path / 'a'}: 4 rooms of ")
    assert told.endswith(f"of 50 users, seed 5, as {form}")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert simulate(monkeypatch, "--out", tmp_path / "c", "--seed", 6, "--format", form, *SMALL) == 0
    assert bytes_of(tmp_path / "a") != bytes_of(tmp_path / "c")


@pytest.mark.parametrize("form", ["kuailive_m3", "klive"])
def test_a_worlds_own_yaml_makes_it_again(monkeypatch, tmp_path, form):
    first, again = tmp_path / "first", tmp_path / "again"
    chosen = ("--set", "content.largest_lag=4", "--format", form)
    assert simulate(monkeypatch, "--out", first, "--seed", 5, *SMALL, *chosen) == 0
    values = yaml.safe_load((first / "world.yaml").read_text())
    assert values["content"]["largest_lag"] == 4
    assert values["rooms"]["varying_share"] == (0 if form == "klive" else 0.1)
    assert simulate(monkeypatch, "--out", again, "--config", first / "world.yaml", "--format", form) == 0
    assert bytes_of(first) == bytes_of(again)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--users", 0), "field 'audience.users': Input should be greater than 0 (found: 0)"),
        (("--rooms", 0), "field 'rooms.rooms': Input should be greater than 0 (found: 0)"),
        (("--format", "segmm"), "--format 'segmm' is unknown (known: kuailive_m3, klive, kuailive)"),
        (("--set", "content.nose=1"), "unknown field 'content.nose' (known: visual_dim, "),
        (("--set", "nose"), "--set 'nose' is not of the form key=value"),
        (("--config", "missing.yaml"), "missing.yaml: cannot be read"),
        (
            ("--format", "klive", "--set", "rooms.varying_share=0.5", "--rooms", 2, "--users", 9),
            "its segments last 30 s; make the world with --set rooms.varying_share=0",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(monkeypatch, tmp_path, capsys, arguments, message):
    assert simulate(monkeypatch, "--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_told_otherwise(monkeypatch, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    assert simulate(monkeypatch, "--out", out, *SMALL) == 2
    assert "exists already; choose another --out, or pass --overwrite" in capsys.readouterr().err
    assert (out / "mine.txt").read_text() == "keep"
    assert simulate(monkeypatch, "--out", out, *SMALL, "--overwrite") == 0
    assert not (out / "mine.txt").exists()
