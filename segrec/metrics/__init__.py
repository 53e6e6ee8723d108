"""Metrics: pure functions of arrays, no state; what is undefined is NaN."""
