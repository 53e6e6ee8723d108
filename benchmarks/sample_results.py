"""All results of the README: skip prediction and CTR, real samples and made world, by the commands themselves.

    python benchmarks/sample_results.py --samples DIR [--work runs/results] [--only skip_kuairand ...]

Each part runs `segrec` commands (printed), three seeds, and writes benchmarks/results/PART.json: the commands, the
machine and the metric rows over seeds. A part that was stopped goes on: finished runs in --work are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from parts import SEEDS, Part

KUAIRAND_DAYS = ["--valid-from", "2022-04-29", "--test-from", "2022-04-30"]
LABELS = ("is_click", "long_view")


def kuairand(part: Part, only: str | None = None) -> Path:
    more = ["--only", only] if only else []
    name = f"kuairand_{only}" if only else "kuairand"
    source = part.samples / "kuairand_pure_sample"
    return part.segrec("read", "kuairand", source, *KUAIRAND_DAYS, *more, makes=part.work / name)


def skip(part: Part, dataset: Path, paper_seeds: tuple[int, ...] = SEEDS) -> None:
    """Our default with three seeds and the paper's variant, which takes ten times as long, with `paper_seeds`."""
    runs = [
        part.segrec(
            "fit", "segment_interest", dataset, "--set", f"variant={variant}", "--set", f"seed={seed}",
            makes=part.work / f"{dataset.name}_{variant}_{seed}",
        )
        for variant, seeds in (("hazard", SEEDS), ("paper", paper_seeds))
        for seed in seeds
    ]  # fmt: skip
    part.finish(
        {"skip": part.segrec("evaluate", "skip", *runs, dataset, makes=part.work / f"skip_{dataset.name}.json")}
    )


def skip_kuairand(part: Part) -> None:
    skip(part, kuairand(part))


def skip_kuairand_click(part: Part) -> None:
    skip(part, kuairand(part, "is_click"), paper_seeds=(1,))


def skip_segmm(part: Part) -> None:
    source = part.samples / "segmm_sample"
    skip(part, part.segrec("read", "segmm", source, "--split", "users", makes=part.work / "segmm"))


def world(part: Part) -> Path:
    source = part.segrec("simulate", "short", "--seed", "11", makes=part.work / "world_source")
    return part.segrec("read", "kuairand", source, makes=part.work / "world")


def skip_world(part: Part) -> None:
    skip(part, world(part), paper_seeds=())


def ctr(part: Part, dataset: Path, labels: tuple[str, ...], weights: bool) -> None:
    """DCN-V2 with the scores of one encoder as features, beside none and placebos; then as SegRec weights."""
    encoder = part.segrec(
        "fit", "segment_interest", dataset, "--set", "variant=hazard", "--set", "seed=1",
        makes=part.work / f"{dataset.name}_hazard_1",
    )  # fmt: skip
    scores = part.segrec(
        "score", encoder, dataset, "--cross-fit", "4", makes=part.work / f"scores_{dataset.name}.parquet"
    )
    tables = {}
    for label in labels:
        features = ranked(part, dataset, label, scores, "features")
        placebos = part.work / f"ctr_{dataset.name}_{label}_features"
        file = placebos.with_suffix(".json")
        tables[f"{label} features"] = part.segrec("evaluate", "ctr", *features, dataset, "--placebo", makes=file)
        if weights:
            without = [placebos / run.name / f"without.{seed}" for run, seed in zip(features, SEEDS, strict=True)]
            against = [word for run in without for word in ("--against", run)]
            file = part.work / f"ctr_{dataset.name}_{label}_weights.json"
            runs = ranked(part, dataset, label, scores, "weights")
            tables[f"{label} weights"] = part.segrec("evaluate", "ctr", *runs, dataset, *against, makes=file)
    part.finish(tables)


def ranked(part: Part, dataset: Path, label: str, scores: Path, use: str) -> list[Path]:
    return [
        part.segrec(
            "rank", "dcn_v2", dataset, "--label", label, "--scores", scores, "--set", f"scores.use={use}", "--set",
            f"seed={seed}", makes=part.work / f"{dataset.name}_dcn_v2_{label}_{use}_{seed}",
        )
        for seed in SEEDS
    ]  # fmt: skip


def ctr_kuairand(part: Part) -> None:
    ctr(part, kuairand(part), LABELS, weights=True)


def ctr_world(part: Part) -> None:
    """is_click with score features beside none; the oracle knows what there was to gain."""
    dataset = world(part)
    encoder = part.segrec(
        "fit", "segment_interest", dataset, "--set", "variant=hazard", "--set", "seed=1",
        makes=part.work / "world_hazard_1",
    )  # fmt: skip
    scores = part.segrec("score", encoder, dataset, "--cross-fit", "4", makes=part.work / "scores_world.parquet")
    scored = ranked(part, dataset, "is_click", scores, "features")
    without = [word for run in ranked(part, dataset, "is_click", scores, "none") for word in ("--against", run)]
    file = part.segrec("evaluate", "ctr", *scored, dataset, *without, makes=part.work / "ctr_world.json")
    part.finish({"is_click features": file})


PARTS: dict[str, Callable[[Part], None]] = {
    "skip_kuairand": skip_kuairand,
    "skip_kuairand_click": skip_kuairand_click,
    "skip_segmm": skip_segmm,
    "skip_world": skip_world,
    "ctr_kuairand": ctr_kuairand,
    "ctr_world": ctr_world,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="folder of the real samples")
    parser.add_argument("--work", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    for name in arguments.only:
        PARTS[name](Part(name, arguments.work.resolve(), arguments.samples.resolve()))


if __name__ == "__main__":
    main()
