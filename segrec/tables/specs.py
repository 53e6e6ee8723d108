"""What one embedding table is: its rows, width, columns, start, optimizer and precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from segrec.records import Config, ConfigError

Pooling = Literal["none", "sum", "mean"]
TableType = Literal["fp32", "fp16", "bf16", "int8"]
TableOptimizer = Literal["rowwise_adagrad", "adagrad", "sgd", "adam"]
TableMemory = Literal["device", "host", "uvm_caching"]
ShardingKind = Literal["table_wise", "row_wise", "column_wise", "table_row_wise", "table_column_wise", "grid_shard"]
Eviction = Literal["lfu", "lru"]

_STATE_BYTES_PER_VALUE: dict[TableOptimizer, int] = {"rowwise_adagrad": 0, "adagrad": 4, "sgd": 0, "adam": 8}
_BYTES_PER_VALUE: dict[TableType, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
_INT8_ROW_BYTES = 8
"Scale and bias of an int8 row."


class ManagedRows(Config):
    """Rows that are given to ids as they come (see `ManagedIds`)."""

    eviction: Eviction = "lru"
    "Which ids lose their rows to new ones: the least often (lfu) or least recently seen."
    every: PositiveInt = 8
    "Steps between two rounds in which new ids get rows; sorting the rows costs more than a step of a large table."
    sharded: bool = False
    "CUDA: TorchRec manages the ids where the rows lie (`sharded_managed_ids`); else `ManagedIds` does, in front."


class TableSpec(Config):
    """One embedding table. Row 0 stands for a missing id, row 1 for an unseen one (see `Vocabulary`)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
    rows: PositiveInt
    "Number of ids, missing and unseen included: `Vocabulary.size`."
    dim: Annotated[int, Field(gt=0, multiple_of=4)]
    "Width of a row; TorchRec's kernels ask for a multiple of 4."
    features: tuple[str, ...]
    "The columns that look ids up here: several columns may share a table."
    pooling: Pooling = "sum"
    "How a bag's rows become one; `none` keeps the sequence."
    init_std: NonNegativeFloat | None = None
    "Rows start normal with this standard deviation (0.01 when neither this nor `init_uniform` is given)."
    init_uniform: PositiveFloat | None = None
    "Rows start uniform in [-value, value]."
    dtype: TableType = "fp32"
    optimizer: TableOptimizer = "rowwise_adagrad"
    "Applied in the backward pass; `adam` needs CUDA."
    learning_rate: PositiveFloat = 0.01
    eps: PositiveFloat = 1e-8
    "Added to Adagrad's root: with a large one, rows seen once or twice move little (as under SGD)."
    weight_decay: NonNegativeFloat = 0.0
    "L2 on the rows that a batch touches: `rowwise_adagrad` and `adam` on CUDA only."
    managed: ManagedRows | None = None
    "Ids come and go; None: codes are rows, from a vocabulary or a hash."
    memory: TableMemory | None = None
    "The device's memory; on CUDA also the host's, or the host's behind a cache on the device; None: as the plan likes."
    cache_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    "uvm_caching: rows that the cache on the device holds, as a share of the table."
    sharding: tuple[ShardingKind, ...] = ()
    "Ways that the plan may cut the table; empty = all."

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.init_std is not None and self.init_uniform is not None:
            raise ValueError(f"table {self.name!r} sets both init_std and init_uniform; keep one")
        if not self.features:
            raise ValueError(f"table {self.name!r} has no feature; name the columns that use it")
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"table {self.name!r} names a feature twice ({', '.join(self.features)})")
        return self

    @property
    def start_std(self) -> float:
        """Deviation of rows that start normal."""
        return 0.01 if self.init_std is None else self.init_std

    @property
    def bytes(self) -> int:
        """Memory of the whole table with its optimizer's state."""
        of_row = 4 if self.optimizer == "rowwise_adagrad" else 0
        of_row += _INT8_ROW_BYTES if self.dtype == "int8" else 0
        of_value = _BYTES_PER_VALUE[self.dtype] + _STATE_BYTES_PER_VALUE[self.optimizer]
        return self.rows * (self.dim * of_value + of_row)


def name_in_table(feature: str) -> str:
    """A feature's name as it stands in its table's name: ASCII letters and digits, else _."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in feature)


def check_names(specs: Sequence[TableSpec]) -> None:
    """Table names and features of one module must be unique.

    :raises ConfigError: the name or feature that occurs twice, or no table at all.
    """
    if not specs:
        raise ConfigError("no table given; pass at least one TableSpec")
    for kind, names in (
        ("table name", [spec.name for spec in specs]),
        ("feature", [feature for spec in specs for feature in spec.features]),
    ):
        twice = _first_repeated(names)
        if twice is not None:
            raise ConfigError(f"{kind} {twice!r} occurs twice among the tables; rename one")


def check_supported(specs: Sequence[TableSpec], device_type: str) -> None:
    """:raises ConfigError: a table asks for what TorchRec does not have on this device."""
    for spec in specs:
        if spec.optimizer == "adam" and device_type != "cuda":
            raise ConfigError(
                f"table {spec.name!r}: optimizer 'adam' inside the backward pass needs CUDA (found device: "
                f"{device_type}); on CPU use rowwise_adagrad, adagrad or sgd"
            )
        if spec.weight_decay > 0 and (device_type != "cuda" or spec.optimizer in ("adagrad", "sgd")):
            raise ConfigError(
                f"table {spec.name!r}: weight_decay {spec.weight_decay} would be ignored by the kernel of "
                f"{spec.optimizer!r} on {device_type}; set it to 0 and add the squared looked-up rows to the loss"
            )
        for field, value, instead in (
            ("dtype", spec.dtype if spec.dtype in ("bf16", "int8") else None, "fp32 or fp16"),
            ("memory", None if spec.memory == "device" else spec.memory, "device"),
            ("managed.sharded", True if spec.managed is not None and spec.managed.sharded else None, "False"),
        ):
            if value is not None and device_type != "cuda":
                raise ConfigError(
                    f"table {spec.name!r}: {field} {value!r} needs CUDA (found device: {device_type}); use {instead}"
                )


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
