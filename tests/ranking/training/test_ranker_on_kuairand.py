"""The default ranker on the real KuaiRand-Pure sample: what it reaches on the valid day."""

import pytest

from ranking.prediction import predict
from ranking.rankers import find_ranker
from ranking.training.ranker_run import train_ranker
from segrec.datasets import ReadOptions, find_reader, write_dataset
from segrec.metrics.auc import auc
from segrec.metrics.calibration import calibration_ratio
from segrec.metrics.grouped_auc import grouped_auc
from segrec.splitting import SplitRequest


@pytest.mark.slow
def test_default_dcn_v2(samples, tmp_path):
    options = ReadOptions.checked({"split": SplitRequest.asked(None, "2022-04-29", "2022-04-30")})
    log = find_reader("kuairand")(samples / "kuairand_pure_sample", options)
    dataset = write_dataset(log, tmp_path / "dataset", options)
    config = find_ranker("dcn_v2").config(device="cpu")
    run, _ = train_ranker("dcn_v2", dataset, tmp_path / "run", label="is_click", config=config)
    found = predict(run, dataset, "valid")
    labels, predictions = found["label"].to_numpy(), found["prediction"].to_numpy()
    # scikit-learn's one-hot logistic regression reaches .707 / .639 on the same ids
    assert auc(labels, predictions) > 0.72
    assert grouped_auc(labels, predictions, found["user_id"].to_numpy())[0] > 0.63
    assert 0.9 < calibration_ratio(labels, predictions) < 1.1
    assert found["user_warm"].mean() == pytest.approx(0.793, abs=0.001)
