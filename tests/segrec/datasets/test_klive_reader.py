"""KLive: every form of its lines, the label shift, the published split, and the made world's rates."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest

from segrec.datasets import ReadOptions, read_dataset
from segrec.records import DatasetFolder
from segrec.segments.rooms import Rooms
from segrec.splitting import SplitRequest
from segrec.worlds.klive_files import observed_lvtr
from segrec.worlds.live import LiveConfig, make_live
from segrec.worlds.live_writers import write_live

START_S = 685_138_930
MARKS = {"tab": "\t", "comma": ",", "space": " ", "caret_a": "\x01"}
JSON, BLANKS, QUOTED = "json", "numpy", "quoted"


def _line(room, at_s, lvtr, visual, text, *, mark="\t", lists=JSON):
    def printed(values):
        array = np.array(values, np.float32)
        if lists == BLANKS:
            return np.array2string(array, max_line_width=30)
        return f'"{array.tolist()}"' if lists == QUOTED else str(array.tolist())

    return mark.join([str(room), str(at_s), str(lvtr), printed(visual), printed(text)])


def _write(folder, rooms, *, mark="\t", lists=JSON, header=None, parts=("train", "test"), test=2, shuffle=False):
    """`rooms` = {live_id: rates of its segments}; the last `test` rooms under test/."""
    folder.mkdir()
    (folder / "live_id2aid.txt").write_text("".join(f"{room}{mark}{room % 3}\n" for room in rooms))
    names = list(rooms)
    for part, inside in zip(parts, (names[: len(names) - test], names[len(names) - test :]), strict=True):
        (folder / part).mkdir(exist_ok=True)
        lines = [
            _line(
                room,
                START_S + 10_000 * room + 30 * place,
                rate,
                [room, place, 0.5],
                [place, -1],
                mark=mark,
                lists=lists,
            )
            for room in inside
            for place, rate in enumerate(rooms[room])
        ]
        if shuffle:
            lines = [lines[row] for row in np.random.default_rng(0).permutation(len(lines))]
        text = "\n".join([*([header] if header else []), *lines])
        (folder / part / "0_test_score_infer_output.log").write_text(text + "\n")
    return folder


ROOMS = {room: [0.0, 0.1, 0.2] for room in range(1, 13)}


def _read(folder, out, **options):
    return read_dataset("klive", folder, out, ReadOptions(**options), overwrite=True)


@pytest.mark.parametrize(("mark", "lists", "header"), list(product(MARKS, (JSON, BLANKS, QUOTED), (False, True))))
def test_every_form_gives_the_same_folder(tmp_path, mark, lists, header):
    names = MARKS[mark].join(["live_id", "timestamp", "lvtr", "image_feaure", "text_feaure"]) if header else None
    plain = _read(_write(tmp_path / "plain", ROOMS), tmp_path / "one")
    formed = _write(tmp_path / "formed", ROOMS, mark=MARKS[mark], lists=lists, header=names, shuffle=True)
    other = _read(formed, tmp_path / "two")
    assert other.meta.fingerprint == plain.meta.fingerprint
    for name, dim in {"visual": 3, "text": 2}.items():
        one, two = plain.vectors(name), other.vectors(name)
        assert (two.meta.dim, two.meta.rows) == (dim, 36)
        assert (one.matrix[one.index()["row"]] == two.matrix[two.index()["row"]]).all()


def test_a_room_by_hand(tmp_path):
    dataset = _read(_write(tmp_path / "k", ROOMS), tmp_path / "out")
    segments = dataset.segments().filter(item_id=7).collect()
    start = 1000 * (START_S + 70_000)
    assert segments.schema == {
        "item_id": pl.Int64, "segment": pl.Int32, "start_ms": pl.Int64, "end_ms": pl.Int64, "lvtr": pl.Float32,
    }  # fmt: skip
    assert segments.drop("lvtr").rows() == [(7, k, start + 30_000 * k, start + 30_000 * (k + 1)) for k in range(3)]
    assert dataset.items().filter(item_id=7).rows() == [(7, 1, start, "train")]
    assert (dataset.meta.split.rule, dataset.meta.segments) == ("given", {"train": 27, "valid": 3, "test": 6})
    assert (dataset.meta.rates["lvtr"].trials, dataset.meta.rates["lvtr"].known_after_ms) == (None, 60_000)
    index = dataset.vectors("visual").index().filter(item_id=7)
    assert dataset.vectors("visual").matrix[index["row"]].tolist() == [[7, 0, 0.5], [7, 1, 0.5], [7, 2, 0.5]]
    by_time = _read(tmp_path / "k", tmp_path / "out", split=SplitRequest(rule="time"))
    assert (by_time.meta.split.rule, by_time.meta.segments) == ("time", {"train": 30, "valid": 3, "test": 3})


def test_a_label_is_never_shifted_twice(tmp_path):
    """0, .1, .2 as they are, and the same room in a file that carries the next segment's rate."""
    plain = _read(_write(tmp_path / "plain", ROOMS), tmp_path / "one", label_shift="none")
    shifted = {room: [0.1, 0.2] for room in ROOMS}
    back = _read(_write(tmp_path / "shifted", shifted), tmp_path / "two", label_shift="applied")
    padded = {room: [0.1, 0.2, 0.9] for room in ROOMS}
    kept = _read(_write(tmp_path / "padded", padded), tmp_path / "three", label_shift="applied")
    for dataset in (plain, back):
        targets = Rooms.of(dataset).target("lvtr", shift=1).values[:3]
        assert np.allclose(targets, [0.1, 0.2, np.nan], equal_nan=True)
    assert np.allclose(Rooms.of(plain).target("lvtr", 0).values[:3], [0, 0.1, 0.2])
    assert np.allclose(Rooms.of(back).target("lvtr", 0).values[:3], [np.nan, 0.1, 0.2], equal_nan=True)
    assert np.allclose(Rooms.of(kept).target("lvtr", 1).values[:4], [0.1, 0.2, 0.9, np.nan], equal_nan=True)
    assert back.segments().filter(item_id=1).collect().height == 3, "the last rate has a segment, without vectors"
    assert back.vectors("visual").index().filter(item_id=1)["segment"].to_list() == [0, 1]


