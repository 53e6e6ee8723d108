"""DIEN's recurrent layers: by hand, torch's GRU under full attention, blind to padding, and three packages'."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ranking.layers import Histories
from ranking.layers.interest_evolution import AttentionalGru, InterestEvolution

WIDTH = 3


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def random_histories(lengths, longest, seed=0):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    past = torch.randn(len(lengths), longest, WIDTH, generator=generator) * valid[:, :, None]
    return Histories(torch.randn(len(lengths), WIDTH, generator=generator), past, valid)


def evolution():
    torch.manual_seed(2)
    return InterestEvolution(WIDTH)


def test_two_steps_by_hand():
    gru = AttentionalGru(1)
    with torch.no_grad():
        gru.entering.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
        gru.staying.weight.copy_(torch.tensor([[0.5], [-1.0], [4.0]]))
        gru.entering.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
        gru.staying.bias.copy_(torch.tensor([0.0, 0.0, 0.7]))
    # s = .5, alpha = .25, z_0 = 0
    first = 0.25 * sigmoid(2 * 0.5 + 0.2) * math.tanh(3 * 0.5 + 0.3 + sigmoid(0.5 + 0.1) * 0.7)
    # s = -1, alpha = .75
    reset, update = sigmoid(-1 + 0.1 + 0.5 * first), 0.75 * sigmoid(-2 + 0.2 - first)
    second = (1 - update) * first + update * math.tanh(-3 + 0.3 + reset * (4 * first + 0.7))
    found = gru(torch.tensor([[[0.5], [-1.0]]]), torch.tensor([[0.25, 0.75]]))
    assert found.item() == pytest.approx(second, rel=1e-6)


def test_full_attention_is_torchs_gru():
    """torch keeps where its update gate is open, the paper where it is shut: gates of the other sign."""
    gru, theirs = AttentionalGru(WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)
    turned = torch.tensor([1.0] * WIDTH + [-1.0] * WIDTH + [1.0] * WIDTH)
    with torch.no_grad():
        for linear, weight, bias in (
            (gru.entering, theirs.weight_ih_l0, theirs.bias_ih_l0),
            (gru.staying, theirs.weight_hh_l0, theirs.bias_hh_l0),
        ):
            weight.copy_(linear.weight * turned[:, None])
            bias.copy_(linear.bias * turned)
    events = torch.randn(4, 6, WIDTH)
    torch.testing.assert_close(gru(events, torch.ones(4, 6)), theirs(events)[1][0])


def test_attention_is_a_softmax_over_true_events():
    """With one event the weight is 1; W = 0 spreads it evenly."""
    module = evolution()
    with torch.no_grad():
        module.turn.weight.zero_()
    histories = random_histories([1, 3], 4)
    states, final = module(histories)
    torch.testing.assert_close(final[:1], module.evolution(states[:1, :1], torch.ones(1, 1)))
    torch.testing.assert_close(final[1:], module.evolution(states[1:, :3], torch.full((1, 3), 1 / 3)))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 999))
def test_final_state_is_that_of_the_true_last_event(lengths, padding, seed):
    """Each row alone, cut to its events; what stands in padding changes nothing; no event gives 0."""
    module, longest = evolution(), max(*lengths, 1) + padding
    histories = random_histories(lengths, longest, seed)
    stuffed = histories._replace(past=torch.where(histories.valid[:, :, None], histories.past, 7.0))
    for row, length in enumerate(lengths):
        if length:
            alone = Histories(*(part[[row]] for part in histories))
            alone = Histories(alone.target, alone.past[:, :length], alone.valid[:, :length])
            expected = module(alone).final[0]
        else:
            expected = torch.zeros(WIDTH)
        for given_histories in (histories, stuffed):
            torch.testing.assert_close(module(given_histories).final[row], expected)


def test_nobody_has_a_past():
    module, histories = evolution(), random_histories([0, 0], 1)
    past = histories.past.requires_grad_()
    found = module(histories._replace(past=past)).final
    found.sum().backward()
    assert found.tolist() == [[0.0] * WIDTH] * 2
    assert torch.isfinite(past.grad).all()


def test_augru_same_as_deepctr():
    """Theirs has one bias for both products: it registers b_hh under b_ih's name."""
    sequence = pytest.importorskip(
        "deepctr_torch.layers.sequence", reason="deepctr-torch is not installed (extra: bench)"
    )
    theirs, gru = sequence.DynamicGRU(WIDTH, WIDTH, gru_type="AUGRU"), AttentionalGru(WIDTH)
    with torch.no_grad():
        for parameter in (theirs.rnn.weight_ih, theirs.rnn.weight_hh, theirs.rnn.bias_ih, theirs.rnn.bias_hh):
            parameter.copy_(torch.randn_like(parameter))
        gru.entering.weight.copy_(theirs.rnn.weight_ih)
        gru.staying.weight.copy_(theirs.rnn.weight_hh)
        gru.entering.bias.copy_(theirs.rnn.bias_ih)
        gru.staying.bias.copy_(theirs.rnn.bias_hh)
    lengths = torch.tensor([4, 1, 3])
    events, weights = torch.randn(3, 4, WIDTH), torch.rand(3, 4)
    packed = (pack_padded_sequence(part, lengths, batch_first=True, enforce_sorted=False) for part in (events, weights))
    states, _ = pad_packed_sequence(theirs(*packed), batch_first=True)
    masked = weights * (torch.arange(4)[None] < lengths[:, None])
    torch.testing.assert_close(gru(events, masked), states[torch.arange(3), lengths - 1], atol=1e-5, rtol=1e-5)


