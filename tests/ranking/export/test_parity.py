"""What an export is compared by, on made answers."""

from types import SimpleNamespace

import pytest
import torch

from ranking.export.parity import measured_parity


def parity(labels, quantise="int8"):
    """Of two rankers over 400 rows, the second one's answers turned round for half of them."""
    logits = torch.linspace(-3, 3, 400)
    batch = SimpleNamespace(rows=400, labels=labels)
    turned = torch.cat([logits[:200], -logits[200:]])
    return measured_parity(
        lambda _: logits, lambda _: turned, [batch], [batch], outputs=("click",), checked_on="here", quantise=quantise
    )


def test_logged_labels_tell_the_loss_of_auc():
    found = parity((torch.arange(400) >= 300).float())
    assert found.labels == {"click": "logged"}
    # the 100 positives came above all 300 others; turned, above a quarter of the 200 that stayed: AUC 1 and 1/6
    assert found.auc_loss == {"click": pytest.approx(5 / 6)}
    assert not found.holds


@pytest.mark.parametrize("labels", [torch.zeros(400), torch.ones(400), torch.full((400,), torch.nan), torch.zeros(0)])
def test_rows_of_one_label_only_are_no_way_round_the_comparison(labels):
    found = parity(labels)
    assert found.labels == {"click": "drawn"}
    assert found.auc_loss["click"] > 0.1
    assert not found.holds


def test_plain_tables_are_compared_by_probability():
    found = parity(torch.zeros(400), quantise="none")
    assert found.measured == found.largest_difference == pytest.approx(torch.sigmoid(torch.tensor(3.0)).item() * 2 - 1)
    assert not found.holds