def test_gaps_close_lines_duplicates_and_missing_lists(tmp_path):
    folder = _write(tmp_path / "k", ROOMS)
    file = folder / "train" / "0_test_score_infer_output.log"
    lines = file.read_text().splitlines()
    lines[1] = _line(1, START_S + 10_020, 0.1, [1, 1, 0.5], [])  # 20 s after the first
    lines[2] = _line(1, START_S + 10_200, 0.2, [1, 2, 0.5], [2, -1])  # after a gap
    file.write_text("\n".join([*lines, lines[0]]) + "\n\n")
    dataset = _read(folder, tmp_path / "out")
    room = dataset.segments().filter(item_id=1).collect()
    begin = 1000 * (START_S + 10_000)
    assert (room["end_ms"] - begin).to_list() == [20_000, 50_000, 230_000]
    assert dataset.meta.rejected == {"repeated segment": 1}
    assert dataset.vectors("text").index().filter(item_id=1)["segment"].to_list() == [0, 2]
    assert dataset.vectors("visual").index().filter(item_id=1)["segment"].to_list() == [0, 1, 2]
    assert np.isnan(Rooms.of(dataset).target("lvtr", 1).values[1]), "no label across a gap"


@pytest.mark.parametrize("left_shifted", [False, True])
def test_the_made_world_exactly(tmp_path, left_shifted):
    form = {"separator": "caret_a", "lists": "space", "left_shifted": left_shifted}
    world = make_live(
        LiveConfig.checked(
            {"seed": 3, "rooms": {"rooms": 24, "segments": 8, "varying_share": 0, "days": 2}, "klive": form,
             "audience": {"users": 200, "exposures": 15}}
        )
    )  # fmt: skip
    write_live(world, tmp_path / "world", format="klive")
    dataset = _read(tmp_path / "world", tmp_path / "out", label_shift="applied" if left_shifted else "none")
    rates = world.segments.select("item_id", "segment", rate=pl.Series(observed_lvtr(world)))
    later = dataset.segments().select(pl.col("start_ms").min()).collect().item() - world.segments["start_ms"].min()
    wanted = world.segments.select("item_id", pl.col("start_ms") + later, rate=rates["rate"]).filter(
        pl.col("rate").is_not_nan()
    )
    found = dataset.segments().collect().join(wanted, on=["item_id", "start_ms"])
    known = found.filter(pl.col("lvtr").is_not_null())
    assert (known["lvtr"] == known["rate"].cast(pl.Float32)).all()
    first = wanted.group_by("item_id").agg(pl.min("start_ms")).height
    assert known.height >= wanted.height - (first + 5 if left_shifted else 0)
    truth = DatasetFolder.open(dataset.path).segment_truth()
    assert known.join(truth, on=["item_id", "end_ms"], how="anti").is_empty(), "each known rate has its truth"
    assert "made world" in dataset.meta.source


def test_what_is_told(cli, tmp_path):
    code, shown, error = cli("read", "klive", _write(tmp_path / "k", ROOMS), "--out", tmp_path / "out")
    assert (code, error) == (0, "")
    assert shown.splitlines()[:2] == [
        f"{tmp_path / 'out'}: 36 segments (train 27, valid 3, test 6), split by given",
        "segments: rate lvtr of unknown trials, known in 36 segments, mean 0.1000",
    ]
    assert "note: lvtr in the file is that of its own segment (assumed: pass --label-shift to say which it is)" in shown
    shifted = cli("read", "klive", tmp_path / "k", "--out", tmp_path / "two", "--label-shift", "applied")[1]
    assert "note: lvtr in the file is already shifted to the segment before (as given with --label-shift)" in shifted
