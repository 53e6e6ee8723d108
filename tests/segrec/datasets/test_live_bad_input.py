"""Damaged live files at the command line: exit code 2, one line with file, line or column, found, expected and fix."""

from __future__ import annotations

import polars as pl
import pytest

LOG = "train/0_test_score_infer_output.log"


def _line(file, number, before, after):
    lines = file.read_text().splitlines()
    assert before in lines[number - 1], lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(before, after)
    file.write_text("\n".join(lines) + "\n")


def _klive(folder):
    """Twelve rooms of three segments, written by hand."""
    for part, rooms in (("train", range(10)), ("test", range(10, 12))):
        (folder / part).mkdir(parents=True)
        lines = [
            f"{room}\t{685_138_930 + 1000 * room + 30 * k}\t0.25\t[0.5, -0.5, 1.5]\t[2.0, 4.0]"
            for room in rooms
            for k in range(3)
        ]
        (folder / part / "0_test_score_infer_output.log").write_text("\n".join(lines) + "\n")
    (folder / "live_id2aid.txt").write_text("".join(f"{room}\t{room % 4}\n" for room in range(12)))
    return folder


KLIVE = {
    "ragged vector": (
        lambda f: _line(f / LOG, 4, "[2.0, 4.0]", "[2.0, 4.0, 6.0]"),
        ["line 4, column 'text': the vector has another width", "found: 3; expected: 2, as in the first line"],
    ),
    "a word in a vector": (
        lambda f: _line(f / LOG, 4, "-0.5", "x"),
        ["line 4, column 'visual': wrong value", "'x'", "a list of finite numbers"],
    ),
    "nan in a vector": (lambda f: _line(f / LOG, 4, "-0.5", "nan"), ["line 4, column 'visual'", "'nan'"]),
    "a shortened vector": (
        lambda f: _line(f / LOG, 4, "-0.5", "..."),
        ["line 4, column 'visual': the list was shortened when it was printed", "threshold"],
    ),
    "lvtr a word": (
        lambda f: _line(f / LOG, 5, "0.25", "high"),
        ["line 5, column 'lvtr': wrong value (found: 'high'; expected: a number from 0 to 1); correct or remove"],
    ),
    "lvtr in percent": (lambda f: _line(f / LOG, 5, "0.25", "25"), ["line 5, column 'lvtr': wrong value", "'25'"]),
    "lvtr nan": (lambda f: _line(f / LOG, 5, "0.25", "nan"), ["line 5, column 'lvtr': wrong value (found: 'nan'"]),
    "id a word": (lambda f: _line(f / LOG, 6, "1\t", "one\t"), ["line 6, column 'live_id': wrong value"]),
    "time a fraction": (
        lambda f: _line(f / LOG, 6, "\t685", "\t0.685"),
        ["line 6, column 'timestamp'", "a whole number"],
    ),
    "a field too few": (
        lambda f: _line(f / LOG, 7, "\t0.25", ""),
        ["line 7 is ragged", "expected: live_id, timestamp, lvtr, visual, text with tab between them"],
    ),
    "a list too few": (
        lambda f: _line(f / LOG, 7, "\t[2.0, 4.0]", ""),
        ["line 7 does not have two lists", "1 that open, 1 that close"],
    ),
    "cut off": (
        lambda f: (f / LOG).write_text((f / LOG).read_text()[:-5]),
        ["line 30: a list does not close (the file is cut off?)", "download it again"],
    ),
    "unknown separator": (
        lambda f: (f / LOG).write_text((f / LOG).read_text().replace("\t", ";")),
        ["line 1: unknown separator", "caret-A, tab, comma, blank"],
    ),
    "unknown column": (
        lambda f: (f / LOG).write_text("live_id\ttime\tlvtr\timage_feaure\ttext_feaure\n" + (f / LOG).read_text()),
        ["KLive segments: column 'timestamp' is missing", "is 'time' meant?"],
    ),
    "unknown room": (
        lambda f: _line(f / LOG, 1, "0\t", "77\t"),
        ["line 1: live_id 77 is not in live_id2aid.txt", "found: 1 such rooms"],
    ),
    "two rates of a segment": (
        lambda f: (f / LOG).write_text(
            (f / LOG).read_text() + (f / LOG).read_text().splitlines()[0].replace(".25", ".3")
        ),
        ["line 31: live_id 0 has another lvtr at the same timestamp before", "one lvtr a segment"],
    ),
    "a room in both parts": (
        lambda f: (f / "test" / "1.log").write_text((f / LOG).read_text().replace("68513", "68613")),
        ["live_id 0 lies in train and in test", "read it with --split time"],
    ),
    "no map": (lambda f: (f / "live_id2aid.txt").unlink(), ["holds no live_id2aid.txt", "rooms and their authors"]),
    "a word in the map": (
        lambda f: _line(f / "live_id2aid.txt", 3, "2\t2", "2\ttwo"),
        ["live_id2aid.txt: line 3: wrong value", "two whole numbers"],
    ),
    "two authors of a room": (
        lambda f: _line(f / "live_id2aid.txt", 3, "2\t2", "1\t2"),
        ["live_id2aid.txt: line 3: live_id 1 has another author before (found: 2; expected: 1)"],
    ),
    "no log": (
        lambda f: [(f / part / "0_test_score_infer_output.log").unlink() for part in ("train", "test")],
        ["holds no segments", "train/*.log and test/*.log"],
    ),
    "not text": (lambda f: (f / LOG).write_bytes(b"\x80\x81\xff"), ["is not UTF-8 text"]),
}


