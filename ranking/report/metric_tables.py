"""Metric rows as tables: one a task, protocol, split and cohort; the run's own models first, the best value marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ranking.report.metric_names import EXIT_SHARE, ORACLE_SHARE, better, in_order
from segrec.records import MetricRow

TASKS = {"skip": "Skip prediction", "ctr": "CTR prediction", "highlight": "Highlight ranking"}

_PLACEBO = "+placebo_"

PROTOCOLS = {
    "fit": "measured while fitting",
    "exit": "the whole distribution: exit in a segment, or watched to the end",
    "masked_skip": "the video's own segments, views that ended early, ties by expected rank",
    "live": "the rate of each segment (tau-b of orders; a constant prediction orders nothing: 0)",
    "kuailive_m3": "the KuaiLive-M3 highlight benchmark's labels and split",
    "slots40": "the SegMM paper's: 40 slots for every row, padding included",
}


Part = Literal["values", "of_oracle", "thresholds"]
_PARTS: dict[Part, str] = {
    "values": "", "of_oracle": ": share of the oracle’s lift", "thresholds": ": segments above a true rate",
}  # fmt: skip
_PRIORS = {
    "skip": "of (length, position)", "ctr": "of length (in live rooms: of the room’s age)", "highlight": "last_value",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One value as text, with its interval."""

    value: str
    interval: str | None
    best: bool


@dataclass(frozen=True)
class Line:
    """One model's values, in the table's order of metrics; None where there is none."""

    model: str
    own: bool
    "A model of the runs on this page, not a baseline."
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class MetricTable:
    """Rows that were measured on the same thing."""

    task: str
    protocol: str
    split: str
    cohort: str
    part: Part
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    rows_measured: str

    @property
    def title(self) -> str:
        """`Protocol exit`, `Label is_click`."""
        kind = "Label" if self.task == "ctr" else "Protocol"
        return f"{kind} {self.protocol}{_PARTS[self.part]}"

    @property
    def headline(self) -> bool:
        """Shown at once; the others are folded: cohorts, other splits, the protocol of published tables."""
        return (
            self.cohort == "all" and self.split == "test" and self.protocol != "slots40" and self.part != "thresholds"
        )

    @property
    def told(self) -> str:
        """What was measured, on which rows."""
        said = PROTOCOLS.get(self.protocol)
        shares = (
            f"; (model − prior) / (oracle − prior), the prior {_PRIORS[self.task]}" if self.part == "of_oracle" else ""
        )
        rows = f"{self.rows_measured} {self.split} rows" + ("" if self.cohort == "all" else f", {self.cohort}")
        return f"{rows}; {said}{shares}." if said else f"{rows}{shares}."


def metric_tables(rows: Iterable[MetricRow], own: Sequence[str]) -> list[MetricTable]:
    """All tables, `exit` first, shares of the oracle's lift behind their values; paired differences stand elsewhere.

    A model's only seed is left out where there is a row over its seeds.
    """
    groups: dict[tuple[str, str, str, str, Part], list[MetricRow]] = {}
    for row in _without_lone_seeds([row for row in rows if row.versus is None]):
        if not row.metric.startswith(EXIT_SHARE):
            groups.setdefault((row.task, row.protocol, row.split, row.cohort, _part(row.metric)), []).append(row)
    ordered = sorted(groups, key=lambda key: (key[0], key[1] != "exit"))
    return [_table(key, groups[key], own) for key in ordered]


def _part(metric: str) -> Part:
    if metric.startswith(ORACLE_SHARE):
        return "of_oracle"
    return "thresholds" if metric.startswith("tau_") and "@" in metric else "values"


def _without_lone_seeds(rows: list[MetricRow]) -> Iterator[MetricRow]:
    places: dict[tuple[str, ...], set[int | None]] = {}
    for row in rows:
        places.setdefault(_place(row), set()).add(row.seed)
    for row in rows:
        if row.seed is None or len(places[_place(row)]) != 2 or None not in places[_place(row)]:
            yield row


def _place(row: MetricRow) -> tuple[str, ...]:
    return row.task, row.protocol, row.split, row.cohort, row.model


def is_own(model: str, own: Sequence[str]) -> bool:
    """True for a run's model and its variants, not for placebos."""
    return _PLACEBO not in model and any(model == name or model.startswith((f"{name}:", f"{name} ")) for name in own)


def model_label(row: MetricRow) -> str:
    """The model, with its seed where the row is of one seed."""
    return row.model if row.seed is None else f"{row.model}, seed {row.seed}"


def number(value: float) -> str:
    """A value with four digits after the point; an en dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.4f}".replace("-", "−")


def percent(value: float) -> str:
    """A share in percent; an en dash where there is none."""
    return "–" if math.isnan(value) else f"{round(100 * value)}%".replace("-", "−")


def interval(row: MetricRow, form: Callable[[float], str] = number) -> str | None:
    """`low to high`, or None."""
    if row.low is None or row.high is None:
        return None
    return f"{form(row.low)} to {form(row.high)}"


def _table(key: tuple[str, str, str, str, Part], rows: list[MetricRow], own: Sequence[str]) -> MetricTable:
    metrics = in_order({row.metric for row in rows})
    best = {metric: _best([row for row in rows if row.metric == metric]) for metric in metrics}
    models: dict[str, dict[str, MetricRow]] = {}
    for row in rows:
        models.setdefault(model_label(row), {})[row.metric] = row
    lines = [
        Line(
            label,
            is_own(next(iter(found.values())).model, own),
            tuple(_cell(found.get(metric), best[metric]) for metric in metrics),
        )
        for label, found in models.items()
    ]
    counts = sorted({row.n for row in rows})
    measured = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    ordered = sorted(lines, key=lambda line: not line.own)
    return MetricTable(*key, metrics=tuple(metrics), lines=tuple(ordered), rows_measured=measured)


def _knows_truth(row: MetricRow) -> bool:
    """oracle, oracle_rate: nothing to choose."""
    return row.model.startswith("oracle")


def _best(rows: list[MetricRow]) -> float | None:
    """The best value of one metric among models that do not know the truth; None when there is nothing to choose."""
    values = [row.value for row in rows if not math.isnan(row.value) and not _knows_truth(row)]
    if len(values) < 2 or min(values) == max(values):
        return None
    choose: dict[str, Callable[[], float | None]] = {
        "lower": lambda: min(values),
        "higher": lambda: max(values),
        "one": lambda: min(values, key=lambda value: abs(value - 1)),
        "neither": lambda: None,
    }
    return choose[better(rows[0].metric)]()


def _cell(row: MetricRow | None, best: float | None) -> Cell | None:
    if row is None or math.isnan(row.value):
        return None
    form = percent if row.metric.startswith(ORACLE_SHARE) else number
    text = f"{row.value:,.0f}" if better(row.metric) == "neither" else form(row.value)
    return Cell(text, interval(row, form), best is not None and row.value == best and not _knows_truth(row))
