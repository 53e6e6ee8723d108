"""A run of an encoder: fit it, freeze it, write down what was run and measured; open it again."""

from __future__ import annotations

from pathlib import Path

from segrec.encoders import find_encoder
from segrec.encoders.encoder import Encoder, LiveEncoder, SkipEncoder
from segrec.fitting import FitConfig, FitResult
from segrec.freezing import FrozenEncoder, FrozenMeta, freeze
from segrec.records import (
    DataError,
    DatasetFolder,
    MetricRow,
    RunFolder,
    RunMeta,
    Split,
    new_run,
    package_versions,
    write_metric_rows,
)


def fit_encoder(
    name: str, config: FitConfig, dataset: DatasetFolder, out: Path, *, overwrite: bool = False
) -> tuple[RunFolder, FitResult]:
    """Fits encoder `name` and leaves a run folder at `out`; a stopped fit of the same config goes on where it was.

    :raises DataError: `out` exists, or a stopped fit of another config or dataset lies there.
    """
    with new_run(out, _run_meta(name, config, dataset), config.to_yaml(), overwrite=overwrite) as folder:
        encoder, result = find_encoder(name).fit(config, dataset, folder)
        freeze_encoder(folder / "frozen", name, config, encoder, dataset)
        write_metric_rows(folder / "metrics.json", _metric_rows(name, config, dataset, result))
    return RunFolder.open(out, "encoder"), result


def freeze_encoder(
    folder: Path,
    name: str,
    config: FitConfig,
    encoder: Encoder,
    dataset: DatasetFolder,
) -> FrozenEncoder:
    """Freezes a fitted encoder into `folder`."""
    parts = encoder.parts()
    until_ms = find_encoder(name).trained_until(dataset)
    meta = FrozenMeta(
        encoder=name,
        variant=getattr(config, "variant", None),
        config=config.model_dump(mode="json"),
        extra=dict(parts.extra),
        segment_ms=dataset.meta.segment_ms,
        dataset_fingerprint=dataset.meta.fingerprint,
        fitted_on=_splits_until(dataset, until_ms),
        trained_until_ms=until_ms,
    )
    return freeze(folder, meta, parts.tensors, parts.frames)


def _splits_until(dataset: DatasetFolder, until_ms: int) -> list[Split]:
    """Train, and what began before the encoder's newest row: encoders of a benchmark have a split of their own."""
    begins: dict[Split, int | None] = {
        "valid": dataset.meta.split.valid_from_ms, "test": dataset.meta.split.test_from_ms
    }  # fmt: skip
    later: list[Split] = [split for split, begin in begins.items() if begin is not None and until_ms >= begin]
    return ["train", *later]


def thaw(frozen: FrozenEncoder) -> Encoder:
    """The encoder that a frozen folder holds."""
    return find_encoder(frozen.meta.encoder).thaw(frozen)


def thaw_skip(frozen: FrozenEncoder) -> SkipEncoder:
    """:raises DataError: it is a live encoder."""
    encoder = thaw(frozen)
    if not isinstance(encoder, SkipEncoder):
        raise DataError(
            frozen.folder, "holds an encoder of live rooms", found=frozen.meta.model, expected="one of views",
            fix="measure it with `segrec evaluate highlight`",
        )  # fmt: skip
    return encoder


def thaw_live(frozen: FrozenEncoder) -> LiveEncoder:
    """:raises DataError: it is an encoder of views."""
    encoder = thaw(frozen)
    if not isinstance(encoder, LiveEncoder):
        raise DataError(
            frozen.folder, "holds an encoder of views", found=frozen.meta.model, expected="one of live rooms",
            fix="measure it with `segrec evaluate skip`",
        )  # fmt: skip
    return encoder


def _run_meta(name: str, config: FitConfig, dataset: DatasetFolder) -> RunMeta:
    return RunMeta(
        kind="encoder",
        name=name,
        variant=getattr(config, "variant", None),
        seed=config.seed,
        dataset=str(dataset.path),
        dataset_fingerprint=dataset.meta.fingerprint,
        trained_until_ms=find_encoder(name).trained_until(dataset),
        device=str(config.torch_device()),
        versions=package_versions(),
    )


def _metric_rows(name: str, config: FitConfig, dataset: DatasetFolder, result: FitResult) -> list[MetricRow]:
    variant = getattr(config, "variant", None)
    kind = find_encoder(name)
    found = {metric: kind.measured(dataset, metric) for metric in result.best}
    return [
        MetricRow(
            task=kind.task,
            split="valid",
            protocol=found[metric][0],
            model=name if variant is None else f"{name}:{variant}",
            seed=config.seed,
            metric=metric,
            value=value,
            n=found[metric][1],
        )
        for metric, value in result.best.items()
    ]
