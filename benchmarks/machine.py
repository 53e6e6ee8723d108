"""Where a benchmark ran and with what: stands in every file of benchmarks/results."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "segrec",
    "torch",
    "torchrec",
    "numpy",
    "polars",
    "pyarrow",
    "lightgbm",
    "torch-rechub",
    "fuxictr",
    "deepctr-torch",
)


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB, system, and versions of what a figure may hang on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
    }


def processor() -> str:
    """The processor's name, from the kernel where it tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def write_result(name: str, **content: Any) -> Path:
    """Writes results/NAME.json with the machine in it."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n", encoding="utf-8")
    return file


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
