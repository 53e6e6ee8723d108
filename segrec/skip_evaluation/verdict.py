"""The counting rule: when personalisation brought something, said with the intervals it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segrec.records import MetricRow
from segrec.skip_evaluation.tables import ITEM_PRIOR, TREES


@dataclass(frozen=True)
class Condition:
    """One paired interval and what is asked of it."""

    protocol: str
    metric: str
    versus: str
    wanted: str

    def holds(self, row: MetricRow) -> bool | None:
        """None where the row has no interval."""
        if row.low is None or row.high is None:
            return None
        return {
            "wholly below 0": row.high < 0,
            "not wholly above 0": row.low <= 0,
            "not wholly below 0": row.high >= 0,
        }[self.wanted]


CONDITIONS = (
    Condition("exit", "NLL", ITEM_PRIOR, "wholly below 0"),
    Condition("exit", "NLL", TREES, "not wholly above 0"),
    Condition("masked_skip", "NDCG@5", ITEM_PRIOR, "not wholly below 0"),
)
"A model counts when all hold, on all views, over its seeds."


@dataclass(frozen=True)
class Verdict:
    """Whether a model counts; None where a comparison is missing."""

    model: str
    counts: bool | None
    reasons: tuple[str, ...]
    "A line a condition."

    def __str__(self) -> str:
        word = {True: "counts", False: "does not count", None: "undecided"}[self.counts]
        return "\n".join([f"{self.model}: {word}", *(f"  {reason}" for reason in self.reasons)])


def verdicts(rows: Sequence[MetricRow], cohort: str = "all") -> list[Verdict]:
    """A verdict on each model that was compared with the shrunk item prior, the trees themselves left out."""
    compared = [row for row in rows if row.versus is not None and row.cohort == cohort and row.seed is None]
    models = dict.fromkeys(row.model for row in compared if row.model != TREES)
    return [_verdict(model, [row for row in compared if row.model == model]) for model in models]


def _verdict(model: str, rows: Sequence[MetricRow]) -> Verdict:
    found = {(row.protocol, row.metric, row.versus): row for row in rows}
    held, reasons = [], []
    for condition in CONDITIONS:
        row = found.get((condition.protocol, condition.metric, condition.versus))
        name = f"{condition.metric} - {condition.versus}"
        answer = None if row is None else condition.holds(row)
        held.append(answer)
        if row is None or answer is None:
            reasons.append(f"{name}: not measured (wanted: {condition.wanted})")
        else:
            interval = f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
            reasons.append(f"{name} = {interval}, {condition.wanted}: {'yes' if answer else 'no'}")
    counts = False if False in held else None if None in held else True
    return Verdict(model, counts, tuple(reasons))
