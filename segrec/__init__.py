"""segrec: per-segment interest scores from logs and content, ready for rankers."""

__version__ = "0.1.0"
