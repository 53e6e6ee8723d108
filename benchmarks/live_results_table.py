"""Prints the live tables of docs/live_results.md from benchmarks/results, as Markdown.

python benchmarks/live_results_table.py
"""

from __future__ import annotations

from collections.abc import Sequence

from results_table import Rows, header, line, read, value

SIMPLE = ("last_value", "room_mean", "streamer_mean", "minus_position")
ORACLES = ("oracle", "oracle_rate")
BODIES = (
    "self_attention_plain", "self_attention_input", "cross_attention_q", "cross_attention_kv", "cross_attention_qkv",
)  # fmt: skip
LIVE = ("tau_global", "tau_room", "tau_window")
THRESHOLDS = ("tau_room", "tau_room@0.2", "tau_room@0.4", "tau_room@0.6")
M3 = ("mAP", "F1@50%", "spearman", "tau_room", "kendall_pairs@0.2", "kendall_pairs@0.4")
RANKERS = ("wide_deep", "wide_deep+leak", "deep_fm", "difm", "dcn_v2")
ABLATIONS = ("without item", "without text", "without visual")
PAIRS = ("point", "point + L0", "point + L1", "point + L2", "point + L3")

TABLES: dict[str, Sequence[tuple[str, Sequence[str], Sequence[str]]]] = {
    "live_content_ctr": (
        (
            "ContentCTR, Table 1",
            (*SIMPLE, *RANKERS, *BODIES, "content_ctr:paper", "content_ctr:default", *ORACLES),
            LIVE,
        ),
        ("ContentCTR, Table 3", ("content_ctr:paper", *ABLATIONS), LIVE),
        ("ContentCTR, Table 4", (*PAIRS, "content_ctr:paper"), (*LIVE, "calibration_ratio")),
    ),
    "live_kuaihl": (
        ("KuaiHL, Table I", (*SIMPLE, *RANKERS, "ant_pivot", "kuaihl:paper", "kuaihl:default", *ORACLES), THRESHOLDS),
        ("the same, by grouping", (*SIMPLE, "ant_pivot", "kuaihl:paper", "kuaihl:default", *ORACLES), LIVE),
        (
            "KuaiHL, Table II",
            (*PAIRS, "point + L1 + dtw", "point + L1 + mtam_released", "kuaihl:paper"),
            (*LIVE, "calibration_ratio"),
        ),
        ("KuaiHL, Table III", ("kuaihl:paper", *ABLATIONS), LIVE),
    ),
    "live_offsets": (("alignment", ("last_value", "align none", "align dtw", "align mtam", "oracle"), LIVE),),
    "live_benchmark_m3": (
        (
            "KuaiLive-M3 benchmark",
            (
                "minus_position", "last_value", "room_mean", "chance", "highlight_mlp", "highlight_gru",
                "highlight_causal", "highlight_hierarchical",
            ),
            M3,
        ),
    ),
}  # fmt: skip


def main() -> None:
    for name, tables in TABLES.items():
        found = read(name)
        if found is None:
            continue
        for target, rows in found["rows"].items():
            kept = [row for row in rows if row["cohort"] == "all"]
            for title, models, metrics in tables:
                highlight_table(f"{title}; {target}", kept, models, metrics)
            shares(kept)
    if ranking := read("live_ranking"):
        for label, rows in ranking["rows"].items():
            ranking_table(f"live impressions, {label}", rows)


def highlight_table(title: str, rows: Rows, models: Sequence[str], metrics: Sequence[str]) -> None:
    counts = {row["metric"]: row["n"] for row in rows if row["versus"] is None}
    header("model", *(f"{metric} (n {counts.get(metric, 0):,})" for metric in metrics), title=title)
    for model in models:
        cells = [value(rows, model, None, metric, 3) for metric in metrics]
        if any(cells):
            line(model, *cells)


def shares(rows: Rows) -> None:
    """Of the default encoders: the share of the oracle's lift, and the difference to the best simple predictor."""
    for model in dict.fromkeys(row["model"] for row in rows if row["model"].endswith(":default")):
        for metric in ("tau_global", "tau_room"):
            share = value(rows, model, None, f"oracle_share_{metric}", 2)
            against = "; ".join(f"{name} {value(rows, model, name, metric, 3)}" for name in SIMPLE)
            print(f"\n{model}, {metric}: {share} of the oracle's lift over last_value; minus {against}")


def ranking_table(title: str, rows: Rows) -> None:
    kept = [row for row in rows if row["cohort"] == "all"]
    metrics = ("AUC", "gauc_impression", "LogLoss")
    header("model", *metrics, title=title)
    for model, versus in dict.fromkeys((row["model"], row["versus"]) for row in kept):
        if model.startswith(("dcn_v2", "author_shrunk", "oracle")):
            name = model if versus is None else f"{model} - {versus}"
            line(name, *(value(kept, model, versus, metric, 4) for metric in metrics))


if __name__ == "__main__":
    main()
