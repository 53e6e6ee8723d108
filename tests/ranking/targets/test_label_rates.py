"""Lagged rates by hand: a row sees earlier spans of train only, rows after train all of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.rows.encoded_rows import EncodedRows
from ranking.targets.label_rates import BINS, LabelRates, spans_of
from segrec.records import DataError


def rows(codes, labels, spans):
    return EncodedRows(
        ids=np.array([codes], dtype=np.int32), bags={}, dense=np.zeros((len(codes), 0), dtype=np.float32),
        labels=np.array(labels, dtype=np.float32), spans=np.array(spans, dtype=np.int8),
    )  # fmt: skip


TRAIN = rows([2, 2, 2, 3], [1, 0, 1, 0], [0, 1, 3, 5])


def fitted(train=TRAIN, strength=2.0):
    return LabelRates.fit(lambda: [train], ["item"], {"item": 5}, base=0.5, strength=strength)


def unscaled(rates, encoded):
    mean, deviation = np.array(rates.scaling).T
    return rates.columns(encoded) * deviation + mean


def logit(rate):
    return np.log(rate / (1 - rate))


def test_by_hand():
    found = unscaled(fitted(), rows([2, 2, 2, 2, 3, 4], [0] * 6, [0, 1, 3, BINS, 5, BINS]))
    # id 2: nothing before span 0; one positive before 1; one of two before 3; two of three after train
    # id 3 sees nothing but its own span, id 4 has no row: the base rate
    rates = [0.5, (1 + 1) / (1 + 2), (1 + 1) / (2 + 2), (2 + 1) / (3 + 2), 0.5, 0.5]
    assert found[:, 0] == pytest.approx(logit(np.array(rates)), abs=1e-5)
    assert found[:, 1] == pytest.approx(np.log1p([0, 1, 2, 3, 0, 0]), abs=1e-5)


def test_rates_as_labels_add_up_as_they_are():
    train = rows([2, 2, 3], [0.25, 0.5, 1.0], [0, 1, 0])
    rates = LabelRates.fit(lambda: [train], ["item"], {"item": 5}, base=0.5, strength=2.0, fractional=True)
    found = unscaled(rates, rows([2, 2, 3], [0] * 3, [1, BINS, BINS]))
    expected = [(0.25 + 1) / (1 + 2), (0.75 + 1) / (2 + 2), (1 + 1) / (1 + 2)]
    assert found[:, 0] == pytest.approx(logit(np.array(expected)), abs=1e-5)


def test_rates_as_labels_survive_their_file(tmp_path):
    rates = LabelRates.fit(
        lambda: [rows([2], [0.25], [0])], ["item"], {"item": 5}, base=0.5, strength=2.0, fractional=True
    )
    rates.save(tmp_path / "rates.safetensors")
    again = LabelRates.load(tmp_path / "rates.safetensors")
    assert (again.positives["item"] == rates.positives["item"]).all()
    assert again.positives["item"][2, -1] == 0.25


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, BINS - 1)), min_size=1, max_size=20), st.data()
)
def test_no_label_of_its_own_or_a_later_span_counts(drawn, data):
    codes, labels, spans = (list(column) for column in zip(*drawn, strict=True))
    place = data.draw(st.integers(0, len(codes) - 1))
    changed = [label if span < spans[place] else not label for label, span in zip(labels, spans, strict=True)]
    before, after = (fitted(rows(codes, each, spans)) for each in (labels, changed))
    told = rows(codes, labels, spans).take(np.array([place]))
    assert unscaled(before, told) == pytest.approx(unscaled(after, told), abs=1e-4)


def test_train_columns_are_standardised():
    columns = fitted().columns(TRAIN)
    assert columns.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert columns.std(axis=0) == pytest.approx([1, 1], abs=1e-5)


def test_spans_cut_trains_time_evenly():
    first, last = 1000, 1000 + BINS * 10 - 1
    times = np.array([0, first, first + 9, first + 10, last, last + 1, last + 10**9])
    assert spans_of(times, first, last).tolist() == [0, 0, 0, 1, BINS - 1, BINS, BINS]
    assert spans_of(np.array([5, 6]), 5, 5).tolist() == [0, BINS]


def test_stored_and_loaded(tmp_path):
    rates = fitted()
    rates.save(tmp_path / "rates.safetensors")
    again = LabelRates.load(tmp_path / "rates.safetensors")
    assert again.names == rates.names == ["item_rate", "item_rows"]
    assert (again.columns(TRAIN) == rates.columns(TRAIN)).all()


def test_damaged_file_is_named(tmp_path):
    (tmp_path / "rates.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match=r"rates.safetensors: cannot be read"):
        LabelRates.load(tmp_path / "rates.safetensors")
