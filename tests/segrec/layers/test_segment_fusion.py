"""Fusion inside a segment: against nn.MultiheadAttention with the same weights, and what each kind may look at."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from segrec.layers.segment_fusion import FusionBlock, FusionKind, SegmentFusion

WIDTH, HEADS = 8, 2
KINDS = get_args(FusionKind)


def fusion(kind: FusionKind, layers: int = 2, **named: bool) -> SegmentFusion:
    torch.manual_seed(0)
    return SegmentFusion(kind, WIDTH, HEADS, layers, feedforward=16, **named).double().eval()


def tokens(count: int, seed: int = 1) -> Tensor:
    return torch.randn(3, count, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_torch(block: FusionBlock, query: Tensor, keys: Tensor) -> Tensor:
    """The block's attention by torch's own module."""
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([block.query.weight, block.keys_values.weight]))
        theirs.in_proj_bias.copy_(torch.cat([block.query.bias, block.keys_values.bias]))
        theirs.out_proj.load_state_dict(block.out.state_dict())
    found: Tensor = theirs(block.norm(query), block.norm(keys), block.norm(keys), need_weights=False)[0]
    return found


@pytest.mark.parametrize("normed", [False, True])
def test_a_block_is_pre_norm_attention_then_feed_forward(normed: bool) -> None:
    block = fusion("perceiver", 1, normed_residual=normed).blocks[0]
    assert isinstance(block, FusionBlock)
    query, keys = tokens(1), tokens(3, 2)
    hidden = (block.norm(query) if normed else query) + by_torch(block, query, keys)
    expected = hidden + block.inner(block.inner_norm(hidden))
    assert torch.allclose(block(query, keys), expected, atol=1e-12)


def test_perceiver_looks_at_content_and_the_current_latent() -> None:
    """Algorithm 1, layer by layer."""
    layers, content, streamer = fusion("perceiver"), tokens(2), tokens(1, 2)
    latent = streamer
    for block in layers.blocks:
        latent = block(latent, torch.cat([content, latent], dim=1))
    assert torch.equal(layers(content, streamer), latent.squeeze(1))


def test_cross_attention_variants_layer_by_layer() -> None:
    content, streamer = tokens(2), tokens(1, 2)
    for kind, queries_streamer, keys_streamer in (("q", True, False), ("kv", False, True), ("qkv", None, False)):
        layers = fusion(f"cross_attention_{kind}")  # type: ignore[arg-type]
        state = streamer if kind == "qkv" else content
        for block in layers.blocks:
            query = streamer if queries_streamer else state
            keys = streamer if keys_streamer else content if kind == "qkv" else state
            state = block(query, keys)
        assert torch.allclose(layers(content, streamer), state.mean(dim=1)), kind


@pytest.mark.parametrize("kind", KINDS)
def test_one_vector_a_segment_and_segments_do_not_mix(kind: FusionKind) -> None:
    layers, content, streamer = fusion(kind), tokens(2), tokens(1, 2)
    whole = layers(content, streamer)
    assert whole.shape == (3, WIDTH)
    assert torch.allclose(layers(content[1:2], streamer[1:2]), whole[1:2])


def test_plain_self_attention_does_not_see_the_streamer() -> None:
    layers, content = fusion("self_attention_plain"), tokens(2)
    assert torch.equal(layers(content, tokens(1, 2)), layers(content, tokens(1, 3)))


def test_a_single_key_leaves_the_query_no_choice() -> None:
    """CrossAttention-kv: what the attention adds is the same for both content tokens."""
    block, content, streamer = fusion("cross_attention_kv").blocks[0], tokens(2), tokens(1, 2)
    assert isinstance(block, FusionBlock)
    added = by_torch(block, content, streamer)
    assert torch.allclose(added[:, 0], added[:, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_without_streamer_or_content(kind: FusionKind) -> None:
    """Only one side: self-attention over what is there, whatever the kind."""
    layers, content, streamer = fusion(kind), tokens(2), tokens(1, 2)
    plain = fusion("self_attention_plain")
    assert torch.equal(layers(content, None), plain(content, None))
    assert torch.equal(layers(None, streamer), plain(None, streamer))
    with pytest.raises(ValueError, match=r"content tokens or a streamer \(found: neither\)"):
        layers(None, None)


def test_sharing_uses_one_block_for_all_layers() -> None:
    shared, single = fusion("perceiver", 3, shared=True), fusion("perceiver", 1)
    assert len(shared.blocks) == 1
    content, latent = tokens(2), tokens(1, 2)
    for _ in range(3):
        latent = single.blocks[0](latent, torch.cat([content, latent], dim=1))
    assert torch.allclose(shared(content, tokens(1, 2)), latent.squeeze(1))
