"""Losses of one and of several labels: by hand, unknown labels, gradients by loops, learned variances."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ranking.rankers.multi_task import TasksConfig
from ranking.targets.labels import FlagLabel, JointLabel, RateLabel
from ranking.targets.watch_labels import WatchShareLabel, WatchTimeLabel
from ranking.training.label_loss import LabelLoss, check_tasks
from ranking.training.loss import binary_cross_entropy
from segrec.records import ConfigError

TWO_PROCESSES = Path(__file__).with_name("label_loss_program.py")
NAN = math.nan
CLICK, LONG = FlagLabel(name="is_click", rate=0.4), FlagLabel(name="long_view", rate=0.2)
TIME = WatchTimeLabel(mean=8.0, cap_ms=90_000, rate=0.4)
JOINT = JointLabel(tasks=(CLICK, LONG, TIME))


def loss_of(label, **settings):
    return LabelLoss(label, TasksConfig(**settings))


@pytest.mark.parametrize("label", [CLICK, WatchShareLabel(rate=0.3), RateLabel(name="ctr", rate=0.1)])
def test_one_label_is_the_cross_entropy_bit_for_bit(label):
    logits, labels, weights = torch.randn(50), torch.rand(50), torch.rand(50)
    loss = loss_of(label)
    assert torch.equal(loss(logits, labels, 60), binary_cross_entropy(logits, labels, 60))
    assert torch.equal(loss(logits, labels, 60, weights), binary_cross_entropy(logits, labels, 60, weights))
    assert loss.parts == {}
    assert not list(loss.parameters())
    assert loss.state_dict() == {}


def test_watch_time_by_hand():
    # u = 3: -3 log p - log(1 - p) with p = 1/2 and, at logit log 3, p = 3/4
    loss = loss_of(TIME)
    assert loss(torch.zeros(1), torch.tensor([24.0]), 1).item() == pytest.approx(4 * math.log(2))
    at_best = loss(torch.tensor([math.log(3)]), torch.tensor([24.0]), 1).item()
    assert at_best == pytest.approx(-3 * math.log(0.75) - math.log(0.25))
    assert loss(torch.zeros(2), torch.tensor([0.0, 24.0]), 2).item() == pytest.approx(2.5 * math.log(2))


def test_watch_time_is_least_at_the_expectation():
    """Seconds 0, 5 and 55 in equal shares: the best odds times the mean are 20."""
    logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    seconds = torch.tensor([0.0, 5.0, 55.0], dtype=torch.float64)
    found = loss_of(TIME).double()
    optimizer = torch.optim.LBFGS([logit], max_iter=50, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        loss = found(logit.expand(3), seconds, 3)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert TIME.answers(logit.detach().numpy())[0] == pytest.approx(20.0, rel=1e-4)


def test_several_labels_by_hand():
    labels = torch.tensor([[1.0, NAN, 24.0], [0.0, 1.0, NAN], [NAN, NAN, 0.0], [1.0, NAN, NAN]])
    loss = loss_of(JOINT, weights={"long_view": 3.0, "watch_time": 0.5})
    total = loss(torch.zeros(4, 3), labels, 4)
    parts = {name: part.item() for name, part in loss.parts.items()}
    log2 = math.log(2)
    assert parts == pytest.approx({"is_click": log2, "long_view": log2, "watch_time": (4 + 1) / 2 * log2})
    assert total.item() == pytest.approx(log2 + 3 * log2 + 0.5 * 2.5 * log2)


def by_loops(logits, labels, weights):
    """d loss / d logits, row by row in float64."""
    gradient = np.zeros(logits.shape)
    for task, weight in enumerate(weights):
        known = [row for row in range(len(labels)) if not math.isnan(labels[row, task])]
        for row in known:
            chance, label = 1 / (1 + math.exp(-logits[row, task])), labels[row, task]
            slope = (1 + label / 8) * chance - label / 8 if task == 2 else chance - label
            gradient[row, task] = weight * slope / len(known)
    return gradient


@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_loops_and_unknown_labels_have_none(seed):
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.random(20) < 0.5, rng.random(20) < 0.2, rng.exponential(10, 20)], axis=1)
    labels[rng.random((20, 3)) < 0.4] = NAN
    logits = torch.tensor(rng.normal(size=(20, 3)), requires_grad=True)
    loss_of(JOINT, weights={"is_click": 0.5}).double()(logits, torch.tensor(labels), 20).backward()
    expected = by_loops(logits.detach().numpy(), labels, (0.5, 1, 1))
    np.testing.assert_allclose(logits.grad.numpy(), expected, atol=1e-12)
    assert not logits.grad.numpy()[np.isnan(labels)].any()


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_known_gives_zero_and_a_live_graph(rows):
    logits = torch.zeros(rows, 3, requires_grad=True)
    loss = loss_of(JOINT)(logits, torch.full((rows, 3), NAN), 8)
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_a_process_without_rows_may_have_flat_labels():
    assert loss_of(JOINT)(torch.zeros(0, 3, requires_grad=True), torch.zeros(0), 8).item() == 0.0


def test_learned_variances_by_hand_and_at_their_best():
    loss = loss_of(JOINT, balance="uncertainty", weights={"watch_time": 2.0})
    labels, logits = torch.tensor([[1.0, 0.0, 8.0]]), torch.zeros(1, 3)
    with torch.no_grad():
        loss.log_variance.copy_(torch.tensor([0.0, math.log(2), 0.0]))
    log2 = math.log(2)
    total = loss(logits, labels, 1)
    assert total.item() == pytest.approx(log2 + log2 / 2 + log2 / 2 + 2 * 2 * log2)
    total.backward()
    # d/ds (w exp(-s) L + s / 2) = 1/2 - w exp(-s) L
    assert loss.log_variance.grad.tolist() == pytest.approx([0.5 - log2, 0.5 - log2 / 2, 0.5 - 4 * log2])
    assert list(loss.state_dict()) == ["log_variance"]


def test_a_label_of_weight_0_leaves_its_variance_alone():
    loss = loss_of(JOINT, balance="uncertainty", weights={"long_view": 0.0})
    loss(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 8.0]]), 1).backward()
    assert loss.log_variance.grad[1] == 0  # else s / 2 alone would send it to minus infinity
    assert loss.log_variance.grad[0] != 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"is_clik": 2}}, r"tasks.weights: 'is_clik' is no label of this run .labels: is_click, long_view"),
        ({"monitor_task": "watch"}, r"tasks.monitor_task: 'watch' is no label of this run"),
        ({"weights": {"is_click": 0, "long_view": 0}}, r"tasks.weights: all labels weigh 0 .is_click, long_view"),
    ],
)
def test_settings_that_name_no_label(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_tasks(TasksConfig(**settings), ("is_click", "long_view"))


def test_two_processes_find_what_one_finds():
    """Means are over the rows of both that have a label, also where one process has none of them, or no row."""
    done = subprocess.run(
        [sys.executable, str(TWO_PROCESSES)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
