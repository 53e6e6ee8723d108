"""Frozen encoder + dataset -> scores, one list a view, in streams."""
