"""Segment scores in somebody else's ranker, torch-rechub's DCNv2: python FILE DATASET SCORES.parquet [LABEL]"""

import sys

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.ranking import DCNv2

from ranking.score_features import attach
from segrec.records import DatasetFolder

dataset, scores, label = DatasetFolder.open(sys.argv[1]), sys.argv[2], (*sys.argv[3:], "is_click")[0]
log = dataset.interactions().collect().to_pandas()
ids = {name: np.unique(log[name], return_inverse=True)[1] for name in ("user_id", "item_id", "author_id")}
duration = {"duration": np.log1p(log["duration_ms"].to_numpy(dtype=np.float32)) - 10}
log = attach(log, scores, dataset=dataset)  # adds 32 dense columns score_...
segments = {name: log[name].to_numpy() for name in log.columns if name.startswith("score_")}
train, test = (np.flatnonzero(log["split"] == split) for split in ("train", "test"))
y = torch.tensor(log[label].to_numpy(dtype=np.float32))


def test_auc(seed: int, dense: dict[str, np.ndarray]) -> float:
    torch.manual_seed(seed)
    x = {name: torch.tensor(column) for name, column in {**ids, **dense}.items()}
    sparse = [SparseFeature(name, int(codes.max()) + 1, 8) for name, codes in ids.items()]
    model = DCNv2(sparse + [DenseFeature(name) for name in dense], 2, {"dims": [64], "dropout": 0.2})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for batch in np.array_split(np.random.default_rng(seed).permutation(train), max(len(train) // 512, 1)):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy(model({name: x[name][batch] for name in x}), y[batch]).backward()
        optimizer.step()
    return roc_auc_score(y[test], model.eval()({name: x[name][test] for name in x}).detach())


without, with_scores = (np.mean([test_auc(seed, d) for seed in range(3)]) for d in (duration, {**duration, **segments}))
print(f"test AUC, mean of 3 seeds: {without:.4f} without scores, {with_scores:.4f} with: {with_scores - without:+.4f}")
