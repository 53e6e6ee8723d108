"""Bad input at the command line: exit code 2, one line that says where, what and what to do, nothing left behind."""

from __future__ import annotations

import gzip

import polars as pl
import pytest


def _replace(file, row, text):
    lines = file.read_text().splitlines()
    lines[row - 1] = text
    file.write_text("\n".join(lines) + "\n")


def _edit(file, row, before, after):
    _replace(file, row, file.read_text().splitlines()[row - 1].replace(before, after))


LOG = "data/log_standard_4_08_to_4_21_pure.csv"


def _rename(name, other):
    return lambda root, forms: _edit(root / LOG, 1, name, other)


def _gz(kept):
    def spoil(root, forms):
        data = gzip.compress((root / LOG).read_bytes())
        (root / (LOG + ".gz")).write_bytes(data[:kept])
        (root / LOG).unlink()

    return spoil


def _header_only(root, forms):
    (root / LOG).write_text(forms.log_header + "\n")


def _all_impossible(root, forms):
    lines = [forms.log_line(1, 1, forms.april_8 + i, duration=0) for i in range(3)]
    (root / LOG).write_text("\n".join([forms.log_header, *lines]) + "\n")


KUAIRAND = {
    "missing column": (
        _rename(",play_time_ms", ",watched"),
        ["column 'play_time_ms' is missing", "found: user_id, video_id"],
    ),
    "misnamed column": (
        _rename("duration_ms", "duraton_ms"),
        ["column 'duration_ms' is missing", "is 'duraton_ms' meant?"],
    ),
    "wrong type": (
        lambda root, f: _edit(root / LOG, 7, ",12000,", ",twelve,"),
        ["row 7, column 'duration_ms': wrong type", "'twelve'", "a whole number"],
    ),
    "nan": (
        lambda root, f: _edit(root / LOG, 7, ",12000,", ",nan,"),
        ["row 7, column 'duration_ms': wrong type", "'nan'"],
    ),
    "flag 2": (
        lambda root, f: _edit(root / LOG, 3, ",1,0,0,0,0,0,0,", ",2,0,0,0,0,0,0,"),
        ["row 3, column 'is_click': not a flag", "expected: 0 or 1"],
    ),
    "ragged row": (
        lambda root, f: _replace(root / LOG, 9, "1,2,3"),
        ["row 9 is ragged", "found: 3 fields; expected: 19 fields"],
    ),
    "cut off": (
        lambda root, f: (root / LOG).write_bytes((root / LOG).read_bytes()[:-20]),
        ["is ragged", "download it again"],
    ),
    "truncated gz": (_gz(300), [".csv.gz: is truncated or not gzip", "download it again"]),
    "empty file": (lambda root, f: (root / LOG).write_text(""), ["is empty", "expected: a header line"]),
    "no row": (_header_only, ["the log is empty", "found: 0 rows"]),
    "only impossible rows": (_all_impossible, ["no row is left", "duration_ms <= 0: 3", "units"]),
    "nan in features": (
        lambda root, f: _edit(root / "data/video_features_basic_pure.csv", 4, "720.0", "inf"),
        ["video_features_basic_pure.csv: row 4, column 'server_width': not a finite number", "found: inf"],
    ),
    "feature of another type": (
        lambda root, f: _edit(root / "data/user_features_pure.csv", 3, ",799,", ",old,"),
        ["user_features_pure.csv: row 3, column 'register_days': wrong type", "'old'"],
    ),
    "features without a column": (
        lambda root, f: _edit(root / "data/video_features_basic_pure.csv", 1, "tag", "tags"),
        ["video_features_basic_pure.csv", "column 'tag' is missing", "is 'tags' meant?"],
    ),
    "no log in the folder": (lambda root, f: (root / LOG).unlink(), ["holds no KuaiRand log", "log_standard_*.csv"]),
    "truncated vectors": (
        lambda root, f: (root / "data/segments_visual.parquet").write_bytes(b"PAR1 cut"),
        ["segments_visual.parquet: cannot be read as Parquet"],
    ),
}


