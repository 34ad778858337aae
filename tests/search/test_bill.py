import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.model.transformer import Network, causal_mask
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.search.bill import Bill, flops_per_token, price

VOCAB, ROWS, TOKENS = 500, 2, 256
MEDIUM = TransformerConfig(
    num_layers=1, width=128, num_heads=4, num_kv_heads=2, head_dim=32, mlp_width=384
)


@pytest.mark.parametrize("change", [{}, {"num_kv_heads": 1}, {"mlp_width": 100, "head_dim": 64}])
def test_flops_are_what_the_compiler_counts(change):
    """One layer (a loop's body counts once in the compiler's books); all tokens attend to all."""
    config = dataclasses.replace(MEDIUM, **change)
    network = Network(config, VOCAB)

    def forward(params, token):
        place = jnp.broadcast_to(jnp.arange(TOKENS), token.shape)
        mask = causal_mask(jnp.ones(token.shape, bool))
        hidden, _ = network.hidden(params, token, place, mask)
        return network.logits(params, hidden), network.value_logit(params, hidden)

    token = jax.ShapeDtypeStruct((ROWS, TOKENS), jnp.int32)
    compiled = jax.jit(forward).lower(network.abstract_params(), token).compile()
    counted = compiled.cost_analysis()["flops"] / (ROWS * TOKENS)
    trunk, heads = flops_per_token(config, VOCAB, TOKENS)
    assert trunk + heads == pytest.approx(counted, rel=0.05)
    without_attention, _ = flops_per_token(config, VOCAB, 0)
    assert without_attention + heads < 0.9 * counted, "attention is a part that shows"


def test_layers_count_alike():
    one = flops_per_token(MEDIUM, VOCAB, 10)
    three = flops_per_token(dataclasses.replace(MEDIUM, num_layers=3), VOCAB, 10)
    assert three == (3 * one[0], one[1])


def test_price_by_hand():
    """Prefilled tokens run the trunk; generated ones the trunk and both heads."""
    config = TransformerConfig(
        num_layers=2, width=3, num_heads=2, num_kv_heads=1, head_dim=4, mlp_width=5
    )
    projections = 2 * (3 * 8 + 2 * 3 * 4 + 8 * 3)
    mlp = 2 * 3 * 3 * 5
    generated, prefilled, context = np.array([7.0, 0]), np.array([2.0, 10]), np.array([6.0, 4])
    attention = 2 * 2 * 8 * context  # scores, and sums of values
    trunk, heads = 2 * (projections + mlp + attention), 2 * 11 * 3 + 2 * 3
    bill = price(config, 11, generated, prefilled, np.array([9, 9]), context)
    np.testing.assert_allclose(bill.flops, (generated + prefilled) * trunk + generated * heads)
    np.testing.assert_array_equal(bill[:3], [generated, prefilled, [9, 9]])


def test_a_large_vocabulary_is_priced():
    """Its products are more than an int32 holds; lengths are counted in int32."""
    vocab_size, tokens = 262_208, jnp.array([1000])
    config = dataclasses.replace(MEDIUM, width=5376)
    nothing = jnp.zeros_like(tokens)
    price_of = jax.jit(lambda tokens: price(config, vocab_size, tokens, nothing, tokens, nothing))
    trunk = 2 * 5376 * (32 * 12 + 3 * 384)
    expected = 1000 * (trunk + 2 * (vocab_size + 1) * 5376)
    np.testing.assert_allclose(price_of(tokens).flops, expected, rtol=1e-6)


def test_bills_add_up():
    one, two = Bill(*np.arange(8).reshape(4, 2)), Bill(*np.full((4, 2), 10))
    np.testing.assert_array_equal(np.array(one + two), np.arange(8).reshape(4, 2) + 10)
