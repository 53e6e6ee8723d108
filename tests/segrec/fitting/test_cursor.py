"""The place in the data that a checkpoint tells: kept by `fit`, checked before a run goes on, readable."""

import json

import pytest

from segrec.fitting.cursor import CURSOR, check_cursor, cursor_files, cursor_lines
from segrec.fitting.progress import Progress
from segrec.records import ConfigError

PLACES = [{"file": "a.parquet", "row_group": 2, "row": 17}, None]


class Placed:
    """A stream of two lanes, the second one used up."""

    def __init__(self, places=PLACES, **order):
        self._places, self._order = places, {"dataset": "f1", "seed": 3, "splits": ["train"], **order}

    def cursor(self, epoch, batch):
        return {"epoch": epoch, "batch": batch, "rows": 4 * batch, "order": self._order, "lanes": self._places}


STOOD = Progress(epoch=1, batch=6, step=16)


@pytest.fixture
def checkpoint(tmp_path):
    for name, value in cursor_files(Placed(), STOOD).items():
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    return tmp_path


def test_the_same_data_goes_on(checkpoint):
    assert json.loads((checkpoint / CURSOR).read_text(encoding="utf-8"))["rows"] == 24
    check_cursor(Placed(), STOOD, checkpoint)


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (Placed(dataset="f2"), r"order.dataset was f1 \(now: f2\)"),
        (Placed(seed=4, splits=["valid"]), r"order.seed was 3 \(now: 4\)"),
        (Placed(window_rows=9), r"order.window_rows was None \(now: 9\)"),
        (Placed([{**PLACES[0], "row": 18}, None]), r"lanes\[0\].row was 17 \(now: 18\)"),
        (Placed([PLACES[0]]), r"lanes was \[.*\] \(now: \[.*\]\)"),
        (Placed([PLACES[0], PLACES[0]]), r"lanes\[1\] was None \(now: .*\)"),
    ],
)
def test_other_data_is_refused_and_the_first_difference_named(checkpoint, stream, told):
    with pytest.raises(ConfigError, match=rf"rows would come in another order than before: {told}; use the same"):
        check_cursor(stream, STOOD, checkpoint)


def test_streams_without_a_cursor_have_no_file(tmp_path):
    assert cursor_files(object(), STOOD) == {}
    check_cursor(object(), STOOD, tmp_path)
    check_cursor(Placed(), STOOD, tmp_path)  # a checkpoint from before there were cursors
    assert list(cursor_lines(tmp_path)) == []


def test_lines_for_a_person(checkpoint):
    assert list(cursor_lines(checkpoint)) == [
        "data: 24 rows of epoch 1 are done; order by dataset f1, seed 3, splits train",
        "lane 0: file a.parquet, row_group 2, row 17",
        "lane 1: all rows are done",
    ]
