"""What one of several processes does in the tests of this room; run by torchrun.

processes_program.py work DATASET FOLDER BATCH_SIZE   trains, evaluates and predicts
processes_program.py fail DATASET FOLDER              process 1 meets a damaged file in the middle of an epoch
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ranking.cli import main
from ranking.prediction import predict
from ranking.rows.stream import RankingStream
from segrec.records import DataError, DatasetFolder
from segrec.tables import rank
from segrec.torchrun import end_process

SETTINGS = {
    "device": "cpu", "epochs": 2, "embedding_dim": 4, "dropout": 0, "patience": "null", "validations_per_epoch": 4,
    "features.history.length": 3, "table_learning_rate": 0.2, "profile_steps": 2,
    "tables": "{user_id: {ids: managed, rows: 30, evict_every: 1}, author_id: {ids: hash, rows: 8}}",
}  # fmt: skip


def arguments(dataset: Path, out: Path, batch_size: int) -> list[str]:
    """Of `segrec`."""
    pairs = [f"{key}={value}" for key, value in {**SETTINGS, "batch_size": batch_size}.items()]
    sets = [part for pair in pairs for part in ("--set", pair)]
    return ["rank", "dcn_v2", str(dataset), "--label", "is_click", "--out", str(out), *sets]


def evaluation(run: Path, dataset: Path, out: Path) -> list[str]:
    """Of `segrec`."""
    return ["evaluate", "ctr", str(run), str(dataset), "--replicates", "100", "--out", str(out)]


def segrec(line: Sequence[str]) -> None:
    """The command line, as torchrun starts it."""
    sys.argv = ["segrec", *line]
    main()


def work(dataset: Path, folder: Path, batch_size: int) -> None:
    run = folder / "run"
    segrec(arguments(dataset, run, batch_size))
    segrec(evaluation(run, dataset, folder / "ctr.json"))
    found = predict(run, DatasetFolder.open(dataset), "valid")
    found.write_parquet(folder / f"valid_{rank()}.parquet")


def fail(dataset: Path, folder: Path) -> None:
    plain = RankingStream.epoch

    def damaged(self: RankingStream, epoch: int, start: int = 0) -> Iterator[object]:
        for number, batch in enumerate(plain(self, epoch, start), start):
            if rank() == 1 and number == 2:
                raise DataError("part-00001.parquet", "is damaged", fix="read the log again")
            yield batch

    RankingStream.epoch = damaged  # type: ignore[method-assign,assignment]
    segrec(arguments(dataset, folder / "run", 100))


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *paths = sys.argv[1:]
    if what == "work":
        work(Path(paths[0]), Path(paths[1]), int(paths[2]))
    else:
        fail(Path(paths[0]), Path(paths[1]))
    end_process()
