"""`segrec rank`, killed twice in mid-epoch and started again, leaves the files of a run that was left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from segrec.records import DatasetFolder


@pytest.mark.slow
def test_the_same_weights_and_metrics_byte_for_byte(click_log: DatasetFolder, tmp_path: Path) -> None:
    sets = [
        "epochs=2",
        "batch_size=256",
        "checkpoint_every=1",
        "device=cpu",
        "dropout=0.2",
        "features.only=[user_id,tab]",
    ]
    options = [part for pair in sets for part in ("--set", pair)]
    program = [sys.executable, str(Path(__file__).with_name("killed_ranker.py")), str(tmp_path)]
    done = subprocess.run(
        [*program, "dcn_v2", str(click_log.path), "--label", "is_click", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("model.safetensors", "metrics.json", "config.yaml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    steps = sorted(path.name for path in (tmp_path / "whole/checkpoints").glob("step_*"))
    assert steps == sorted(path.name for path in (tmp_path / "killed/checkpoints").glob("step_*"))
    for step in steps:
        histories = [
            json.loads((tmp_path / run / "checkpoints" / step / "progress.json").read_text())
            for run in ("whole", "killed")
        ]
        assert histories[0] == histories[1]
