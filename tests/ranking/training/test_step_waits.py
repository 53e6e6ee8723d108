"""No step asks a tensor for its value: on CUDA each such question would wait for the device."""

import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ranking
import segrec
from ranking.rankers import find_ranker
from ranking.training.ranker_run import train_ranker
from segrec.fitting.stepping import PipelinedStep

OURS = tuple(str(Path(package.__file__).parent) for package in (ranking, segrec))
WAITING = {
    torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default,
    torch.ops.aten.is_nonzero.default, torch.ops.aten.equal.default, torch.ops.aten._unique2.default,
}  # fmt: skip


class Questions(TorchDispatchMode):
    """Lines of ours that ask; TorchRec's and torch's own ask tensors on the CPU."""

    def __init__(self):
        super().__init__()
        self.asked, self.operations = [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.operations += 1
        if operation in WAITING:
            frames = [frame for frame in traceback.extract_stack() if "/torch/" not in frame.filename]
            asking = next(frame for frame in reversed(frames) if frame.filename != __file__)
            if asking.filename.startswith(OURS):
                self.asked.append(f"{asking.filename}:{asking.lineno} {asking.line}")
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def questions(monkeypatch):
    """Of every step of the runs in the test."""
    found, plain = Questions(), PipelinedStep.__call__

    def watched(self, batches):
        with found:
            return plain(self, batches)

    monkeypatch.setattr(PipelinedStep, "__call__", watched)
    return found


@pytest.mark.parametrize(
    ("name", "settings"),
    [("can", {"backbone": "dien"}), ("din", {"scores": {"use": "weights", "weighting": "segadjust"}})],
)
def test_no_step_waits(name, settings, questions, click_log, tmp_path):
    given = {
        "device": "cpu", "batch_size": 200, "epochs": 1, "embedding_dim": 4, "features": {"history": {"length": 4}},
        "data": {"prefetch": 0, "workers": 0}, **settings,
    }  # fmt: skip
    config = find_ranker(name).config.checked(given)
    train_ranker(name, click_log, tmp_path / "run", label=["is_click", "watch_time"], config=config)
    assert questions.operations > 1000
    assert questions.asked == []


def test_questions_are_found(questions, click_log, tmp_path):
    """Segments at the input are picked out, which asks how many there are: docs/ranking.md says so."""
    given = {"device": "cpu", "epochs": 1, "scores": {"use": "weights", "weighting": "segsum", "enter": "input"}}
    config = find_ranker("logistic_regression").config.checked(given)
    train_ranker("logistic_regression", click_log, tmp_path / "run", label="is_click", config=config)
    assert {line.split(" ", 1)[1] for line in questions.asked} == {"rows, slots = valid_BS.nonzero(as_tuple=True)"}
