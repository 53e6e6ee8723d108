"""Tables of the live papers on the made live world, by the commands themselves.

    python benchmarks/live_results.py [--work runs/live_results] [--jobs 2] [--only content_ctr ...]

Each part runs `segrec` commands (printed), three seeds, and writes benchmarks/results/live_PART.json: the commands,
the machine and the metric rows over seeds. A part that was stopped goes on: finished runs in --work are kept.

content_ctr: ContentCTR's Tables 1, 3 and 4 (ctr of the segment). kuaihl: KuaiHL's Tables I to III (lvtr of the next).
offsets: what alignment brings when the text comes up to 0, 2 or 4 segments late. ranking: what live scores add to a
ranker of impressions, with placebos. benchmark_m3: the KuaiLive-M3 benchmark's own models and target.

The papers' body runs at a width that two cores can carry (PAPER below), with the papers' losses; `default` is ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from parts import SEEDS, Call, Part

WORLD_SEED = "11"
"Not used while anything was built or tuned."
ROOMS = "480"
RANKING_ROOMS = "120"
"Of the ranker's world: 650,000 impressions."
PAPER = (
    "variant=paper", "width=32", "heads=4", "fusion_layers=1", "layers=2", "dropout=0.1", "learning_rate=5e-4",
    "epochs=4", "min_viewers=null",
)  # fmt: skip
FUSIONS = (
    "self_attention_plain", "self_attention_input", "cross_attention_q", "cross_attention_kv", "cross_attention_qkv",
)  # fmt: skip
ABLATIONS: Mapping[str, Sequence[str]] = {
    "without item": ('modalities=["visual","text"]', "fusion=self_attention_plain"),
    "without text": ('modalities=["item","visual"]',),
    "without visual": ('modalities=["item","text"]',),
}
PAIRS: Mapping[str, Sequence[str]] = {
    "point": ("pair=none", "align=none"),
    "point + L0": ("pair=L0", "align=none"),
    "point + L1": ("pair=L1", "align=none"),
    "point + L2": ("pair=L2", "align=none"),
    "point + L3": ("pair=L3", "align=none"),
}
M3 = ("width=64", "epochs=30")
"The benchmark's models at a quarter of its width."
RANKERS = ("wide_deep", "deep_fm", "difm", "dcn_v2")
RANKING = (
    "--set",
    "features.without=[item_id,hour,room_age,log_room_age]",
    "--set",
    "epochs=2",
    "--set",
    "batch_size=4096",
)
"Rooms of the test days are new: a ranker that knows the train rooms by heart is worse for it."
OFFSETS = ("0", "2", "4")

Settings = Mapping[str, Sequence[str]]


def world(part: Part, *sets: str, name: str = "world", rooms: str = ROOMS) -> Path:
    words = [word for pair in sets for word in ("--set", pair)]
    source = part.segrec(
        "simulate", "live", "--seed", WORLD_SEED, "--rooms", rooms, *words, makes=part.work / f"{name}_source"
    )
    return part.segrec("read", "kuailive_m3", source, makes=part.work / name)


def fits(part: Part, encoder: str, dataset: Path, settings: Settings) -> list[str]:
    """NAME=RUN of each setting and seed."""
    named = [(name, sets, seed) for name, sets in settings.items() for seed in SEEDS]
    calls = []
    for name, sets, seed in named:
        words = [word for pair in (*sets, f"seed={seed}") for word in ("--set", pair)]
        folder = f"{dataset.name}_{encoder}_{name}_{seed}".replace(" ", "_")
        calls.append(Call(("fit", encoder, dataset, *words), part.work / folder))
    made = part.all_of(calls)
    return [f"{name}={run}" for (name, _, _), run in zip(named, made, strict=True)]


def ranked_segments(part: Part, dataset: Path, label: str, shift: str) -> list[Path]:
    """The papers' id models on segments, from lagged counts; W&D once with the papers' leak."""
    wanted = [(ranker, leak, seed) for ranker in RANKERS for leak in (False, True) for seed in SEEDS]
    calls = []
    for ranker, leak, seed in wanted:
        if leak and (ranker != "wide_deep" or shift == "1"):
            continue
        words = ["--set", "allow_leak=true"] if leak else []
        folder = f"{dataset.name}_{ranker}_{label}{'_leak' if leak else ''}_{seed}"
        calls.append(
            Call(
                ("rank", ranker, dataset, "--rows", "segments", "--label", label, "--shift", shift, *words, "--set",
                 f"seed={seed}"),
                part.work / folder,
            )
        )  # fmt: skip
    return part.all_of(calls)


def compact(row: dict[str, object]) -> bool:
    """Rows over seeds: thresholds and differences of all rooms only, tau alone of warm and cold streamers."""
    metric, whole = str(row["metric"]), row["cohort"] == "all"
    if row["seed"] is not None:
        return False
    return metric in ("tau_room", "tau_global") or (whole and (row["versus"] is None or "@" not in metric))


def content_ctr(part: Part) -> None:
    dataset = world(part)
    full = (*PAPER, "align=dtw")
    settings: dict[str, Sequence[str]] = {"content_ctr:default": (), "content_ctr:paper": full}
    settings |= {fusion: (*full, f"fusion={fusion}") for fusion in FUSIONS}
    settings |= {name: (*full, *sets) for name, sets in ABLATIONS.items()}
    settings |= {name: (*PAPER, *sets) for name, sets in PAIRS.items()}
    runs = [*fits(part, "content_ctr", dataset, settings), *ranked_segments(part, dataset, "ctr", "0")]
    file = part.work / "content_ctr.json"
    part.finish({"ctr, same segment": part.segrec("evaluate", "highlight", *runs, dataset, makes=file)}, compact)


def kuaihl(part: Part) -> None:
    dataset = world(part)
    full = (*PAPER, "align=mtam")
    settings: dict[str, Sequence[str]] = {"kuaihl:default": (), "kuaihl:paper": full}
    settings |= {name: (*full, *sets) for name, sets in ABLATIONS.items()}
    settings |= {name: (*PAPER, *sets) for name, sets in PAIRS.items()}
    settings |= {f"point + L1 + {align}": (*PAPER, f"align={align}") for align in ("dtw", "mtam_released")}
    runs = [
        *fits(part, "kuaihl", dataset, settings),
        *fits(part, "ant_pivot", dataset, {"ant_pivot": ()}),
        *ranked_segments(part, dataset, "lvtr", "1"),
    ]
    file = part.work / "kuaihl.json"
    part.finish({"lvtr, next segment": part.segrec("evaluate", "highlight", *runs, dataset, makes=file)}, compact)


def offsets(part: Part) -> None:
    """Worlds that differ in nothing but how far the text is off."""
    tables = {}
    for size in OFFSETS:
        dataset = world(part, f"content.largest_lag={size}", name=f"world_offset_{size}")
        settings = {f"align {align}": (*PAPER, f"align={align}") for align in ("none", "dtw", "mtam")}
        runs = fits(part, "kuaihl", dataset, settings)
        file = part.work / f"offset_{size}.json"
        tables[f"text up to {size} segments late"] = part.segrec("evaluate", "highlight", *runs, dataset, makes=file)
    part.finish(tables, compact)


def ranking(part: Part) -> None:
    """Clicks on live rooms: DCN-V2 without scores, with live scores, and with placebos."""
    dataset = world(part, name="ranking_world", rooms=RANKING_ROOMS)
    encoder = part.segrec("fit", "content_ctr", dataset, "--set", "seed=1", makes=part.work / "ranking_encoder")
    scores = part.segrec("score", encoder, dataset, "--cross-fit", "3", makes=part.work / "live_scores.parquet")
    runs = part.all_of(
        [
            Call(
                ("rank", "dcn_v2", dataset, "--label", "is_click", "--scores", scores, *RANKING, "--set",
                 f"seed={seed}"),
                part.work / f"live_dcn_v2_{seed}",
            )
            for seed in SEEDS
        ]
    )  # fmt: skip
    file = part.work / "ranking.json"
    part.finish({"is_click": part.segrec("evaluate", "ctr", *runs, dataset, "--placebo", makes=file)})


def benchmark_m3(part: Part) -> None:
    dataset = world(part)
    bodies = ("highlight_mlp", "highlight_gru", "highlight_causal", "highlight_hierarchical")
    runs = [run for body in bodies for run in fits(part, body, dataset, {body: M3})]
    file = part.work / "benchmark_m3.json"
    part.finish(
        {"kuailive_m3": part.segrec("evaluate", "highlight", *runs, dataset, "--protocol", "kuailive_m3", makes=file)}
    )


PARTS: dict[str, Callable[[Part], None]] = {
    "content_ctr": content_ctr,
    "kuaihl": kuaihl,
    "offsets": offsets,
    "ranking": ranking,
    "benchmark_m3": benchmark_m3,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/live_results"))
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time, one core each")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    for name in arguments.only:
        PARTS[name](Part(f"live_{name}", arguments.work.resolve(), jobs=arguments.jobs))


if __name__ == "__main__":
    main()
