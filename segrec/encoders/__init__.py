"""Encoders: one file a paper; priors and boosted trees that stand beside them in every table."""
