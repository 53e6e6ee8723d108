"""Prints the tables of README's results from benchmarks/results, as Markdown.

python benchmarks/results_table.py
"""

from __future__ import annotations

import json
import sys
from typing import Any

from machine import RESULTS

SKIP = {
    "skip_kuairand": "KuaiRand-Pure sample, all views",
    "skip_kuairand_click": "KuaiRand-Pure sample, clicked views",
    "skip_segmm": "SegMM sample, split by users",
    "skip_world": "made world, seed 11",
}
SKIP_MODELS = (
    "length_position", "item_shrunk", "user_shrunk", "lightgbm_hazard", "segment_interest:paper",
    "segment_interest:hazard", "oracle",
)  # fmt: skip
CTR = {"ctr_kuairand": "KuaiRand-Pure sample", "ctr_world": "made world, seed 11"}
CTR_METRICS = ("AUC", "gauc_impression", "LogLoss")
PEERS = ("dcn_v2", "lightgbm", "logistic_regression_sklearn", "torch_rechub_dcn_v2", "fuxictr_dcn_v2")

Rows = list[dict[str, Any]]


def main() -> None:
    for name, title in SKIP.items():
        if found := read(name):
            skip_table(title, found["rows"]["skip"])
    if found := read("ctr_peers"):
        peers_table(found["rows"])
    for name, title in CTR.items():
        if found := read(name):
            for kind, rows in found["rows"].items():
                ctr_table(f"{title}, {kind}", rows)


def read(name: str) -> dict[str, Any] | None:
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        print(f"{name}: not measured (no {file.name})", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def skip_table(title: str, rows: Rows) -> None:
    kept = [row for row in rows if row["cohort"] == "all" and row["protocol"] in ("exit", "masked_skip")]
    views = next(row["n"] for row in kept if row["metric"] == "NLL")
    header(
        "model",
        "NLL",
        "NDCG@5",
        "NLL - item_shrunk",
        "NLL - trees",
        "NDCG@5 - item_shrunk",
        title=f"{title}: {views:,} test views",
    )
    for model in SKIP_MODELS:
        if not any(row["model"] == model for row in kept):
            continue
        cells = [value(kept, model, None, "NLL", 4), value(kept, model, None, "NDCG@5", 4)]
        cells += [value(kept, model, other, "NLL", 3) for other in ("item_shrunk", "lightgbm_hazard")]
        line(model, *cells, value(kept, model, "item_shrunk", "NDCG@5", 3))
    for model in SKIP_MODELS:
        for metric in ("NLL", "NDCG@5"):
            share = value(kept, model, None, f"oracle_share_{metric}", 2)
            if model.startswith("segment_interest") and share:
                print(f"\n{model}: share of the oracle's lift over length_position, {metric}: {share}")


def peers_table(rows: Rows) -> None:
    for label in dict.fromkeys(row["protocol"] for row in rows):
        kept = [row for row in rows if row["protocol"] == label and row["cohort"] == "all" and row["seed"] is None]
        header(
            "model", "AUC", "GAUC", "ours - it, AUC", "ours - it, GAUC", title=f"peers, {label}: {kept[0]['n']:,} rows"
        )
        for model in PEERS:
            own = [value(kept, model, None, metric, 4) for metric in CTR_METRICS[:2]]
            line(model, *own, *(value(kept, PEERS[0], model, metric, 4) for metric in CTR_METRICS[:2]))


def ctr_table(title: str, rows: Rows) -> None:
    for cohort in ("all", "first_of_user"):
        kept = [row for row in rows if row["cohort"] == cohort]
        header("model", *CTR_METRICS, title=f"{title}, {cohort}: {kept[0]['n']:,} rows")
        for model, versus in dict.fromkeys((row["model"], row["versus"]) for row in kept):
            if model.startswith(("dcn_v2", "oracle")):
                name = model if versus is None else f"{model} - {versus}"
                line(name, *(value(kept, model, versus, metric, 4) for metric in CTR_METRICS))
        share = value(kept, "dcn_v2:features", None, "oracle_share_AUC", 2)
        if share:
            print(f"\ndcn_v2:features: share of the oracle's lift, AUC: {share}")


def value(rows: Rows, model: str, versus: str | None, metric: str, digits: int) -> str:
    for row in rows:
        if (row["model"], row["versus"], row["metric"]) == (model, versus, metric) and row["value"] is not None:
            sign = "+" if versus else ""
            if row["low"] is None:
                return f"{row['value']:{sign}.{digits}f}"
            return f"{row['value']:{sign}.{digits}f} [{row['low']:{sign}.{digits}f}, {row['high']:{sign}.{digits}f}]"
    return ""


def header(*names: str, title: str) -> None:
    print(f"\n**{title}**\n")
    line(*names)
    line(*("---" for _ in names))


def line(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
