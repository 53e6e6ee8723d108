"""Run folders made by hand: a small dataset, an encoder's scores, metric rows and TensorBoard events; live runs; a
browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from torch.utils.tensorboard import SummaryWriter

from ranking.rankers import find_ranker
from ranking.training.segment_run import train_segment_ranker
from segrec.encoders import find_encoder
from segrec.encoders.encoder_runs import fit_encoder
from segrec.highlight_evaluation import live_table
from segrec.records import (
    DatasetFolder,
    DatasetMeta,
    MetricRow,
    RunMeta,
    ScoreMeta,
    SplitRule,
    write_metric_rows,
    write_run_meta,
    write_score_table,
)
from segrec.testing.live_dataset import make_live_dataset

FINGERPRINT = "f" * 64
HOSTILE = "<script>alert(1)</script>"


def make_dataset(folder: Path, users: int = 60, fingerprint: str = FINGERPRINT) -> DatasetFolder:
    """Ten test views a user: videos of 2 to 12 segments, a constant hazard of 0.2 a segment, drawn with seed 1."""
    rng = np.random.default_rng(1)
    rows = users * 10
    lengths = rng.integers(2, 13, rows)
    duration = lengths * 5000 - 1000
    left = np.minimum(rng.geometric(0.2, rows) - 1, lengths)
    watch = np.where(left >= lengths, duration, np.minimum(left * 5000 + 2500, duration - 1))
    frame = pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), 10),
            "item_id": rng.integers(1000, 1400, rows),
            "author_id": rng.integers(1, 9, rows),
            "time_ms": 1_650_000_000_000 + np.arange(rows) * 60_000,
            "duration_ms": duration,
            "watch_ms": watch,
            "split": ["test"] * rows,
            "is_click": (left > 0).astype(np.int8),
        }
    )
    day = folder / "interactions" / "day=2022-04-15"
    day.mkdir(parents=True)
    frame.write_parquet(day / "part-0.parquet")
    meta = DatasetMeta(
        format="table", split=SplitRule(rule="time"), rows={"train": 0, "valid": 0, "test": rows},
        rejected={"duration_ms <= 0": 12, "exact duplicate": 3}, flags=["is_click"], licence="made by hand",
        source=HOSTILE, fingerprint=fingerprint,
    )  # fmt: skip
    (folder / "dataset.json").write_text(meta.model_dump_json(), encoding="utf-8")
    return DatasetFolder.open(folder)


def make_truth(dataset: DatasetFolder) -> None:
    """truth.parquet with the hazard that the dataset was drawn from."""
    rows = dataset.interactions().select("user_id", "item_id", "time_ms", "duration_ms").collect()
    counts = (rows["duration_ms"] + 4999) // 5000
    truth = rows.drop("duration_ms").with_columns(hazard=pl.Series([[0.2] * count for count in counts]))
    truth.write_parquet(dataset.path / "truth.parquet")


def make_scores(file: Path, dataset: DatasetFolder, kind: str = "stay_probability") -> Path:
    """A personal score table: stay probability 0.8 with a little noise, for every row."""
    rng = np.random.default_rng(2)
    rows = dataset.interactions().select("user_id", "item_id", "time_ms", "duration_ms").collect()
    counts = ((rows["duration_ms"] + 4999) // 5000).to_list()
    lists = [np.clip(0.8 + 0.06 * rng.standard_normal(count), 0.05, 0.99).tolist() for count in counts]
    meta = ScoreMeta(
        form="personal", kind=kind, encoder="segment_interest", encoder_hash="a" * 64,
        dataset_fingerprint=dataset.meta.fingerprint, segment_ms=5000, trained_until_ms=1, fitted_on=["train"],
    )  # fmt: skip
    write_score_table(file, [rows.drop("duration_ms").with_columns(scores=pl.Series(lists))], meta)
    return file


def row(task: str, protocol: str, model: str, metric: str, value: float, **more: object) -> MetricRow:
    """A metric row of 600 test rows with an interval of +- 0.01."""
    given = {"low": value - 0.01, "high": value + 0.01, "n": 600, "split": "test", **more}
    return MetricRow.model_validate(
        {"task": task, "protocol": protocol, "model": model, "metric": metric, "value": value, **given}
    )


SKIP_ROWS = [
    row("skip", "exit", "item_shrunk", "NLL", 1.762),
    row("skip", "exit", "lightgbm_hazard", "NLL", 1.730),
    row("skip", "exit", "segment_interest", "NLL", 1.721),
    row("skip", "exit", "segment_interest", "NLL", 1.801, cohort="cold"),
    row("skip", "exit", "segment_interest", "NLL", -0.041, versus="item_shrunk"),
    row("skip", "exit", "segment_interest", "NLL", -0.009, versus="lightgbm_hazard"),
    row("skip", "masked_skip", "item_shrunk", "NDCG@5", 0.713),
    row("skip", "masked_skip", "segment_interest", "NDCG@5", 0.719),
    row("skip", "masked_skip", "segment_interest", "HR@1", float("nan"), low=None, high=None),
    row("skip", "masked_skip", "segment_interest", "NDCG@5", 0.006, versus="item_shrunk"),
]

CTR_ROWS = [
    row("ctr", "is_click", "dcn_v2", "AUC", 0.7421, n=900),
    row("ctr", "is_click", "dcn_v2", "calibration_ratio", 1.012, n=900),
    row("ctr", "is_click", "oracle", "AUC", 0.8021, n=900),
    row("ctr", "is_click", "dcn_v2", "AUC", 0.0151, versus="dcn_v2:no_scores", n=900),
    row("ctr", "is_click", "dcn_v2", "AUC", 0.0131, versus="dcn_v2+placebo_shuffled", n=900),
]


def make_run(folder: Path, kind: str, dataset: DatasetFolder, **more: object) -> Path:
    """A run folder with config, run.json, metric rows of its task, and thirty steps of events."""
    folder.mkdir(parents=True)
    name = "segment_interest" if kind == "encoder" else "dcn_v2"
    meta = {
        "kind": kind, "name": name, "seed": 7, "dataset": str(dataset.path), "dataset_fingerprint": FINGERPRINT,
        "label": "is_click" if kind == "ranker" else None, "versions": {"torch": "2.13.0", "torchrec": "1.8.0"}, **more,
    }  # fmt: skip
    write_run_meta(folder, RunMeta.model_validate(meta))
    (folder / "config.yaml").write_text(f"epochs: 3\nnote: '{HOSTILE}'\n", encoding="utf-8")
    write_metric_rows(folder / "metrics.json", [])
    rows = SKIP_ROWS if kind == "encoder" else CTR_ROWS
    write_metric_rows(folder / f"{'skip' if kind == 'encoder' else 'ctr'}_test.json", rows)
    writer = SummaryWriter(str(folder / "events"))
    for step in range(1, 31):
        writer.add_scalar("train/loss", 1.5 / step + 0.5, step)
        writer.add_scalar("train/samples_per_second", 1000.0 + step, step)
    writer.add_scalar("valid/NLL", 1.9, 15)
    writer.add_scalar("valid/NLL", 1.8, 30)
    writer.close()
    return folder


_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What one visit left behind."""

    dom: str
    log: str
    asked: list[str]
    "Addresses that the page asked for; Chromium's own calls home (initiator `not an origin`) are not the page's."


