"""SegRec on four rankers, in the shape of the SegMM paper's Table 4: label effective_view, five seeds.

    python benchmarks/segrec_results.py --samples DIR [--work runs/segrec] [--jobs 2] [--only segmm kuairand world]
    python benchmarks/segrec_results.py --print

Each part reads a data set, makes the weights (an encoder, trees, counted priors; train rows out of fold), trains each
ranker under each setting, and writes benchmarks/results/segrec_PART.json; --print makes the tables from those files.
All rankers see the same few features (ONLY), so that AdaGIN's graph over fields stays small, and take the segment's
position at the head; the softmax's temperature of each kind of weights was chosen on valid (`wide_deep`, seed 0).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import RESULTS
from parts import Call, Part, Row, command_line
from sample_results import kuairand, world
from scipy import stats

SEEDS = (1, 2, 3, 4, 5)
RANKERS = ("wide_deep", "adagin", "din", "can")
LABEL = "effective_view"
ONLY = ("user_id", "item_id", "author_id", "hour", "tab", "tag", "duration", "log_duration")
PRIORS = {
    "ItemPosition": "item",
    "item_shrunk": "item_shrunk",
    "length_position": "length_position",
    "trees": "lightgbm_hazard",
}
TEMPERATURES = (1.0, 0.3, 0.1, 0.03)
SHOWN = ("AUC", "F1", "LogLoss")
SETTINGS = ("Video", "SegSum", "SegAdjust", *PRIORS, "SegRec", "SegRec, input", "features", "SegRec + features")


def segmm(part: Part) -> Path:
    source = part.samples / "segmm_sample"
    return part.segrec("read", "segmm", source, "--split", "users", makes=part.work / "segmm")


DATASETS: dict[str, Callable[[Part], Path]] = {"segmm": segmm, "kuairand": kuairand, "world": world}


@dataclass(frozen=True)
class Grid:
    """One data set's runs."""

    part: Part
    dataset: Path
    tables: dict[str, Path]
    "Score tables by where the weights come from."
    temperatures: dict[str, float]

    def call(self, ranker: str, setting: str, seed: int) -> Call:
        """The `segrec rank` of one cell."""
        words = ["rank", ranker, self.dataset, "--label", LABEL, *common(self.dataset), "--set", f"seed={seed}"]
        for assignment in assignments(setting, self.temperatures):
            words += ["--set", assignment]
        source = "SegRec" if "SegRec" in setting or setting == "features" else setting
        if source in self.tables:
            words += ["--scores", self.tables[source]]
        name = setting.replace(", ", "_").replace(" + ", "_")
        return Call(words, self.part.work / f"{self.dataset.name}_{ranker}_{name}_{seed}")

    def evaluated(self, ranker: str) -> Path:
        """One file: every setting, and its paired difference to Video."""

        def named(setting: str) -> list[str]:
            return [f"{setting}={self.call(ranker, setting, seed).makes}" for seed in SEEDS]

        own = [word for setting in SETTINGS if setting != "Video" for word in named(setting)]
        against = [word for run in named("Video") for word in ("--against", run)]
        file = self.part.work / f"segrec_{self.dataset.name}_{ranker}.json"
        return self.part.segrec("evaluate", "ctr", *own, self.dataset, *against, makes=file)


def measure(part: Part, dataset: Path, rankers: Sequence[str]) -> None:
    """Fits and evaluates everything; runs that are there already are kept."""
    tables = score_tables(part, dataset)
    temperatures = {name: chosen_temperature(part, dataset, name, table) for name, table in tables.items()}
    grid = Grid(part, dataset, tables, temperatures)
    part.many([grid.call(ranker, setting, seed) for ranker in rankers for setting in SETTINGS for seed in SEEDS])
    part.finish({ranker: grid.evaluated(ranker) for ranker in rankers}, keep=quoted)


def score_tables(part: Part, dataset: Path) -> dict[str, Path]:
    encoder = part.segrec(
        "fit", "segment_interest", dataset, "--set", "variant=hazard", "--set", "seed=1",
        makes=part.work / f"{dataset.name}_encoder",
    )  # fmt: skip
    sources = {"SegRec": [encoder], **{name: ["--prior", prior] for name, prior in PRIORS.items()}}
    return {
        name: part.segrec(
            "score", *source, dataset, "--cross-fit", "4", makes=part.work / f"scores_{dataset.name}_{name}.parquet"
        )
        for name, source in sources.items()
    }


