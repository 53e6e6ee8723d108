"""Exit counts of the encoder: nothing that a training view's features are made of was counted on its own block."""

from __future__ import annotations

import numpy as np
import polars as pl

from segrec.encoders.segment_interest_counts import ExitCounts


def test_features_do_not_depend_on_outcomes_of_the_own_block() -> None:
    random = np.random.default_rng(0)
    items, blocks = random.integers(0, 6, 80), np.repeat([0, 1, 2, 3], 20)
    lengths = 1 + items % 4
    train = pl.DataFrame(
        {
            "user_id": random.integers(0, 9, 80), "item_id": items, "author_id": items // 2,
            "n_segments": lengths, "exit_segment": random.integers(0, lengths + 1),
        }
    )  # fmt: skip
    own = blocks == 2
    otherwise = train.with_columns(exit_segment=pl.when(pl.Series(own)).then(0).otherwise("exit_segment"))
    before, after = (ExitCounts.count(views, 4).out_of_fold(views, blocks) for views in (train, otherwise))
    own_segments = np.repeat(own, lengths)
    assert (before[0][own] == after[0][own]).all()
    assert (before[1][own_segments] == after[1][own_segments]).all()
    assert not (before[1][~own_segments] == after[1][~own_segments]).all()