def _refused(cli, out, told, *arguments):
    code, shown, error = cli("read", *arguments, "--out", out)
    assert code == 2
    assert shown == ""
    assert error.startswith("segrec: error: ")
    assert error.count("\n") == 1, error
    for fragment in told:
        assert fragment in error
    assert not list(out.parent.glob("*out*")), "something half-written was left behind"
    assert not [file for file in out.parent.rglob("*") if ".partial" in file.name]


@pytest.mark.parametrize("case", KUAIRAND)
def test_kuairand(cli, kuairand, forms, tmp_path, case):
    spoil, told = KUAIRAND[case]
    root = kuairand()
    spoil(root, forms)
    _refused(cli, tmp_path / "place" / "out", told, "kuairand", root)


FLAGS = {
    "unknown format": (
        ["kuirand"],
        ["unknown format 'kuirand' (known: ", "kuairand, segmm, table); is 'kuairand' meant?"],
    ),
    "unknown split": (
        ["kuairand", "--split", "random"],
        ["field 'rule': Input should be 'time', 'users' or 'published'"],
    ),
    "one date": (["kuairand", "--valid-from", "2022-04-09"], ["--valid-from and --test-from go together"]),
    "dates turned": (["kuairand", "--valid-from", "2022-04-10", "--test-from", "2022-04-09"], ["must be before"]),
    "no date": (
        ["kuairand", "--valid-from", "soon", "--test-from", "2022-04-09"],
        ["field 'valid_from': Input should be"],
    ),
    "empty part": (
        ["kuairand", "--valid-from", "2022-04-10", "--test-from", "2023-01-01"],
        ["the split by 'time' leaves test without rows", "train 16, valid 24, test 0", "choose other --valid-from"],
    ),
    "unknown flag": (["kuairand", "--only", "clicked"], ["--only clicked: no such flag (known: is_click, is_like"]),
    "nothing left": (["kuairand", "--only", "is_hate"], ["no row is left", "is_hate = 0: 40"]),
    "map for kuairand": (["kuairand", "--columns", "MAP.yaml"], ["--columns means nothing to `segrec read kuairand`"]),
    "no statistics": (["kuairand", "--with-month-averages"], ["holds no video statistics"]),
    "segment of 0 ms": (["kuairand", "--segment-ms", "0"], ["field 'segment_ms'", "greater than 0"]),
    "type of vectors": (["kuairand", "--vectors-type", "int8"], ["field 'vectors_type'", "float16"]),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags(cli, kuairand, tmp_path, case):
    (name, *flags), told = FLAGS[case]
    _refused(cli, tmp_path / "place" / "out", told, name, kuairand(), *flags)


INTER = "SegMM_inter.csv"
SEGMM = {
    "missing column": (
        lambda folder: _edit(folder / INTER, 1, ",playing_time", ",played"),
        ["column 'playing_time' is missing"],
    ),
    "misnamed column": (
        lambda folder: _edit(folder / INTER, 1, "video_id", "vidio_id"),
        ["column 'photo_id' or 'video_id' is missing", "is 'vidio_id' meant? rename it to 'video_id'"],
    ),
    "wrong type": (lambda folder: _edit(folder / INTER, 2, "1000,", "x,"), ["column 'video_id': wrong type", "'x'"]),
    "ragged row": (
        lambda folder: _replace(folder / INTER, 4, "1,2,3"),
        ["is ragged", "found: 3 fields; expected: 6 fields"],
    ),
    "label is no list": (
        lambda folder: _edit(folder / INTER, 2, "[0]", "[zero]"),
        ["not a printed list of numbers", "[zero]"],
    ),
    "empty": (lambda folder: (folder / INTER).write_text(""), ["is empty"]),
    "only the header": (
        lambda folder: (folder / INTER).write_text((folder / INTER).read_text().split("\n")[0] + "\n"),
        ["the log is empty"],
    ),
    "two logs": (lambda folder: (folder / "SegMM_inter_sample.csv").write_text(""), ["no single interactions file"]),
    "map without features": (
        lambda folder: (folder / "SegMM_photoidframeid2lineid.json").write_text("{}"),
        ["without SegMM_feat_memmap.dat"],
    ),
}


@pytest.mark.parametrize("case", SEGMM)
def test_segmm(cli, segmm, tmp_path, case):
    spoil, told = SEGMM[case]
    folder = segmm()
    spoil(folder)
    _refused(cli, tmp_path / "place" / "out", told, "segmm", folder, "--split", "users")


@pytest.mark.parametrize("name", ["kuairand", "segmm", "table"])
def test_no_source(cli, tmp_path, name):
    _refused(cli, tmp_path / "place" / "out", [f"{tmp_path / 'none'}: "], name, tmp_path / "none")


def _parquet(spoil):
    def make(table, tmp_path):
        log, columns = table(name="log.parquet")
        spoil(log)
        return log, columns

    return make


def _cut_middle(log):
    data = bytearray(log.read_bytes())
    data[40:400] = bytes(360)
    log.write_bytes(bytes(data))


TABLE = {
    "truncated parquet": (
        _parquet(lambda log: log.write_bytes(log.read_bytes()[:-30])),
        ["log.parquet: cannot be read as Parquet"],
    ),
    "damaged parquet": (_parquet(_cut_middle), ["log.parquet: cannot be read as Parquet"]),
    "not parquet": (_parquet(lambda log: log.write_text("uid,vid\n")), ["log.parquet: cannot be read as Parquet"]),
    "empty parquet": (_parquet(lambda log: pl.read_parquet(log).clear().write_parquet(log)), ["the log is empty"]),
    "misnamed column": (
        lambda table, tmp: table(pl.DataFrame({"uid": ["a"], "vidd": [1]})),
        ["column 'vid' is missing", "is 'vidd' meant?"],
    ),
    "no map": (lambda table, tmp: (table()[0], None), ["needs a column map", "{user_id: uid, item_id: vid"]),
    "map is not there": (lambda table, tmp: (table()[0], tmp / "NONE.yaml"), ["NONE.yaml: cannot be read"]),
    "side file is not there": (
        lambda table, tmp: _with_map(table, "users: {file: none.csv, id: u}\n"),
        ["none.csv: does not exist"],
    ),
    "no users column": (
        lambda table, tmp: _with_map(table, "users: {file: mine/log.csv, id: u}\n"),
        ["column 'u' is missing"],
    ),
}


def _with_map(table, more):
    log, columns = table()
    columns.write_text(columns.read_text() + more)
    return log, columns


@pytest.mark.parametrize("case", TABLE)
def test_table(cli, table, tmp_path, case):
    make, told = TABLE[case]
    log, columns = make(table, tmp_path)
    flags = ["--columns", columns] if columns is not None else []
    _refused(cli, tmp_path / "place" / "out", told, "table", log, *flags)


def test_an_existing_output_is_kept_unless_told(cli, kuairand, tmp_path):
    out, root = tmp_path / "out", kuairand()
    (out / "mine").mkdir(parents=True)
    code, _, error = cli("read", "kuairand", root, "--out", out)
    assert (code, error.count("\n")) == (2, 1)
    assert f"{out}: exists already; choose another --out, or pass --overwrite" in error
    assert (out / "mine").is_dir()
    (root / LOG).rename(root / "kept.csv")
    assert cli("read", "kuairand", root, "--out", out, "--overwrite")[0] == 2
    assert (out / "mine").is_dir(), "a failed read leaves the old folder as it was"
    (root / "kept.csv").rename(root / LOG)
    assert cli("read", "kuairand", root, "--out", out, "--overwrite")[0] == 0
    assert not (out / "mine").exists()
    assert (out / "dataset.json").is_file()


def test_an_output_that_cannot_be_written(cli, kuairand, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = cli("read", "kuairand", kuairand(), "--out", tmp_path / "file" / "out")
    assert code == 2
    assert "file/out: cannot be written: " in error
    assert error.count("\n") == 1


def test_a_full_disk(cli, kuairand, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError("No space left on device (os error 28)")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    _refused(
        cli,
        tmp_path / "place" / "out",
        ["cannot be written: No space left on device; free space"],
        "kuairand",
        kuairand(),
    )