def chosen_temperature(part: Part, dataset: Path, name: str, table: Path) -> float:
    """The one with the least LogLoss on valid."""
    calls = [
        Call(
            ["rank", "wide_deep", dataset, "--label", LABEL, *common(dataset), "--scores", table, "--set",
             "scores.use=weights", "--set", f"scores.temperature={value}", "--set", "seed=0"],
            part.work / f"{dataset.name}_temperature_{name}_{value}",
        )
        for value in TEMPERATURES
    ]  # fmt: skip
    losses = [valid_loss(folder) for folder in part.many(calls)]
    return TEMPERATURES[losses.index(min(losses))]


def valid_loss(run_folder: Path) -> float:
    rows: list[Row] = json.loads((run_folder / "metrics.json").read_text())
    return float(next(row["value"] for row in rows if row["metric"] == "LogLoss"))  # type: ignore[arg-type]


def common(dataset: Path) -> list[str]:
    """Features that the data set has, of ONLY."""
    meta = json.loads((dataset / "dataset.json").read_text())
    known = {"user_id", "item_id", "hour", "duration", "log_duration", *meta["context"], *meta["item_features"]}
    known |= {"author_id"} if meta["item_features"] else set()
    return ["--set", f"features.only=[{','.join(name for name in ONLY if name in known)}]"]


def assignments(setting: str, temperatures: dict[str, float]) -> list[str]:
    """What a setting is, as `--set` takes it."""
    if setting == "Video":
        return ["scores.use=none"]
    if setting in ("SegSum", "SegAdjust"):
        return ["scores.use=weights", f"scores.weighting={setting.lower()}"]
    if setting == "features":
        return ["scores.use=features"]
    use = "both" if setting == "SegRec + features" else "weights"
    enter = ["scores.enter=input"] if setting == "SegRec, input" else []
    source = setting if setting in PRIORS else "SegRec"
    return [f"scores.use={use}", f"scores.temperature={temperatures[source]}", *enter]


def quoted(row: Row) -> bool:
    """What the tables show, on all test rows; single seeds too: the t-test needs them."""
    return row["cohort"] == "all" and row["metric"] in SHOWN and row["versus"] in (None, "Video")


def show(name: str) -> None:
    """Prints the paper's table, then the differences to Video."""
    file = RESULTS / f"segrec_{name}.json"
    if not file.is_file():
        print(f"segrec_{name}: not measured\n")
        return
    rows: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())["rows"]
    first = next(iter(rows.values()))
    print(f"**{name}: {LABEL}, {first[0]['n']:,} test rows; AUC / F1 / LogLoss, mean of {len(SEEDS)} seeds**\n")
    table(rows, lambda found, setting: " / ".join(f"{value(found, setting, metric):.4f}" for metric in SHOWN))
    print("\nAUC - Video's: clustered 95% interval, p of a paired t-test over the seeds\n")
    table(rows, difference)
    print()


def table(rows: dict[str, list[dict[str, Any]]], cell: Callable[[Sequence[dict[str, Any]], str], str]) -> None:
    print("| setting | " + " | ".join(rows) + " |\n|" + " --- |" * (1 + len(rows)))
    for setting in SETTINGS:
        print(f"| {setting} | " + " | ".join(cell(found, setting) for found in rows.values()) + " |")


def value(rows: Sequence[dict[str, Any]], model: str, metric: str) -> float:
    return float(next(row["value"] for row in rows if same(row, model, metric, None) and row["seed"] is None))


def difference(rows: Sequence[dict[str, Any]], model: str) -> str:
    if model == "Video":
        return ""
    row = next(row for row in rows if same(row, model, "AUC", "Video") and row["seed"] is None)
    p = stats.ttest_rel(by_seed(rows, model), by_seed(rows, "Video")).pvalue
    return f"{row['value']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], p {p:.3f}"


def by_seed(rows: Sequence[dict[str, Any]], model: str) -> list[float]:
    found = {row["seed"]: row["value"] for row in rows if same(row, model, "AUC", None) and row["seed"] is not None}
    return [found[seed] for seed in SEEDS]


def same(row: dict[str, Any], model: str, metric: str, versus: str | None) -> bool:
    return bool(row["model"] == model and row["metric"] == metric and row["versus"] == versus)


if __name__ == "__main__":
    command_line(__doc__, "segrec", datasets=DATASETS, rankers=RANKERS, measure=measure, show=show)
