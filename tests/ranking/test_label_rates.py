"""Out-of-fold rates by hand: a train row never sees its own label, other rows see all of train."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.encoded_rows import EncodedRows
from ranking.label_rates import FOLDS, NO_FOLD, LabelRates, folds_of
from segrec.records import DataError


def rows(codes, labels, folds):
    return EncodedRows(
        ids=np.array([codes], dtype=np.int32), bags={}, dense=np.zeros((len(codes), 0), dtype=np.float32),
        labels=np.array(labels, dtype=np.float32), folds=np.array(folds, dtype=np.int8),
    )  # fmt: skip


TRAIN = rows([2, 2, 2, 3], [1, 0, 1, 0], [0, 0, 1, 2])


def fitted(train=TRAIN, strength=2.0):
    return LabelRates.fit(lambda: [train], ["item"], {"item": 5}, base=0.5, strength=strength)


def unscaled(rates, encoded):
    mean, deviation = np.array(rates.scaling).T
    return rates.columns(encoded) * deviation + mean


def logit(rate):
    return np.log(rate / (1 - rate))


def test_by_hand():
    found = unscaled(fitted(), rows([2, 2, 3, 4], [0] * 4, [0, NO_FOLD, 2, NO_FOLD]))
    # id 2 in fold 0 sees fold 1: one row, positive: (1 + 1) / (1 + 2); outside train it sees 2 of 3: (2 + 1) / (3 + 2)
    # id 3 sees nothing but its own fold, id 4 has no row: the base rate
    assert found[:, 0] == pytest.approx([logit(2 / 3), logit(3 / 5), 0.0, 0.0], abs=1e-5)
    assert found[:, 1] == pytest.approx([np.log1p(FOLDS / (FOLDS - 1)), np.log1p(3), 0.0, 0.0], abs=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, FOLDS - 1)), min_size=1, max_size=20), st.data()
)
def test_own_label_changes_nothing_in_its_fold(drawn, data):
    codes, labels, folds = (list(column) for column in zip(*drawn, strict=True))
    place = data.draw(st.integers(0, len(codes) - 1))
    changed = list(labels)
    changed[place] = not changed[place]
    before, after = (fitted(rows(codes, each, folds)) for each in (labels, changed))
    told = rows(codes, labels, folds).take(np.array([place]))
    assert unscaled(before, told) == pytest.approx(unscaled(after, told), abs=1e-5)


def test_train_columns_are_standardised():
    columns = fitted().columns(TRAIN)
    assert columns.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert columns.std(axis=0) == pytest.approx([1, 1], abs=1e-5)


def test_folds_are_even_and_repeats_share_one():
    times = np.arange(20_000, dtype=np.int64) * 977 + 1_650_000_000_000
    folds = folds_of(times, np.ones(len(times), dtype=bool))
    assert np.bincount(folds, minlength=FOLDS) == pytest.approx(np.full(FOLDS, 4000), rel=0.1)
    assert (folds_of(times[[5, 5]], np.array([True, False])) == [folds[5], NO_FOLD]).all()


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
