"""What became of ids: counts by hand for vocabularies, hashes and managed ids; the table that is shown."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch
from torchrec import KeyedJaggedTensor

from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.encoding.feature_spec import BagFeature, FeatureSpec, IdFeature
from ranking.encoding.raw_ids import raw_ids
from ranking.id_report import IdReport, IdUse
from ranking.rows.encoded_rows import EncodedRows
from ranking.rows.impressions import ImpressionSource
from segrec.tables import HashedIds, IdSettings, TableSpec
from segrec.tables.managed_ids import ManagedIds

DAY_MS = 86_400_000


@pytest.fixture
def log(make_dataset):
    """Train: users 1 (3 rows), 2; valid: users 1, 9, 9 and one without author; tags by item."""
    rows = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 1, 9, 9], "item_id": [10, 10, 20, 20, 10, 20, 30],
            "author_id": [7, 7, 8, 8, 7, None, 9], "time_ms": [0, 1, 2, 3, DAY_MS, DAY_MS + 1, DAY_MS + 2],
            "duration_ms": [6000] * 7, "watch_ms": [0] * 7, "split": ["train"] * 4 + ["valid"] * 3,
            "is_click": [1, 0, 1, 0, 0, 1, 1],
        }
    )  # fmt: skip
    items = pl.DataFrame({"item_id": [10, 20, 30], "tag": ["3,5", "5", None]})
    return make_dataset(rows, items=items, flags=["is_click"])


def report(log, spec: FeatureSpec, managed: ManagedIds | None = None) -> dict[tuple[str, str], IdUse]:
    features = FittedFeatures.fit(log, spec)
    encoder = RowEncoder(features, log)

    def encoded(split) -> list[EncodedRows]:
        source = ImpressionSource(log, encoder, [split])
        return [source.read(piece) for piece in source.pieces]

    found = IdReport.measure(log, features, {split: encoded(split) for split in ("train", "valid")}, managed)
    return {(use.split, use.feature): use for use in found.uses}


def test_vocabularies_by_hand(log):
    spec = FeatureSpec(
        ids=(IdFeature(name="user_id", column="user_id"), IdFeature(name="author_id", column="author_id", min_count=2)),
        bags=(BagFeature(name="tag", column="tag"),),
    )
    found = report(log, spec)
    assert found["train", "user_id"] == IdUse("train", "user_id", "vocabulary", 4, known=4)
    assert found["valid", "user_id"] == IdUse("valid", "user_id", "vocabulary", 4, known=1, unseen=2)
    assert found["valid", "author_id"] == IdUse("valid", "author_id", "vocabulary", 4, known=1, unseen=1, missing=1)
    assert found["train", "tag"] == IdUse("train", "tag", "vocabulary", 4, known=6)
    assert found["valid", "tag"].missing == 1


def test_hashes_by_hand(log):
    hashed = IdSettings(ids="hash", rows=4)  # rows 2 and 3
    spec = FeatureSpec(
        ids=(IdFeature(name="item_id", column="item_id", coding=hashed),),
        bags=(BagFeature(name="tag", column="tag", coding=hashed),),
    )
    code = dict(zip([10, 20, 30], HashedIds(4).encode(pl.Series([10, 20, 30])).tolist(), strict=True))
    shared = [item for item in code if list(code.values()).count(code[item]) > 1]
    found = report(log, spec)
    valid = found["valid", "item_id"]
    assert (valid.known, valid.unseen, valid.missing, valid.distinct) == (2, 1, 0, 3)
    assert valid.collided == valid.collided_rows == len(shared) >= 2
    train = found["train", "item_id"]
    assert (train.known, train.unseen, train.distinct) == (4, 0, 2)
    assert train.collided == (2 if code[10] == code[20] else 0)
    assert found["train", "tag"].distinct == 2
    assert found["valid", "tag"].unseen == 0


def test_collisions_of_many_ids_are_as_many_as_chance_has(make_dataset):
    count = 5000
    rows = pl.DataFrame(
        {
            "user_id": range(count), "item_id": [1] * count, "author_id": [1] * count, "time_ms": range(count),
            "duration_ms": [6000] * count, "watch_ms": [0] * count, "split": ["train"] * count,
            "is_click": [0, 1] * (count // 2),
        }
    )  # fmt: skip
    feature = IdFeature(name="user_id", column="user_id", coding=IdSettings(ids="hash", rows=10_002))
    log = make_dataset(rows, flags=["is_click"])
    features = FittedFeatures.fit(log, FeatureSpec(ids=(feature,)))
    use = IdReport.measure(log, features, {"train": []}).uses[0]
    # an id is alone with chance (1 - 1 / 10000) ** 4999 = 0.6066
    assert use.collided / use.distinct == pytest.approx(1 - 0.6066, abs=0.02)


def test_managed_ids_by_hand(log):
    spec = FeatureSpec(ids=(IdFeature(name="user_id", column="user_id", coding=IdSettings(ids="managed", rows=4)),))
    table = TableSpec(name="user", rows=4, dim=4, features=("user_id",), managed={"every": 1})
    ids = ManagedIds([table])
    for user in (2, 1, 9):  # two rows: user 2 goes
        ids(KeyedJaggedTensor(["user_id"], torch.tensor([user]), lengths=torch.tensor([1])))
    found = report(log, spec, ids)
    assert found["train", "user_id"] == IdUse(
        "train", "user_id", "managed", 4, known=3, unseen=1, admitted=3, evicted=1
    )
    assert found["valid", "user_id"].known == 3


def test_raw_ids_count_rows_and_only_wanted_ones(log):
    tag, user = BagFeature(name="tag", column="tag"), IdFeature(name="user_id", column="user_id")
    assert raw_ids(log, tag, "train").rows() == [("3", 2), ("5", 4)]
    assert raw_ids(log, user, "valid").rows() == [(1, 1), (9, 2)]
    assert raw_ids(log, user, "valid", pl.col("is_click") == 0).rows() == [(1, 1)]


def test_stored_and_shown(tmp_path):
    uses = (
        IdUse("valid", "hour", "vocabulary", 26, known=10),
        IdUse("valid", "user_id", "vocabulary", 12, known=6, unseen=3, missing=1),
        IdUse("valid", "item_id", "hash", 8, known=10, distinct=4, collided=1, collided_rows=2),
        IdUse("valid", "author_id", "managed", 9, known=10, admitted=7, evicted=2),
    )
    written = IdReport(uses)
    written.write(tmp_path)
    assert IdReport.read(tmp_path) == written
    assert json.loads((tmp_path / "id_report.json").read_text())[0] == {
        "split": "valid", "feature": "hour", "ids": "vocabulary", "table_rows": 26, "known": 10, "unseen": 0,
        "missing": 0,
    }  # fmt: skip
    assert written.lines() == [
        "split  feature    ids         rows  unseen  missing  collided      evicted",
        "valid  user_id    vocabulary  12    30.0%   10.0%",
        "valid  item_id    hash        8     0.0%    0.0%     25.0% of ids",
        "valid  author_id  managed     9     0.0%    0.0%                   2 of 7",
    ]
    assert IdReport(uses[:1]).lines() == []