def test_both_layers_same_as_torch_rechub():
    """Extraction on packed rows, bilinear attention and AUGRU; theirs has one bias a gate."""
    dien = pytest.importorskip(
        "torch_rechub.models.ranking.dien", reason="torch-rechub is not installed (extra: bench)"
    )
    theirs, module = dien.AUGRU(WIDTH), evolution()
    cell = theirs.augru_cell
    with torch.no_grad():
        module.turn.weight.copy_(theirs.Wa)
        module.evolution.entering.weight.copy_(torch.cat([cell.Wr, cell.Wu, cell.Wh], dim=1).T)
        module.evolution.staying.weight.copy_(torch.cat([cell.Ur, cell.Uu, cell.Uh], dim=1).T)
        module.evolution.entering.bias.copy_(torch.cat([cell.br, cell.bu, cell.bh], dim=1)[0])
        module.evolution.staying.bias.zero_()
    histories = random_histories([4, 2, 1], 4)
    packed = pack_padded_sequence(histories.past, histories.valid.sum(dim=1), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(module.extraction(packed)[0], batch_first=True)
    found, mask = module(histories), histories.valid
    torch.testing.assert_close(found.states[mask], states[mask])
    for row, length in enumerate([4, 2, 1]):
        _, expected = theirs(states[[row], :length], histories.target[[row]])
        torch.testing.assert_close(found.final[[row]], expected, atol=1e-5, rtol=1e-5)


def test_augru_same_as_fuxictr():
    """Their gates stand in another order: update, reset, new."""
    zoo = pytest.importorskip("model_zoo.LongCTR.DIEN.DIEN", reason="fuxictr's model_zoo is not installed")
    theirs, gru = zoo.AUGRUCell(WIDTH, WIDTH), AttentionalGru(WIDTH)
    order = torch.arange(3 * WIDTH).view(3, WIDTH)[[1, 0, 2]].flatten()
    with torch.no_grad():
        for mine, other in ((gru.entering, theirs.x2h), (gru.staying, theirs.h2h)):
            mine.weight.copy_(other.weight[order])
            mine.bias.copy_(other.bias[order])
    events, weights, state = torch.randn(5, 4, WIDTH), torch.rand(5, 4), torch.zeros(5, WIDTH)
    for place in range(4):
        state = theirs(events[:, place], state, weights[:, place])
    torch.testing.assert_close(gru(events, weights), state, atol=1e-5, rtol=1e-5)
