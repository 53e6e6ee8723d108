"""Why grouped AUC falls when a score knows a user's history up to the minute, though AUC rises: a simulation.

    python benchmarks/gauc_and_history.py

Labels depend on a user's constant rate and on the item alone. The item's true score is ranked by itself, then with the
running mean of the user's earlier labels of the same days added: true knowledge, and never of the row itself.
"""

from __future__ import annotations

import numpy as np

from segrec.metrics.auc import auc
from segrec.metrics.grouped_auc import grouped_auc

USERS, SEEDS = 50_000, (1, 2, 3)


def main() -> None:
    print(f"{'seed':>4}{'AUC item':>12}{'+ history':>12}{'GAUC item':>12}{'+ history':>12}")
    for seed in SEEDS:
        labels, item, history, users = simulated(np.random.default_rng(seed))
        scores = (item, item + history)
        aucs = [auc(labels, score) for score in scores]
        gaucs = [grouped_auc(labels, score, users)[0] for score in scores]
        print(f"{seed:4}" + "".join(f"{value:12.3f}" for value in (*aucs, *gaucs)))


def simulated(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the item's logit, the logit of the user's shrunk running mean, users; rows in each user's order."""
    rows = random.geometric(0.35, USERS)
    users = np.repeat(np.arange(USERS), rows)
    item = random.normal(0, 1, len(users))
    chance = 1 / (1 + np.exp(-(item + random.normal(0, 1, USERS)[users])))
    labels = (random.random(len(users)) < chance).astype(np.int64)
    start = np.cumsum(rows) - rows
    before = np.concatenate([[0], np.cumsum(labels)])[:-1]
    positives = before - before[start][users]
    earlier = np.arange(len(users)) - start[users]
    mean = (positives + 1.0) / (earlier + 2.0)
    return labels, item, np.log(mean / (1 - mean)), users


if __name__ == "__main__":
    main()
