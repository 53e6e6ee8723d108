"""bf16 and compiled rankers learn nearly the same; what a machine cannot do is refused; pipelines change nothing."""

import pytest
import torch
from safetensors.torch import load_file

from ranking.rankers import RANKERS, find_ranker
from ranking.training import dense_speed, ranker_fit
from ranking.training.dense_speed import check_speed_settings
from ranking.training.ranker_run import train_ranker
from segrec.fitting import FitConfig
from segrec.fitting.stepping import PipelinedStep
from segrec.records import ConfigError


def trained(dataset, out, name="dcn_v2", **values):
    """Mean training loss of each part of an epoch, and the weights."""
    given = {"device": "cpu", "batch_size": 300, "epochs": 1, "embedding_dim": 8, "validations_per_epoch": 3, **values}
    if RANKERS[name].reads_histories:
        given["features"] = {"history": {"length": 4}}
    config = find_ranker(name).config.checked(given)
    run, result = train_ranker(name, dataset, out, label="is_click", config=config)
    return [entry.loss for entry in result.history], load_file(run.path / "model.safetensors")


@pytest.mark.parametrize("name", ["dcn_v2", "din"])
def test_bf16_stays_near_fp32_and_weights_stay_fp32(name, click_log, tmp_path):
    losses, weights = trained(click_log, tmp_path / "fp32", name)
    near, rounded = trained(click_log, tmp_path / "bf16", name, precision="bf16")
    assert near != losses
    assert near == pytest.approx(losses, abs=5e-3)
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in rounded.values())
    assert rounded.keys() == weights.keys()


def test_compiled_layers_learn_the_same_under_the_same_names(click_log, tmp_path, monkeypatch):
    losses, weights = trained(click_log, tmp_path / "eager", dropout=0.0)
    compiled = []

    def traced(layers):  # torch's own compiler, up to the code it would generate
        compiled.append(layers)
        return plain(layers, backend="aot_eager")

    plain = torch.compile
    monkeypatch.setattr(dense_speed.torch, "compile", traced)
    monkeypatch.setattr(dense_speed.shutil, "which", lambda name: "/usr/bin/g++")
    again, same = trained(click_log, tmp_path / "compiled", dropout=0.0, compile=True)
    torch.compiler.reset()
    assert [layers.__name__ for layers in compiled] == ["hidden"]
    assert again == pytest.approx(losses, abs=1e-5)
    assert same.keys() == weights.keys()


@pytest.mark.parametrize("name", ["dcn_v2", "can"])
def test_the_pipeline_of_cuda_learns_bit_by_bit_the_same(name, click_log, tmp_path, monkeypatch):
    losses, weights = trained(click_log, tmp_path / "base", name)
    ahead = []

    def sharing_ahead(*given, **named):
        ahead.append(PipelinedStep(*given, **{**named, "share_ids_ahead": True}))
        return ahead[-1]

    monkeypatch.setattr(ranker_fit, "PipelinedStep", sharing_ahead)
    again, same = trained(click_log, tmp_path / "sparse", name)
    assert type(ahead[0].pipeline).__name__ == "TrainPipelineSparseDist"
    assert again == losses
    assert all(torch.equal(weight, same[key]) for key, weight in weights.items())


@pytest.mark.parametrize(
    ("device", "settings", "message"),
    [
        ("cpu", {"tf32": True}, "tf32=true needs CUDA (found device: cpu)"),
        ("cpu", {"compile": True}, "compile=true needs a C++ compiler on a CPU"),
        ("cuda", {"compile": True}, "compile=true needs the package triton"),
    ],
)
def test_what_a_machine_cannot_do_is_refused(device, settings, message, monkeypatch):
    monkeypatch.setattr(dense_speed.shutil, "which", lambda name: None)
    monkeypatch.setattr(dense_speed, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as told:
        check_speed_settings(FitConfig(**settings), torch.device(device))
    assert message in str(told.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_learns_as_the_cpu_does(click_log, tmp_path):
    losses, _ = trained(click_log, tmp_path / "cpu", dropout=0.0)
    on_cuda, _ = trained(click_log, tmp_path / "cuda", dropout=0.0, device="cuda", profile_steps=2)
    assert on_cuda == pytest.approx(losses, abs=1e-4)
    rounded, _ = trained(click_log, tmp_path / "bf16", dropout=0.0, device="cuda", precision="bf16", tf32=True)
    assert rounded == pytest.approx(losses, abs=1e-2)
