"""Lagged rates of several labels: each task's are those of a log without the other labels."""

import numpy as np
import pytest

from ranking.rows.encoded_rows import EncodedRows
from ranking.targets.label_rates import BINS, LabelRates
from ranking.targets.labels import FlagLabel, JointLabel
from ranking.targets.task_rates import TaskRates, fit_rates, load_rates
from ranking.targets.watch_labels import WatchTimeLabel
from segrec.records import DataError

CLICK = FlagLabel(name="is_click", rate=0.5)
TIME = WatchTimeLabel(mean=10.0, cap_ms=90_000, rate=0.4)
JOINT = JointLabel(tasks=(CLICK, TIME))
NAN = np.nan


def rows(codes, labels, spans):
    return EncodedRows(
        ids=np.array([codes], dtype=np.int32), bags={}, dense=np.zeros((len(codes), 0), dtype=np.float32),
        labels=np.array(labels, dtype=np.float32), spans=np.array(spans, dtype=np.int8),
    )  # fmt: skip


TRAIN = rows([2, 2, 2, 3], [[1, 10], [NAN, 30], [0, NAN], [1, 0]], [0, 1, 3, 5])
ASKED = rows([2, 3, 4, 2], np.zeros((4, 0)), [BINS, BINS, BINS, 3])


def fitted(label, train):
    return fit_rates(lambda: iter([train]), label, ["item"], {"item": 5}, 2.0)


def test_each_task_counts_the_rows_that_have_its_label():
    rates = fitted(JOINT, TRAIN)
    assert isinstance(rates, TaskRates)
    assert rates.names == ["item_rate_is_click", "item_rows_is_click", "item_rate_watch_time", "item_rows_watch_time"]
    clicks = fitted(CLICK, rows([2, 2, 3], [1, 0, 1], [0, 3, 5]))
    times = fitted(TIME, rows([2, 2, 3], [10, 30, 0], [0, 1, 5]))
    np.testing.assert_array_equal(
        rates.columns(ASKED), np.concatenate([clicks.columns(ASKED), times.columns(ASKED)], axis=1)
    )


def test_a_watch_time_counts_as_a_share_by_hand():
    rates = fitted(TIME, rows([2, 2], [10, 30], [0, 1]))
    mean, deviation = np.array(rates.scaling).T
    rate, seen = (rates.columns(ASKED)[0] * deviation + mean).tolist()
    # shares 10 / 20 and 30 / 40; two rows at the base rate .4
    share = (0.5 + 0.75 + 2 * 0.4) / 4
    assert rate == pytest.approx(np.log(share / (1 - share)), rel=1e-5)
    assert seen == pytest.approx(np.log(3), rel=1e-5)


def test_one_flag_is_as_before():
    train = rows([2, 2, 3], [1, 0, 1], [0, 3, 5])
    expected = LabelRates.fit(lambda: [train], ["item"], {"item": 5}, base=0.5, strength=2.0)
    found = fitted(CLICK, train)
    np.testing.assert_array_equal(found.columns(ASKED), expected.columns(ASKED))
    assert {name: table.dtype for name, table in found.positives.items()} == {"item": np.int32}


def test_saved_and_loaded(tmp_path):
    file = tmp_path / "label_rates.safetensors"
    rates = fitted(JOINT, TRAIN)
    rates.save(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "label_rates.is_click.safetensors", "label_rates.watch_time.safetensors"
    ]  # fmt: skip
    loaded = load_rates(file, JOINT)
    assert loaded.names == rates.names
    np.testing.assert_array_equal(loaded.columns(ASKED), rates.columns(ASKED))
    (tmp_path / "label_rates.is_click.safetensors").unlink()
    with pytest.raises(DataError, match=r"label_rates.is_click.safetensors: cannot be read"):
        load_rates(file, JOINT)
