"""Settings of a start from an older run."""

from __future__ import annotations

from segrec.records import Config


class WarmStartConfig(Config):
    """Which parts of an older run the new one starts with. The older vocabulary may be another one."""

    run: str | None = None
    "The older run's folder; null starts anew."
    tables: tuple[str, ...] | None = None
    "Features whose tables take the older rows of the same raw ids; null = all that both runs have."
    optimizer: bool = False
    "Rows bring the state of their optimizer along (from the older run's best checkpoint)."
    dense: bool = False
    "The dense part starts with the older one too; both must have the same features and shapes."
