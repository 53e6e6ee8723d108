"""FitConfig: the fields that every `--set` knows, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from segrec.fitting import FitConfig, global_mean
from segrec.records import ConfigError


class ModelConfig(FitConfig):
    width: int = 8


def test_models_inherit_flat_keys() -> None:
    config = ModelConfig.of(None, ["epochs=3", "width=4", "seed=9", "device=cpu", "patience=null"])
    assert (config.epochs, config.width, config.seed, config.device, config.patience) == (3, 4, 9, "cpu", None)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("epochs=0", "field 'epochs'"),
        ("batch_size=many", "field 'batch_size'"),
        ("learning_rate=-1", "field 'learning_rate'"),
        ("device=tpu", "field 'device'"),
        ("seed=-1", "field 'seed'"),
        ("epoch=3", "unknown field 'epoch'"),
    ],
)
def test_bad_values_are_one_line(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        ModelConfig.of(None, [pair])
    assert "\n" not in str(error.value)


def test_auto_is_cpu_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert FitConfig().torch_device() == torch.device("cpu")
    with pytest.raises(ConfigError, match="torch sees no CUDA device; use device=cpu or auto"):
        FitConfig(device="cuda").torch_device()


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert FitConfig().torch_device() == torch.device("cuda")
    assert FitConfig(device="cpu").torch_device() == torch.device("cpu")


def test_global_mean_of_one_process_by_hand() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    mean = global_mean(total, 4)
    mean.backward()
    assert mean.item() == 1.5
    assert total.grad is not None
    assert total.grad.item() == 0.25
    assert global_mean(torch.tensor(6.0), torch.tensor(3)).item() == 2.0
    assert global_mean(torch.tensor(0.0), 0).item() == 0.0
