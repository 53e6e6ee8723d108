"""CAN: the target item's own small network reads the user and the past, beside DIN or DIEN."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor

from ranking.layers import CoAction, Embedded, RankerInputs
from ranking.rankers.config import Widths
from ranking.rankers.dien import Dien, DienConfig
from ranking.rankers.din import Din, DinConfig
from ranking.rankers.interest_ranker import InterestRanker
from segrec.records import ConfigError
from segrec.tables import TableSpec


class CanConfig(DinConfig, DienConfig):
    """Tables of its own: the induction table holds (co_action_dim orders + 1) 4 + 20 numbers an item with [4, 4]."""

    backbone: Literal["din", "dien"] = "din"
    "What reads the history besides: attention_mlp and softmax are din's, auxiliary_weight is dien's."
    induction: str = "item_id"
    "The id whose values own a network each; past events of this id are fed to it."
    feeds: Annotated[tuple[str, ...], Field(min_length=1)] = ("user_id",)
    "Ids and bags that are fed to it."
    co_action_dim: Annotated[int, Field(gt=0, multiple_of=4)] = 8
    orders: PositiveInt = 2
    "Powers of a fed vector: 1 to `orders`."
    micro_mlp: Widths = (4, 4)
    co_action_init_std: NonNegativeFloat = 0.1

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if self.induction in self.feeds:
            raise ValueError(f"feeds names {self.induction!r}, which is the induction; an id is not fed to itself")
        columns = self.features.history.columns
        if columns is not None and self.induction not in columns:
            raise ValueError(
                f"induction {self.induction!r} is not among features.history.columns ({', '.join(columns)}); add it"
            )
        return self

    def named_features(self) -> dict[str, tuple[str, ...]]:
        """What own and fed tables are for."""
        return {"induction": (self.induction,), "feeds": self.feeds}


class CoActing(InterestRanker):
    """Bian et al., "CAN: Feature Co-Action for Click-Through Rate Prediction", WSDM 2022.

    x = [backbone's x, co(u) for each feed u, mean over past events t of co(h_t)], with co of the target item. Feed
    and induction vectors come from tables of their own, which the backbone does not see. No past event: mean 0.
    """

    def __init__(self, config: CanConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> None:
        co_action = CoAction(config.co_action_dim, config.orders, config.micro_mlp)
        inputs = replace(inputs, own_tables=_own_tables(config, inputs, co_action.parameters_width))
        super().__init__(config, inputs, device, appended=(len(config.feeds) + 1) * co_action.width)
        self.co_action = co_action

    def assemble(self, embedded: Embedded) -> Tensor:
        """[e, dense, interest, co-actions] (B, D)"""
        assert embedded.histories is not None
        induction, *feeds, events = embedded.own
        found = self.co_action(induction, torch.cat([torch.stack(feeds, dim=1), events], dim=1))
        of_feeds, of_past = found[:, : len(feeds)], found[:, len(feeds) :]
        valid = embedded.histories.valid[:, :, None]
        mean = (of_past * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)
        return torch.cat([super().assemble(embedded), of_feeds.flatten(1), mean], dim=1)


class CanOnDin(CoActing, Din):
    """The paper's and the default backbone."""


class CanOnDien(CoActing, Dien):
    """With interests that move, and their auxiliary loss."""


def can(config: CanConfig, inputs: RankerInputs, device: torch.device | str = "meta") -> CoActing:
    """CAN on the backbone that the config names."""
    return (CanOnDin if config.backbone == "din" else CanOnDien)(config, inputs, device)


def _own_tables(config: CanConfig, inputs: RankerInputs, induction_width: int) -> tuple[TableSpec, ...]:
    """Tables of the induction, of each feed, and of fed events, as long and as trained as those of the same ids."""
    config.check_features(inputs.features)
    past = [sequence.name for sequence in inputs.sequences if sequence.id_feature == config.induction]
    if not past:
        shown = ", ".join(sequence.id_feature for sequence in inputs.sequences)
        raise ConfigError(
            f"induction: {config.induction!r} is not among the past events' ids (found: {shown}); name it in "
            "features.history.columns"
        )

    def table(kind: str, feature: str, rows_of: str, width: int, pooling: str) -> TableSpec:
        like = inputs.table_of(rows_of)
        changed = {
            "name": f"{like.name}_{kind}", "dim": width, "features": (feature,), "pooling": pooling,
            "init_std": config.co_action_init_std, "init_uniform": None,
        }  # fmt: skip
        return like.model_copy(update=changed)

    return (
        table("induction", config.induction, config.induction, induction_width, "mean"),
        *(table("feed", name, name, config.co_action_dim, "mean") for name in config.feeds),
        table("feed", past[0], config.induction, config.co_action_dim, "none"),
    )
