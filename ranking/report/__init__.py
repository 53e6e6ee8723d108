"""One self-contained HTML page about a run, or about a folder of runs: no script, no request, one file a picture."""

from ranking.report.page import write_page

__all__ = ["write_page"]
