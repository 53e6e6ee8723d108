"""Rankers for service: a run written as one folder of plain files, and that folder opened without training code."""
