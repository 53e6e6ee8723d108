"""What everybody speaks: the dataset folder, the score table, run folders, metric rows, configs and errors."""

from segrec.records.config import Config
from segrec.records.dataset_folder import DatasetFolder, DatasetMeta, Rate, SplitRule, scan_parquet
from segrec.records.errors import ConfigError, DataError, SegrecError
from segrec.records.hashes import check_folder, file_hash, folder_hashes
from segrec.records.interactions import KEY, SPLITS, Split, exit_segment, segment_count, skip_views
from segrec.records.metric_rows import MetricRow, read_metric_rows, write_metric_rows
from segrec.records.outputs import check_suffix, new_file, new_folder, partial_folder
from segrec.records.run_folder import RunFolder, RunMeta, new_run, package_versions, write_run_meta
from segrec.records.score_table import FoldRule, ScoreMeta, ScoreTable, write_score_table
from segrec.records.segment_vectors import SegmentVectors, VectorsMeta, write_segment_vectors

__all__ = [
    "KEY",
    "SPLITS",
    "Config",
    "ConfigError",
    "DataError",
    "DatasetFolder",
    "DatasetMeta",
    "FoldRule",
    "MetricRow",
    "Rate",
    "RunFolder",
    "RunMeta",
    "ScoreMeta",
    "ScoreTable",
    "SegmentVectors",
    "SegrecError",
    "Split",
    "SplitRule",
    "VectorsMeta",
    "check_folder",
    "check_suffix",
    "exit_segment",
    "file_hash",
    "folder_hashes",
    "new_file",
    "new_folder",
    "new_run",
    "package_versions",
    "partial_folder",
    "read_metric_rows",
    "scan_parquet",
    "segment_count",
    "skip_views",
    "write_metric_rows",
    "write_run_meta",
    "write_score_table",
    "write_segment_vectors",
]  # fmt: skip
