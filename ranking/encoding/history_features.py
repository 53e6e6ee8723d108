"""Histories as sequence features: which columns past events show, and what cannot be one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranking.encoding.feature_spec import Feature, HistoryConfig, IdFeature, SequenceFeature
from segrec.records import DataError, DatasetFolder

ALL_EVENTS = "all"
USUAL_COLUMNS = ("item_id", "author_id")


def sequence_features(
    dataset: DatasetFolder, history: HistoryConfig, ids: Sequence[IdFeature], others: Sequence[Feature] = ()
) -> tuple[SequenceFeature, ...]:
    """A sequence `past_NAME` for each id feature of `history.columns`; none where histories are off.

    :param ids: the run's id features.
    :param others: its bags and dense features, which cannot be read as sequences.
    :raises DataError: rows without users, a column that is no id of the item or the impression, an unknown flag.
    """
    if not history.length:
        return ()
    _check_rows(dataset, history)
    known, unusable = ({feature.name: feature for feature in features} for features in (ids, others))
    columns = history.columns
    if columns is None:
        columns = tuple(name for name in USUAL_COLUMNS if name in known)
    for name in columns:
        _check_column(dataset, name, known, unusable)
    if not columns:
        raise DataError(
            dataset.path, f"neither {' nor '.join(USUAL_COLUMNS)} is a feature here, so past events show nothing",
            found=", ".join(known), fix="name id features in features.history.columns",
        )  # fmt: skip
    return tuple(
        SequenceFeature(name=f"past_{name}", column=known[name].column, id_feature=name)
        for name in dict.fromkeys(columns)
    )


def _check_rows(dataset: DatasetFolder, history: HistoryConfig) -> None:
    if "user_id" not in dataset.interactions().collect_schema():
        raise DataError(
            dataset.path, "has rows without user_id, and a history is a user's",
            fix="choose a ranker without histories (din, dien and can read them), or set features.history.length=0",
        )  # fmt: skip
    if history.events != ALL_EVENTS and history.events not in dataset.meta.flags:
        raise DataError(
            dataset.path, f"features.history.events names {history.events!r}, which is no flag of the log",
            found=", ".join(dataset.meta.flags) or "no flag", expected=f"{ALL_EVENTS}, or a flag",
        )  # fmt: skip


def _check_column(dataset: DatasetFolder, name: str, ids: Mapping[str, Feature], others: Mapping[str, Feature]) -> None:
    if name in others:
        raise _refused(dataset, name, "is no id but a bag or a number", ids)
    if name not in ids:
        raise _refused(dataset, name, "is no feature of this run", ids)
    feature = ids[name]
    if feature.side == "user" or feature.column == "user_id":
        raise _refused(dataset, name, "is the user's own, the same at every event", ids)
    fraction = feature.side == "impression" and _is_fraction(dataset, feature.column)
    if isinstance(feature, IdFeature) and feature.buckets is not None and fraction:
        raise _refused(dataset, name, "is a fraction cut into buckets", ids)


def _is_fraction(dataset: DatasetFolder, column: str) -> bool:
    schema = dataset.interactions().collect_schema()
    return column in schema and schema[column].is_float()


def _refused(dataset: DatasetFolder, name: str, why: str, ids: Mapping[str, Feature]) -> DataError:
    usable = [other for other, feature in ids.items() if feature.side != "user" and feature.column != "user_id"]
    return DataError(
        dataset.path, f"features.history.columns names {name!r}, which {why}", found=", ".join(usable) or "no id",
        fix="name ids of the item or the impression",
    )  # fmt: skip
