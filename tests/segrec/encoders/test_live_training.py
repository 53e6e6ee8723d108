"""Fitting a live encoder: samples, the total loss and its parts, validation, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import nn

from segrec.encoders.kuaihl import KuaiHLConfig
from segrec.encoders.live_batches import LiveBatch, SegmentInputs
from segrec.encoders.live_network import LiveOutput
from segrec.encoders.live_training import batch_loss, dense_optimizer, is_weighted, measures, samples_of
from segrec.losses.alignment import alignment_loss
from segrec.losses.pairwise import pairwise_loss
from segrec.records import DataError, DatasetFolder
from segrec.segments.rooms import RateTarget, Rooms
from segrec.testing.live_dataset import make_live_dataset

NAN = float("nan")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return make_live_dataset(tmp_path_factory.mktemp("training") / "dataset")


class Fixed(nn.Module):
    """Gives the same output for every batch."""

    def __init__(self, output: LiveOutput) -> None:
        super().__init__()
        self.output = output

    def forward(self, batch: LiveBatch) -> LiveOutput:
        del batch
        return self.output


def two_rooms() -> LiveBatch:
    """Rooms of three and two segments; the rate of the first room's last segment is unknown."""
    segments = SegmentInputs(
        (), (torch.tensor([1, 1, 1, 1, 0]).bool(), torch.ones(5).bool()), torch.zeros(5).long(), torch.zeros(5, 0)
    )
    return LiveBatch(
        segments, torch.tensor([[0, 1, 2], [3, 4, 0]]), torch.tensor([[True] * 3, [True, True, False]]), None,
        torch.tensor([[0.5, 0.25, NAN], [1.0, 0.0, NAN]]), torch.tensor([[10.0, 30.0, NAN], [20.0, 40.0, NAN]]),
        torch.zeros(2, 3, 0), torch.zeros(2, 3, 0),
    )  # fmt: skip


def cross_entropy(logit: float, rate: float) -> float:
    return math.log1p(math.exp(logit)) - rate * logit


def test_pointwise_part_weighs_by_trials_or_not() -> None:
    logits = torch.tensor([[0.0, 1.0, 9.0], [-1.0, 0.5, 9.0]], requires_grad=True)
    each = [cross_entropy(*pair) for pair in ((0, 0.5), (1, 0.25), (-1, 1), (0.5, 0))]
    config = KuaiHLConfig.of(sets=["overdispersion=0"])
    for weighted, weights in ((True, [10, 30, 20, 40]), (False, [1, 1, 1, 1])):
        loss = batch_loss(Fixed(LiveOutput(logits, {})), two_rooms(), config, weighted=weighted)
        assert loss.total.item() == pytest.approx(np.average(each, weights=weights))
        assert list(loss.parts) == ["point"]


def test_total_is_the_papers_sum_of_point_pair_and_align() -> None:
    logits, generator = torch.tensor([[0.0, 1.0, 9.0], [-1.0, 0.5, 9.0]]), torch.Generator().manual_seed(1)
    tokens = {name: torch.randn(5, 4, generator=generator) for name in ("visual", "text")}
    batch, config = two_rooms(), KuaiHLConfig.of(sets=["variant=paper", "align=dtw"])
    torch.manual_seed(3)
    loss = batch_loss(Fixed(LiveOutput(logits, tokens)), batch, config, weighted=False)
    pair = pairwise_loss(logits.sigmoid(), batch.values_Bn, batch.valid_Bn, kind="L1", sigma=10)
    torch.manual_seed(3)
    both = torch.tensor([[True] * 3, [True, False, False]])  # segment 4 has no frames
    text, visual = tokens["text"][batch.samples_Bn], tokens["visual"][batch.samples_Bn]
    align = alignment_loss(text, visual, both, mode="dtw")
    assert loss.parts["pair"].item() == pytest.approx(pair.item())
    assert loss.parts["align"].item() == pytest.approx(align.item())
    total = 0.65 * loss.parts["point"] + 0.15 * align + 0.2 * pair
    assert loss.total.item() == pytest.approx(total.item())


def test_side_targets_are_averaged() -> None:
    logits, sides = torch.zeros(2, 3), torch.zeros(2, 3, 2)
    rates = torch.stack([torch.full((2, 3), 0.5), torch.full((2, 3), 1.0)], dim=2)
    batch = replace(two_rooms(), side_values_BnS=rates, side_trials_BnS=torch.ones(2, 3, 2))
    config = KuaiHLConfig.of(sets=["weight_side=2"])
    loss = batch_loss(Fixed(LiveOutput(logits, {}, sides)), batch, config, weighted=True)
    assert loss.parts["side"].item() == pytest.approx(math.log(2))
    assert loss.total.item() == pytest.approx(3 * math.log(2))


def test_measures_against_scipy(dataset: DatasetFolder) -> None:
    rooms = Rooms.of(dataset, ["valid", "test"])
    target = rooms.target("lvtr", 1)
    scores = np.random.default_rng(1).random(len(rooms.room)).astype(np.float32)
    found = measures(scores, target, rooms)
    taus = []
    for first, last in zip(rooms.offsets[:-1], rooms.offsets[1:], strict=True):
        known = target.known[first:last]
        taus.append(kendalltau(scores[first:last][known], target.values[first:last][known]).statistic)
    rate, score, trials = (part[target.known].astype(float) for part in (target.values, scores, target.trials))
    losses = -(rate * np.log(score) + (1 - rate) * np.log(1 - score))
    assert found["tau_room"] == pytest.approx(np.mean(taus))
    assert found["NLL"] == pytest.approx(np.average(losses, weights=trials))
    assert found["calibration_ratio"] == pytest.approx(score.mean() / rate.mean())


def test_windows_whose_last_segment_has_few_viewers_are_left_out(dataset: DatasetFolder) -> None:
    rooms = Rooms.of(dataset, ["train"])
    target = rooms.target("lvtr", 1)
    config = KuaiHLConfig.of(sets=["variant=paper", "min_viewers=90"])
    kept = samples_of(rooms, target, config)
    everything = samples_of(rooms, target, KuaiHLConfig.of(sets=["variant=paper", "min_viewers=null"]))
    viewers = rooms.frame["viewers"].to_numpy()
    assert len(kept) == int((viewers[everything.last] >= 90).sum())
    assert 0 < len(kept) < len(everything)
    with pytest.raises(DataError, match="has no train sample with a known lvtr; lower min_viewers"):
        samples_of(rooms, target, KuaiHLConfig.of(sets=["variant=paper", "min_viewers=1000000"]))


def test_trials_count_only_where_they_are_known() -> None:
    rate, config = np.array([0.5, NAN], np.float32), KuaiHLConfig.of()
    assert is_weighted(RateTarget(rate, np.array([7, NAN], np.float32)), config)
    assert not is_weighted(RateTarget(rate, np.array([NAN, 7], np.float32)), config)
    assert not is_weighted(RateTarget(rate, np.array([7, 7], np.float32)), KuaiHLConfig.of(sets=["weighting=none"]))


def test_the_dense_optimizer_leaves_tables_alone() -> None:
    module = nn.ModuleDict({"embedding_bags": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    found = dense_optimizer(module, KuaiHLConfig.of(), 10).param_groups[0]["params"]
    assert [id(part) for part in found] == [id(part) for part in module["head"].parameters()]