def _refused(cli, out, told, *arguments):
    code, shown, error = cli("read", *arguments, "--out", out)
    assert (code, shown) == (2, "")
    assert error.startswith("segrec: error: ")
    assert error.count("\n") == 1, error
    for fragment in told:
        assert fragment in error, error
    assert not out.parent.exists() or not list(out.parent.iterdir()), "something half-written was left behind"


@pytest.mark.parametrize("case", KLIVE)
def test_klive(cli, tmp_path, case):
    spoil, told = KLIVE[case]
    folder = _klive(tmp_path / "klive")
    spoil(folder)
    _refused(cli, tmp_path / "place" / "out", told, "klive", folder)


def _parquet(name, change):
    def spoil(folder):
        file = folder / name
        change(pl.read_parquet(file)).write_parquet(file)

    return spoil


def _cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-300])


cut = pl.col("feature_128").list.head(5)
PART = "live_emb_128_ts/live_emb_128_ts_part0.parquet"
M3 = {
    "no sessions": (
        lambda f: (f / "live_interaction.csv").unlink(),
        ["live_interaction.csv: does not exist", "check the source folder"],
    ),
    "no rooms": (lambda f: (f / "live_room_meta.parquet").unlink(), ["live_room_meta.parquet: does not exist"]),
    "no segments": (
        lambda f: (f / "live_emb_128_ts").rename(f / "away"),
        ["holds no live_emb_128_ts/live_emb_128_ts_part*.parquet", "download that folder"],
    ),
    "missing column": (
        lambda f: _line(f / "live_interaction.csv", 1, "play_duration", "play_durations"),
        ["live_interaction.csv: KuaiLive-M3: column 'play_duration' is missing", "is 'play_durations' meant?"],
    ),
    "missing column of segments": (
        _parquet(PART, lambda frame: frame.rename({"timestamp": "ts"})),
        ["part0.parquet: segment vectors: column 'timestamp' is missing"],
    ),
    "truncated parquet": (_cut(PART), ["part0.parquet: cannot be read as Parquet (truncated or damaged)"]),
    "truncated shows": (_cut("live_show.parquet"), ["live_show.parquet: cannot be read as Parquet"]),
    "ragged vectors": (
        _parquet(PART, lambda frame: pl.concat([frame[:3], frame[3:].with_columns(cut)])),
        ["part0.parquet: row 3: the vector has another width (found: 5; expected: 128)"],
    ),
    "segments in seconds": (
        _parquet(PART, lambda frame: frame.with_columns(pl.col("timestamp") // 1000)),
        ["part0.parquet: row 1, column 'timestamp': not a time", "milliseconds since 1970"],
    ),
    "id a word": (
        _parquet(PART, lambda frame: frame.with_columns(live_stream_id=pl.lit("room"))),
        ["part0.parquet: column 'live_stream_id': not an id (found: room; expected: whole numbers)"],
    ),
    "time a word": (
        lambda f: _line(f / "live_like.csv", 3, "2025-", "soon-"),
        ["live_like.csv: row 3, column 'like_timestamp': not a time", "a time like 2025-05-10 12:30:00.250"],
    ),
    "seconds": (
        lambda f: (f / "live_comment.csv").write_text(
            "live_stream_id,user_id,author_id,content,comment_ts\n1,1,1,hi,1746880200\n"),
        ["live_comment.csv: row 2, column 'comment_ts': not a time", "milliseconds since 1970"],
    ),
    "nothing left": (
        _parquet("live_room_meta.parquet", lambda frame: frame.with_columns(pl.col("live_id") + 1_000_000)),
        ["no segment is left", "feature_128: unknown room"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", M3)
def test_kuailive_m3(cli, live_files, tmp_path, case):
    spoil, told = M3[case]
    folder = live_files("kuailive_m3")
    spoil(folder)
    _refused(cli, tmp_path / "place" / "out", told, "kuailive_m3", folder)


KUAILIVE = {
    "no rooms": (lambda f: (f / "room.csv").unlink(), ["room.csv: does not exist"]),
    "no clicks": (lambda f: (f / "click.csv").unlink(), ["click.csv: does not exist"]),
    "missing column": (
        lambda f: _line(f / "click.csv", 1, "watch_live_time", "watch_time"),
        ["click.csv: KuaiLive: column 'watch_live_time' is missing", "is 'watch_time' meant?"],
    ),
    "both names": (
        lambda f: _line(f / "room.csv", 1, "live_type", "author_id"),
        ["columns 'streamer_id' and 'author_id' mean the same"],
    ),
    "a word": (lambda f: _line(f / "click.csv", 4, ",1746", ",late"), ["click.csv", "column 'timestamp': wrong type"]),
    "seconds": (
        lambda f: _parquet_free(f / "negative.csv"),
        ["negative.csv: row 2, column 'timestamp': not a time", "milliseconds since 1970"],
    ),
    "ragged": (lambda f: _line(f / "like.csv", 3, ",", ",,"), ["like.csv: row 3 is ragged"]),
}


def _parquet_free(file):
    header = file.read_text().splitlines()[0]
    file.write_text(f"{header}\n1,1,1,1746880200\n")


@pytest.mark.parametrize("case", KUAILIVE)
def test_kuailive(cli, live_files, tmp_path, case):
    spoil, told = KUAILIVE[case]
    folder = live_files("kuailive")
    spoil(folder)
    _refused(cli, tmp_path / "place" / "out", told, "kuailive", folder)


FLAGS = {
    "shift": (["kuailive", "--label-shift", "none"], ["--label-shift means nothing to `segrec read kuailive`"]),
    "clock": (["klive", "--utc-offset", "8"], ["--utc-offset means nothing to `segrec read klive`"]),
    "bins": (["klive", "--segment-ms", "1000"], ["--segment-ms means nothing to `segrec read klive`"]),
    "unknown shift": (["klive", "--label-shift", "yes"], ["field 'label_shift': Input should be 'applied' or 'none'"]),
    "far clock": (["kuailive_m3", "--utc-offset", "99"], ["field 'utc_offset'", "less than or equal to 14"]),
    "users": (["klive", "--split", "users"], ["--split users: live rooms are split by their start"]),
    "live flag": (["kuairand", "--long-view-s", "30"], ["--long-view-s means nothing to `segrec read kuairand`"]),
    "no flag": (["klive", "--only", "is_click"], ["--only is_click: no such flag (known: none)"]),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags(cli, tmp_path, case):
    (name, *flags), told = FLAGS[case]
    _refused(cli, tmp_path / "place" / "out", told, name, _klive(tmp_path / "klive"), *flags)
