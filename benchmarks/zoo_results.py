"""Every ranker with and without scores on the real samples, under one tuning budget, three seeds.

    python benchmarks/zoo_results.py --samples DIR [--work runs/zoo] [--jobs 2] [--only kuairand segmm] [--rankers ...]
    python benchmarks/zoo_results.py --print

The budget: each ranker is trained with the same TRIALS settings without scores (seed 0); the one with the least LogLoss
on valid is trained with seeds 1, 2, 3 without scores, with them as features, and as SegRec weights. Split: by time.
Writes benchmarks/results/zoo_PART.json; --print makes the tables from those files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from machine import RESULTS
from parts import SEEDS, Call, Part, Row, command_line
from sample_results import kuairand
from segrec_results import same, valid_loss, value

RANKERS = (
    "logistic_regression", "wide_deep", "deep_fm", "difm", "dcn_v2", "dcn_mix", "final_mlp", "din", "dien", "can",
    "adagin",
)  # fmt: skip
TRIALS = (
    [],
    ["embedding_dim=8", "table_learning_rate=0.02"],
    ["table_learning_rate=0.1", "learning_rate=0.0005"],
    ["embedding_dim=8", "table_learning_rate=0.02", "learning_rate=0.002", "weight_decay=0.01"],
)
USES = {"none": "", "features": ":features", "weights": ":segrec"}
LABELS = {"kuairand": "is_click", "segmm": "effective_view"}
SHOWN = ("AUC", "gauc_impression", "LogLoss")


def segmm(part: Part) -> Path:
    return part.segrec("read", "segmm", part.samples / "segmm_sample", makes=part.work / "segmm")


DATASETS: dict[str, Callable[[Part], Path]] = {"kuairand": kuairand, "segmm": segmm}


def measure(part: Part, dataset: Path, rankers: Sequence[str]) -> None:
    """Tunes, trains and evaluates; runs that are there already are kept."""
    label = LABELS[dataset.name]
    scores = score_table(part, dataset)
    trials = {
        (ranker, place): trial(part, dataset, ranker, place) for ranker in rankers for place in range(len(TRIALS))
    }
    part.many(list(trials.values()))
    calls = []
    for ranker in rankers:
        losses = [valid_loss(trials[ranker, place].makes) for place in range(len(TRIALS))]
        chosen = settings(TRIALS[losses.index(min(losses))])
        calls += [
            Call(
                ["rank", ranker, dataset, "--label", label, *chosen, "--set", f"seed={seed}",
                 *([] if use == "none" else ["--scores", scores]), "--set", f"scores.use={use}"],
                run_folder(part, dataset, ranker, use, seed),
            )
            for use in USES
            for seed in SEEDS
        ]  # fmt: skip
    part.many(calls)
    part.finish({ranker: evaluated(part, dataset, ranker) for ranker in rankers}, keep=quoted)


def score_table(part: Part, dataset: Path) -> Path:
    encoder = part.segrec(
        "fit", "segment_interest", dataset, "--set", "variant=hazard", "--set", "seed=1",
        makes=part.work / f"{dataset.name}_encoder",
    )  # fmt: skip
    return part.segrec(
        "score", encoder, dataset, "--cross-fit", "4", makes=part.work / f"scores_{dataset.name}.parquet"
    )


def trial(part: Part, dataset: Path, ranker: str, place: int) -> Call:
    words = ["rank", ranker, dataset, "--label", LABELS[dataset.name], *settings(TRIALS[place]), "--set", "seed=0"]
    return Call(words, part.work / f"{dataset.name}_{ranker}_trial_{place}")


def settings(trial: Sequence[str]) -> list[str]:
    return [word for assignment in trial for word in ("--set", assignment)]


def run_folder(part: Part, dataset: Path, ranker: str, use: str, seed: int) -> Path:
    return part.work / f"{dataset.name}_{ranker}_{use}_{seed}"


def evaluated(part: Part, dataset: Path, ranker: str) -> Path:
    """One file: with scores, and the paired difference to without."""

    def named(use: str) -> list[str]:
        return [f"{ranker}{USES[use]}={run_folder(part, dataset, ranker, use, seed)}" for seed in SEEDS]

    against = [word for run in named("none") for word in ("--against", run)]
    file = part.work / f"zoo_{dataset.name}_{ranker}.json"
    return part.segrec("evaluate", "ctr", *named("features"), *named("weights"), dataset, *against, makes=file)


def quoted(row: Row) -> bool:
    return row["seed"] is None and row["metric"] in SHOWN and row["cohort"] == "all"


def show(name: str) -> None:
    """One line a ranker and use of the scores."""
    file = RESULTS / f"zoo_{name}.json"
    if not file.is_file():
        print(f"zoo_{name}: not measured\n")
        return
    found: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())["rows"]
    first = next(iter(found.values()))
    print(f"**{name}: {LABELS[name]}, {first[0]['n']:,} test rows, {len(SEEDS)} seeds**\n")
    print("| ranker | " + " | ".join(SHOWN) + " | AUC - without scores | GAUC - without | LogLoss - without |")
    print("|" + " --- |" * (len(SHOWN) + 4))
    for ranker, listed in found.items():
        for use in USES.values():
            model = f"{ranker}{use}"
            cells = [interval(listed, model, metric) for metric in SHOWN]
            cells += ["" if not use else change(listed, model, metric, ranker) for metric in SHOWN]
            print(f"| {model} | " + " | ".join(cells) + " |")
    plain = next(row for row in first if row["model"] == "item_shrunk" and row["versus"] is None)
    print(f"| {plain['model']} (no ranker) | {interval(first, plain['model'], 'AUC')} | | "
          f"{value(first, plain['model'], 'LogLoss'):.4f} | | | |\n")  # fmt: skip


def interval(rows: Sequence[dict[str, Any]], model: str, metric: str) -> str:
    row = next(row for row in rows if same(row, model, metric, None))
    return f"{row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def change(rows: Sequence[dict[str, Any]], model: str, metric: str, versus: str) -> str:
    row = next(row for row in rows if same(row, model, metric, versus))
    return f"{row['value']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


if __name__ == "__main__":
    command_line(__doc__, "zoo", datasets=DATASETS, rankers=RANKERS, measure=measure, show=show)
