"""The causal decoder against a float64 loop written from the formulas; its three ways against each other."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segrec.layers.banded_attention import Band
from segrec.layers.causal_decoder import CausalDecoder, CausalLayer
from segrec.layers.decoder_state import DecoderState

WIDTH, HEADS = 8, 2
HEAD = WIDTH // HEADS
VARIANTS = [
    {},
    {"relative_positions": True},
    {"normed_residual": True},
]


def decoder(window: int = 3, layers: int = 2, dropout: float = 0.0, **options: bool) -> CausalDecoder:
    torch.manual_seed(3)
    made = CausalDecoder(WIDTH, HEADS, layers, window=window, feedforward=12, dropout=dropout, **options)
    if made.position_bias is not None:
        torch.nn.init.normal_(made.position_bias)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    return made.eval()


def rows(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def normed(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    centred = x - x.mean()
    scaled = centred / (centred.square().mean() + norm.eps).sqrt()
    return scaled * norm.weight.double() + norm.bias.double()


def linear(x: Tensor, layer: torch.nn.Module) -> Tensor:
    return layer.weight.double() @ x + layer.bias.double()


def looped_layer(layer: CausalLayer, run: list[Tensor], window: int, bias: Tensor | None) -> list[Tensor]:
    found = []
    inside = [normed(x, layer.attention_norm) for x in run]
    projected = [linear(x, layer.query_key_value).split(WIDTH) for x in inside]
    for i, x in enumerate(run):
        heads = []
        for head in range(HEADS):
            part = slice(head * HEAD, (head + 1) * HEAD)
            looked = range(max(0, i - window + 1), i + 1)
            logits = [
                float(projected[i][0][part] @ projected[j][1][part]) / math.sqrt(HEAD)
                + (0.0 if bias is None else float(bias[head, i - j]))
                for j in looked
            ]
            total = sum(math.exp(logit) for logit in logits)
            heads.append(
                sum(math.exp(logit) / total * projected[j][2][part] for logit, j in zip(logits, looked, strict=True))
            )
        x = (inside[i] if layer.normed_residual else x) + linear(torch.cat(heads), layer.attention_out[0])
        hidden = linear(normed(x, layer.feedforward_norm), layer.feedforward[0])
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        found.append(x + linear(hidden, layer.feedforward[3]))
    return found


@torch.no_grad()
def looped(made: CausalDecoder, run: Tensor) -> Tensor:
    """(n, d) of one run, in float64, position by position."""
    x = list(run.double())
    for number, layer in enumerate(made.layers):
        bias = None if made.position_bias is None else made.position_bias[number].double()
        x = looped_layer(layer, x, made.window, bias)
    return torch.stack([normed(row, made.norm) for row in x])


def stepped(made: CausalDecoder, x: Tensor, run_offsets: list[int], state: DecoderState | None = None) -> Tensor:
    """All runs at once, one row of each that is still going a step; slots in reversed order."""
    state = made.new_state(len(run_offsets)) if state is None else state
    out = torch.full_like(x, math.nan)
    lengths = [last - first for first, last in itertools.pairwise(run_offsets)]
    for place in range(max(lengths, default=0)):
        going = [run for run, length in enumerate(lengths) if place < length][::-1]
        at = torch.tensor([run_offsets[run] + place for run in going])
        out[at] = made.step(x[at], state, torch.tensor(going))
    return out


@torch.no_grad()
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(("window", "length"), [(1, 4), (3, 3), (3, 8), (20, 6), (20, 45)])
def test_all_three_ways_agree_with_the_loop(options: dict[str, bool], window: int, length: int) -> None:
    made, run = decoder(window, **options), rows(length)
    wanted = looped(made, run)
    for found in (
        made.windows(run.unsqueeze(0))[0],
        made.banded(run, torch.tensor([0, length])),
        stepped(made, run, [0, length]),
    ):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 25), min_size=1, max_size=6), window=st.integers(1, 21), biased=st.booleans())
def test_runs_in_one_table_are_as_if_each_were_alone(lengths: list[int], window: int, biased: bool) -> None:
    """Empty runs too; windows of at most `window` rows equal the run."""
    made, x = decoder(window, relative_positions=biased), rows(sum(lengths))
    offsets = [sum(lengths[:run]) for run in range(len(lengths) + 1)]
    together = made.banded(x, torch.tensor(offsets))
    torch.testing.assert_close(together, stepped(made, x, offsets), rtol=1e-5, atol=1e-5)
    for first, last in itertools.pairwise(offsets):
        alone = made.windows(x[first:last].unsqueeze(0))[0]
        torch.testing.assert_close(together[first:last], alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", VARIANTS)
def test_the_future_changes_nothing_before_it(options: dict[str, bool]) -> None:
    """Issue 3, point 4: another segment t + 1 leaves all outputs <= t unchanged to 1e-6, and changes its own."""
    made, x = decoder(4, 3, **options), rows(12)
    changed = x.clone()
    changed[7] = rows(1, 8)[0]
    offsets = torch.tensor([0, 12])
    for way in (lambda r: made.windows(r.unsqueeze(0))[0], lambda r: made.banded(r, offsets)):
        before, after = way(x), way(changed)
        torch.testing.assert_close(before[:7], after[:7], rtol=0, atol=1e-6)
        assert not torch.allclose(before[7], after[7])


@torch.no_grad()
def test_the_past_reaches_window_minus_one_a_layer() -> None:
    """2 layers, window 3: row 0 is felt by rows 0 .. 4 of whole runs and by nobody later."""
    made, x = decoder(3, 2), rows(9)
    changed = x.clone()
    changed[0] *= -3.0
    offsets = torch.tensor([0, 9])
    felt = (made.banded(x, offsets) - made.banded(changed, offsets)).abs().amax(dim=1) > 1e-6
    assert felt.tolist() == [True] * 5 + [False] * 4


@torch.no_grad()
@pytest.mark.parametrize("options", VARIANTS)
def test_padding_is_never_looked_at(options: dict[str, bool]) -> None:
    """2 padded places before, 1 after, 4 true rows: the 4 results are those without padding; all results are finite."""
    made, run = decoder(6, **options), rows(4)
    padded = torch.cat([1e3 * rows(2, 5), run, 1e3 * rows(1, 6)]).unsqueeze(0)
    valid = torch.tensor([[False, False, True, True, True, True, False]])
    found = made.windows(padded, valid)
    torch.testing.assert_close(found[0, 2:6], made.windows(run.unsqueeze(0))[0], rtol=1e-5, atol=1e-5)
    assert found.isfinite().all()


@torch.no_grad()
def test_a_cleared_slot_begins_a_new_run() -> None:
    """The ring still holds the old run's keys; nobody looks at them."""
    made, x = decoder(4), rows(7)
    state = made.new_state(2)
    stepped(made, 50 * rows(6, 9), [0, 6], state)
    state.clear(torch.tensor([0]))
    torch.testing.assert_close(
        stepped(made, x, [0, 7], state), made.banded(x, torch.tensor([0, 7])), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_half_precision_state_is_near() -> None:
    made, x = decoder(4), rows(9)
    state = made.new_state(1, dtype=torch.float16)
    found = stepped(made, x, [0, 9], state)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, made.banded(x, torch.tensor([0, 9])), rtol=2e-2, atol=2e-2)


