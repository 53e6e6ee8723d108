from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from segrec.records import ConfigError
from segrec.worlds.klive_files import FIELDS
from segrec.worlds.live import LiveWorld
from segrec.worlds.live_writers import write_live

NAMES = [f"{number}_test_score_infer_output.log" for number in range(8)]
SIGNS = {"tab": "\t", "comma": ",", "space": " ", "caret_a": "\x01"}


def written(world: LiveWorld, folder: Path, **form: object) -> Path:
    config = world.config.model_copy(update={"klive": world.config.klive.model_copy(update=form)})
    changed = LiveWorld(**{**vars(world), "config": config})
    write_live(changed, folder, format="klive")
    return folder


def parsed(line: str, sign: str) -> tuple[int, int, float, list[float], list[float]]:
    """A line as anybody would take it apart: three numbers, then two lists in brackets."""
    head, image, text = line.rstrip("\n").split("[")
    live_id, timestamp, lvtr = (part for part in head.split(sign) if part)
    lists = [inner.rstrip(sign).removesuffix("]").replace(",", " ").split() for inner in (image, text)]
    return int(live_id), int(timestamp), float(lvtr), *([float(value) for value in values] for values in lists)


def lines_of(folder: Path, sign: str = "\t") -> list[tuple[int, int, float, list[float], list[float]]]:
    return [
        parsed(line, sign)
        for part in ("train", "test") for name in NAMES
        for line in (folder / part / name).read_text(encoding="utf-8").splitlines()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(even_live_world, tmp_path_factory) -> Path:
    return written(even_live_world, tmp_path_factory.mktemp("klive") / "made")


@pytest.fixture(scope="module")
def lines(folder) -> pl.DataFrame:
    return pl.DataFrame(lines_of(folder), schema=["item_id", "timestamp", "lvtr", "image", "text"], orient="row")


def test_the_published_files_and_no_other_logs(folder):
    assert (folder / "live_id2aid.txt").is_file()
    for part in ("train", "test"):
        assert sorted(file.name for file in (folder / part).iterdir()) == NAMES


def test_rooms_and_their_authors(folder, even_live_world):
    rooms = {int(a): int(b) for a, b in (line.split("\t") for line in (folder / "live_id2aid.txt").open())}
    authors = even_live_world.streamers.author_id[even_live_world.rooms.streamer]
    assert rooms == dict(zip(even_live_world.rooms.item_id.tolist(), authors.tolist(), strict=True))


def test_each_line_is_a_segment_with_its_observed_rate_and_vectors(lines, even_live_world):
    rooms = even_live_world.rooms
    first = lines["timestamp"].min()
    table = even_live_world.segments.with_columns(
        row=pl.int_range(pl.len()), timestamp=(pl.col("start_ms") - rooms.start_ms.min()) // 1000 + first
    )
    joined = lines.join(table, on=["item_id", "timestamp"], how="left", maintain_order="left")
    assert joined["row"].null_count() == 0
    assert joined["lvtr"].to_numpy() == pytest.approx((joined["long_views"] / joined["entries"]).to_numpy())
    row = joined["row"].to_numpy()
    assert np.array(joined["image"].to_list()) == pytest.approx(even_live_world.content.visual[row], abs=1e-6)
    assert np.array(joined["text"].to_list()) == pytest.approx(even_live_world.content.text[row], abs=1e-6)
    assert lines.height == (even_live_world.segments["entries"] > 0).sum()
    assert 600_000_000 < first < 700_000_000  # shifted seconds, as the published example


def test_lines_of_a_room_lie_in_several_files_and_in_no_order(folder):
    seen: dict[int, set[str]] = {}
    for name in NAMES:
        rows = [parsed(line, "\t") for line in (folder / "train" / name).open()]
        assert [row[:2] for row in rows] != sorted(row[:2] for row in rows)
        for row in rows:
            seen.setdefault(row[0], set()).add(name)
    assert min(map(len, seen.values())) >= 3


def test_test_rooms_are_the_newest(folder, even_live_world):
    parts = {
        part: {parsed(line, "\t")[0] for name in NAMES for line in (folder / part / name).open()}
        for part in ("train", "test")
    }
    begin = dict(zip(even_live_world.rooms.item_id.tolist(), even_live_world.rooms.begin_ms.tolist(), strict=True))
    assert not parts["train"] & parts["test"]
    assert max(begin[room] for room in parts["train"]) < min(begin[room] for room in parts["test"])
    assert len(parts["test"]) == 8  # 17% of 48


@pytest.mark.parametrize("separator", ["tab", "comma", "space", "caret_a"])
@pytest.mark.parametrize("lists", ["comma", "comma_space", "space"])
def test_each_form_holds_the_same_values(make_live_world, tmp_path, separator, lists):
    world = make_live_world("rooms.varying_share=0")
    plain = lines_of(written(world, tmp_path / "plain"))
    assert lines_of(written(world, tmp_path / "other", separator=separator, lists=lists), SIGNS[separator]) == plain
    between = {"comma": ",", "comma_space": ", ", "space": " "}[lists]
    some = next(line for name in NAMES for line in (tmp_path / "other" / "train" / name).open())
    inside = some[some.index("[") + 1 : some.index("]")]
    assert len(inside.split(between)) == world.config.content.visual_dim


def test_a_header_when_asked_for(make_live_world, tmp_path):
    folder = written(make_live_world("rooms.varying_share=0"), tmp_path / "made", header=True)
    for name in NAMES:
        assert (folder / "test" / name).read_text().splitlines()[0].split("\t") == list(FIELDS)
    assert (folder / "live_id2aid.txt").read_text().startswith("live_id\tauthor_id\n")


def test_left_shifted_rates_are_those_of_the_segment_after(even_live_world, lines, tmp_path):
    shifted = {row[:2]: row[2] for row in lines_of(written(even_live_world, tmp_path / "made", left_shifted=True))}
    plain = {row[:2]: row[2] for row in lines.select("item_id", "timestamp", "lvtr").iter_rows()}
    assert shifted == {(room, at): plain[room, at + 30] for room, at in shifted}
    assert len(shifted) >= len(plain) - len(even_live_world.rooms.lengths)


def test_truth_stands_on_the_files_clock(folder, lines, even_live_world):
    truth = pl.read_parquet(folder / "truth_segments.parquet")
    keyed = lines.select("item_id", end_ms=(pl.col("timestamp") + 30) * 1000)
    assert truth.height == lines.height
    assert keyed.join(truth, on=["item_id", "end_ms"], validate="1:1").height == lines.height
    assert truth.columns == ["item_id", "end_ms", "ctr", "lvtr", "ctr_next", "lvtr_next", "highlight"]
    assert not (folder / "truth.parquet").exists()


def test_segments_of_other_lengths_are_refused(live_world, tmp_path):
    with pytest.raises(ConfigError, match=r"last 30 s; make the world with --set rooms\.varying_share=0"):
        write_live(live_world, tmp_path / "made", format="klive")
    assert list(tmp_path.iterdir()) == []
