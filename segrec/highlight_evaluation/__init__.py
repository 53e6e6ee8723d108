"""Highlight evaluation: who answers, what is measured of live rooms, intervals over rooms and paired differences."""

from segrec.highlight_evaluation.answers import Answer, oracle_answers, simple_answers
from segrec.highlight_evaluation.live_protocol import live_measures
from segrec.highlight_evaluation.live_table import live_table
from segrec.highlight_evaluation.m3_protocol import m3_measures, m3_simple_answers, m3_table
from segrec.highlight_evaluation.tables import Entry, highlight_rows
from segrec.highlight_evaluation.task import Cohort, HighlightTask, highlight_cohorts

__all__ = [
    "Answer", "Cohort", "Entry", "HighlightTask", "highlight_cohorts", "highlight_rows", "live_measures", "live_table",
    "m3_measures", "m3_simple_answers", "m3_table", "oracle_answers", "simple_answers",
]  # fmt: skip
