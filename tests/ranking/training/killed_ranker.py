"""`segrec rank` in child processes: one is left alone, the other is killed when its first checkpoints are there.

python killed_ranker.py FOLDER ARGUMENTS ...   (FOLDER/whole and FOLDER/killed become the runs)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

import ranking.training.ranker_run  # noqa: F401 - the children shall not import it each on their own
from ranking.cli import main


def rank(out: Path) -> int:
    """Starts `segrec rank ... --out OUT` in a child; its process id."""
    child = os.fork()
    if child == 0:
        sys.argv = ["segrec", "rank", *sys.argv[2:], "--out", str(out)]
        torch.set_num_threads(1)
        try:
            main()
        except SystemExit as left:
            os._exit(int(left.code or 0))
        finally:
            os._exit(1)
    return child


def wait_for(child: int) -> int:
    """The signal that ended the child, or minus its exit code."""
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert wait_for(rank(folder / "whole")) == 0
    for step in (3, 10):  # an epoch has 7 steps
        child = rank(folder / "killed")
        while not (folder / f"killed.partial/checkpoints/step_{step:08d}").is_dir():
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "ended before it could be killed"
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        assert wait_for(child) == signal.SIGKILL
        assert not (folder / "killed").exists()
    assert wait_for(rank(folder / "killed")) == 0