def test_bytes_of_ten_thousand_rooms() -> None:
    """2 x 10,000 slots x 3 layers x 20 rows x 128 numbers of 4 bytes, and 8 bytes a counter; on `meta`: no memory."""
    made = CausalDecoder(128, 4, 3, window=20, feedforward=256, dropout=0.0)
    assert made.new_state(10_000, device="meta").nbytes == 2 * 10_000 * 3 * 20 * 128 * 4 + 80_000


@pytest.mark.parametrize("options", VARIANTS)
def test_gradients_of_windows_and_whole_runs_agree(options: dict[str, bool]) -> None:
    made, x = decoder(5, **options), rows(10)
    found = []
    for way in (lambda r: made.windows(r.view(2, 5, WIDTH)).flatten(0, 1),
                lambda r: made.banded(r, torch.tensor([0, 5, 10]))):  # fmt: skip
        given_rows = x.clone().requires_grad_()
        made.zero_grad()
        (way(given_rows).sin().sum()).backward()
        found.append([given_rows.grad, *(parameter.grad.clone() for parameter in made.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_band_of_two_runs_by_hand() -> None:
    """Runs of 2 and 3 rows, window 2: row 2 begins anew; rows past the table look at themselves only."""
    band = Band.of(torch.tensor([0, 2, 5]), 2)
    assert band.seen.shape == (1, 16, 17)
    looked = [(at[0].tolist()) for at in [(row.nonzero().flatten() - 1).unsqueeze(0) for row in band.seen[0]]]
    assert looked[:5] == [[0], [0, 1], [2], [2, 3], [3, 4]]
    assert looked[5:] == [[row] for row in range(5, 16)]


def test_memory_of_whole_rooms_grows_with_rows_only() -> None:
    """A run of 20,000 rows: 1,000 blocks of 20 queries and 39 keys, 0.8 M places instead of 400 M."""
    assert Band.of(torch.tensor([0, 20_000]), 20).seen.numel() == 20_000 * 39


def test_dropout_acts_in_training_only() -> None:
    made, x = decoder(4, dropout=0.5).train(), rows(6)
    offsets = torch.tensor([0, 6])
    assert not torch.equal(made.banded(x, offsets), made.banded(x, offsets))
    made.eval()
    assert torch.equal(made.banded(x, offsets), made.banded(x, offsets))


@torch.no_grad()
def test_nothing_in_nothing_out() -> None:
    made = decoder()
    assert made.banded(rows(0), torch.tensor([0])).shape == (0, WIDTH)
    assert made.windows(rows(0).view(0, 4, WIDTH)).shape == (0, 4, WIDTH)
    assert made.step(rows(0), made.new_state(3), torch.zeros(0, dtype=torch.int64)).shape == (0, WIDTH)


@pytest.mark.parametrize(
    ("width", "heads", "window", "message"),
    [
        (10, 4, 3, r"width must be a multiple of heads \(found: width 10, heads 4\)"),
        (8, 2, 0, r"window must be at least 1 \(found: 0\)"),
    ],
)
def test_bad_sizes(width: int, heads: int, window: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CausalDecoder(width, heads, 1, window=window, feedforward=8, dropout=0.0)