@dataclass(frozen=True)
class Browser:
    """Headless Chromium behind a proxy that is not there: nothing leaves the machine."""

    binary: str
    home: Path

    def visit(self, page: Path, *flags: str) -> Seen:
        profile = self.home / f"profile{len(list(self.home.iterdir()))}"
        netlog = profile.with_suffix(".json")
        own = [f"--user-data-dir={profile}", f"--log-net-log={netlog}", "--proxy-server=http://127.0.0.1:9"]
        command = [self.binary, *_FLAGS, *own, *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Seen(done.stdout, done.stderr, _asked(netlog))

    def too_wide(self, page: Path, width: int) -> int:
        """Pixels that the page scrolls sideways: told by a copy of it without its ban on scripts."""
        script = "const all = document.documentElement; document.title = `${all.scrollWidth - all.clientWidth} px`"
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
        copy = self.home / "copy.html"
        copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
        seen = self.visit(copy, f"--window-size={width},900", "--dump-dom")
        found = re.search(r"<title>(-?\d+) px</title>", seen.dom)
        assert found is not None
        return int(found[1])


def _asked(netlog: Path) -> list[str]:
    events = json.loads(netlog.read_text(encoding="utf-8"))["events"]
    starts = [event.get("params", {}) for event in events]
    own = ("not an origin", None)
    return [start["url"] for start in starts if "url" in start and start.get("initiator") not in own]


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    binary = next((found for found in map(shutil.which, _NAMES) if found), None)
    if binary is None:
        pytest.skip("Chromium is not installed: the page is not looked at (apt-get install chromium)")
    return Browser(binary, tmp_path_factory.mktemp("chromium"))


class Made:
    """What tests make by hand, in one tmp_path."""

    fingerprint, hostile, skip_rows, ctr_rows = FINGERPRINT, HOSTILE, SKIP_ROWS, CTR_ROWS
    dataset = staticmethod(make_dataset)
    truth = staticmethod(make_truth)
    scores = staticmethod(make_scores)
    run = staticmethod(make_run)
    row = staticmethod(row)


@pytest.fixture
def made() -> type[Made]:
    """The makers of datasets, score tables, metric rows and run folders."""
    return Made


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    """600 test views, hazard 0.2 a segment."""
    return make_dataset(tmp_path / "dataset")


@pytest.fixture
def encoder_run(tmp_path: Path, dataset: DatasetFolder) -> Path:
    """An encoder run with a score table inside it."""
    folder = make_run(tmp_path / "encoder", "encoder", dataset)
    make_scores(folder / "scores.parquet", dataset)
    return folder


@pytest.fixture
def runs(tmp_path: Path, dataset: DatasetFolder) -> Path:
    """A folder with an encoder and a ranker run, scores and truth: every section of its page is drawn."""
    make_truth(dataset)
    folder = tmp_path / "runs"
    make_run(folder / "encoder", "encoder", dataset)
    scores = make_scores(folder / "scores.parquet", dataset)
    make_run(folder / "ranker", "ranker", dataset, scores=str(scores))
    return folder


SMALL = ("epochs=1", "width=16", "heads=2", "window=6", "min_count=1", "device=cpu")
PAIRWISE = ("variant=paper", "fusion_layers=1", "layers=1", "min_viewers=null", "batch_size=64", "log_every=1")


@pytest.fixture(scope="session")
def live_dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """20 rooms of 12 to 18 segments, 3 of them test rooms."""
    return make_live_dataset(tmp_path_factory.mktemp("live") / "dataset", rooms=20, segments=18, width=6)


@pytest.fixture(scope="session")
def live_runs(tmp_path_factory: pytest.TempPathFactory, live_dataset: DatasetFolder) -> Path:
    """A folder with an encoder, one with pairwise and alignment losses, a ranker of segments, and their metric rows."""
    folder = tmp_path_factory.mktemp("live_runs")
    for name, sets in {"encoder": (*SMALL, "epochs=8"), "pair_L1": (*PAIRWISE, *SMALL)}.items():
        config = find_encoder("kuaihl").Config.of(sets=sets)
        fit_encoder("kuaihl", config, live_dataset, folder / name)
    ranker = find_ranker("wide_deep").config.of(sets=["epochs=1", "device=cpu"])
    train_segment_ranker("wide_deep", live_dataset, folder / "ranker", rate="lvtr", shift=1, config=ranker)
    runs = [str(folder / "encoder"), str(folder / "ranker")]
    write_metric_rows(folder / "highlight_test.json", live_table(live_dataset, runs, window=6))
    return folder
