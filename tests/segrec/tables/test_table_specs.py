"""TableSpec: what it refuses, and how much memory it asks for."""

from __future__ import annotations

import pytest

from segrec.records import ConfigError
from segrec.tables import TableSpec
from segrec.tables.specs import check_names, check_supported


def spec(**changes: object) -> TableSpec:
    return TableSpec.checked({"name": "item", "rows": 10, "dim": 4, "features": ("item_id",), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "field 'rows'"),
        ({"dim": 6}, "field 'dim': Input should be a multiple of 4"),
        ({"features": ()}, "table 'item' has no feature"),
        ({"features": ("a", "a")}, r"names a feature twice \(a, a\)"),
        ({"name": "a.b"}, "field 'name'"),
        ({"dtype": "fp8"}, "field 'dtype'"),
        ({"optimizer": "lamb"}, "field 'optimizer'"),
        ({"init_std": 0.1, "init_uniform": 0.1}, "sets both init_std and init_uniform; keep one"),
        ({"lr": 0.1}, "unknown field 'lr'"),
    ],
)
def test_bad_specs_are_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        spec(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 10 * (4 * 4 + 4)),
        ({"dtype": "fp16"}, 10 * (4 * 2 + 4)),
        ({"dtype": "int8"}, 10 * (4 + 8 + 4)),
        ({"optimizer": "adagrad"}, 10 * (4 * 4 + 4 * 4)),
        ({"optimizer": "sgd"}, 10 * 4 * 4),
        ({"optimizer": "adam"}, 10 * (4 * 4 + 2 * 4 * 4)),
    ],
)
def test_bytes_with_the_optimizers_state(changes: dict[str, object], expected: int) -> None:
    assert spec(**changes).bytes == expected


def test_names_and_features_of_one_collection_are_unique() -> None:
    check_names([spec(), spec(name="user", features=("user_id",))])
    with pytest.raises(ConfigError, match="table name 'item' occurs twice"):
        check_names([spec(), spec(features=("other",))])
    with pytest.raises(ConfigError, match="feature 'item_id' occurs twice"):
        check_names([spec(), spec(name="author")])
    with pytest.raises(ConfigError, match="no table given"):
        check_names([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, r"optimizer 'adam' .* needs CUDA \(found device: cpu\); on CPU use rowwise_adagrad"),
        ({"weight_decay": 0.1}, "weight_decay 0.1 would be ignored by the kernel of 'rowwise_adagrad' on cpu"),
        ({"dtype": "bf16"}, "table .item.: dtype .bf16. needs CUDA .*; use fp32 or fp16"),
        ({"dtype": "int8"}, "table .item.: dtype .int8. needs CUDA"),
        ({"memory": "host"}, "table .item.: memory .host. needs CUDA .*; use device"),
        ({"memory": "uvm_caching"}, "memory .uvm_caching. needs CUDA"),
    ],
)
def test_what_the_cpu_cannot_do_is_said(changes: dict[str, object], message: str) -> None:
    check_supported([spec(**changes)], "cuda")
    with pytest.raises(ConfigError, match=message):
        check_supported([spec(), spec(**changes)], "cpu")


def test_decay_that_no_kernel_has_is_refused_on_cuda_too() -> None:
    with pytest.raises(ConfigError, match="would be ignored by the kernel of 'sgd' on cuda"):
        check_supported([spec(optimizer="sgd", weight_decay=0.1)], "cuda")
