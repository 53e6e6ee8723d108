"""Losses over the segments of a view: pure functions of tensors."""
