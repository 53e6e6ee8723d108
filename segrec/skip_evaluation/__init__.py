"""Skip evaluation: who answers, three named protocols, intervals and paired differences, and whether a model counts."""

from segrec.skip_evaluation.answers import (
    Answer,
    SkipSplits,
    deterministic_answers,
    known_priors,
    oracle_answer,
    published_answers,
    run_answer,
    trees_answer,
)
from segrec.skip_evaluation.cohorts import Cohort, skip_cohorts
from segrec.skip_evaluation.protocols import Measured, measure
from segrec.skip_evaluation.tables import Entry, skip_rows
from segrec.skip_evaluation.verdict import Verdict, verdicts

__all__ = [
    "Answer", "Cohort", "Entry", "Measured", "SkipSplits", "Verdict", "deterministic_answers",
    "known_priors", "measure",
    "oracle_answer", "published_answers", "run_answer", "skip_cohorts", "skip_rows", "trees_answer", "verdicts",
]  # fmt: skip
