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


def test_a_page_is_counted_as_one_more_key_and_survives_freezing() -> None:
    """Views of page 1 never end in segment 0: its shift there is down, page 2's is up; order of parts is no matter."""
    views = pl.DataFrame(
        {
            "user_id": [1, 2, 3, 4], "item_id": [1, 1, 1, 1], "author_id": [1, 1, 1, 1], "tab": [1, 1, 2, 2],
            "n_segments": [2, 2, 2, 2], "exit_segment": [1, 2, 0, 0],
        }
    )  # fmt: skip
    counts = ExitCounts.count(views, 4, ("item_id", "author_id", "tab"))
    _, known = counts.features(views)
    shift = known[:, counts.known_names.index("tab_shrunk_by_5")]
    assert shift[0] < 0 < shift[4]
    frames, arrays = counts.parts()
    thawed = ExitCounts.of_parts(frames, dict(sorted(arrays.items())))
    assert thawed.known_names == counts.known_names
    np.testing.assert_array_equal(thawed.features(views)[1], known)
