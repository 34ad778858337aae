"""The network against a second writing of it: plain NumPy in float64, one token, head and layer
at a time."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.model.transformer import Network, Past, causal_mask
from expert_iter.model.transformer_config import TransformerConfig

VOCAB = 11
PLAIN = TransformerConfig(
    num_layers=2, width=16, num_heads=4, num_kv_heads=2, head_dim=6, mlp_width=24
)
CONFIGS = {
    "grouped queries": PLAIN,
    "one kv head": dataclasses.replace(PLAIN, num_kv_heads=1, activation="silu", rope_base=100.0),
    "soft-caps": dataclasses.replace(
        PLAIN, num_kv_heads=4, attention_softcap=1.5, logit_softcap=2.0
    ),
    "window": dataclasses.replace(PLAIN, sliding_window=3),
    "window and global layers": dataclasses.replace(
        PLAIN, num_layers=5, sliding_window=2, global_every=2
    ),
    "named global layers": dataclasses.replace(
        PLAIN, num_layers=3, sliding_window=2, global_layers=(0, 2), local_rope_base=50.0
    ),
    "biases, norms without the one, a head": dataclasses.replace(
        PLAIN, qkv_bias=True, norm_plus_one=False, scale_embedding=False, tie_embedding=False
    ),
    "norms of heads and branches": dataclasses.replace(
        PLAIN, qk_norm=True, post_norms=True, query_scale=20.0
    ),
    "linear scaling": dataclasses.replace(
        PLAIN,
        rope_scaling="linear",
        rope_factor=4.0,
        sliding_window=3,
        global_every=2,
        local_rope_base=30.0,
    ),
    # Of the three angles one is kept, one divided, one between.
    "llama3 scaling": dataclasses.replace(
        PLAIN,
        head_dim=6,
        rope_base=100.0,
        rope_scaling="llama3",
        rope_factor=8.0,
        rope_original_length=12,
        rope_low_frequency=0.1,
        rope_high_frequency=1.0,
    ),
}


def forward(config, params, tokens, position=None):
    """Logits `[T, V]` and value log-odds `[T]` of one text, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    T, E = len(tokens), config.head_dim
    position = range(T) if position is None else position

    def norm(vector, scale):
        mean_square = sum(x * x for x in vector) / len(vector)
        scale = scale + config.norm_plus_one
        return vector / math.sqrt(mean_square + config.norm_epsilon) * scale

    def cap(x, bound):
        return bound * math.tanh(x / bound) if bound else x

    def frequency(i, is_global):
        """Radians a token of pair i, by the published formulas (Llama 3.1: by wavelength)."""
        if config.local_rope_base and not is_global:
            return config.local_rope_base ** (-2 * i / E)
        plain = config.rope_base ** (-2 * i / E)
        if config.rope_scaling == "linear":
            return plain / config.rope_factor
        if config.rope_scaling == "none":
            return plain
        wavelength, length = 2 * math.pi / plain, config.rope_original_length
        low, high = config.rope_low_frequency, config.rope_high_frequency
        if wavelength < length / high:
            return plain
        if wavelength > length / low:
            return plain / config.rope_factor
        smooth = (length / wavelength - low) / (high - low)
        return (1 - smooth) * plain / config.rope_factor + smooth * plain

    def rotated(vector, place, is_global):
        out, half = np.zeros(E), E // 2
        for i in range(half):
            angle = place * frequency(i, is_global)
            a, b = vector[i], vector[i + half]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + half] = a * math.sin(angle) + b * math.cos(angle)
        return out

    def activation(x):
        if config.activation == "silu":
            return x / (1 + np.exp(-x))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = [p["embedding"][t] for t in tokens]
    if config.scale_embedding:
        x = [v * math.sqrt(config.width) for v in x]
    for layer in range(config.num_layers):
        w = jax.tree.map(lambda leaf, layer=layer: leaf[layer], p["blocks"])
        is_global = config.global_every > 0 and (layer + 1) % config.global_every == 0
        is_global = is_global or layer in config.global_layers
        window = math.inf if is_global or not config.sliding_window else config.sliding_window
        y = [norm(v, w["attention_norm"]["scale"]) for v in x]
        attended = [np.zeros(config.width) for _ in range(T)]
        for head in range(config.num_heads):
            kv_head = head * config.num_kv_heads // config.num_heads
            columns, kv_columns = (slice(h * E, (h + 1) * E) for h in (head, kv_head))
            attention = w["attention"]
            q = [v @ attention["q"][:, columns] for v in y]
            k = [v @ attention["k"][:, kv_columns] for v in y]
            value = [v @ attention["v"][:, kv_columns] for v in y]
            if config.qkv_bias:
                q = [v + attention["q_bias"][columns] for v in q]
                k = [v + attention["k_bias"][kv_columns] for v in k]
                value = [v + attention["v_bias"][kv_columns] for v in value]
            if config.qk_norm:
                q = [norm(v, attention["q_norm"]["scale"]) for v in q]
                k = [norm(v, attention["k_norm"]["scale"]) for v in k]
            q = [rotated(v, position[t], is_global) for t, v in enumerate(q)]
            k = [rotated(v, position[t], is_global) for t, v in enumerate(k)]
            divisor = math.sqrt(config.query_scale or E)
            for t in range(T):
                seen = [s for s in range(t + 1) if position[t] - position[s] < window]
                score = [cap(q[t] @ k[s] / divisor, config.attention_softcap) for s in seen]
                weight = np.exp(score) / np.exp(score).sum()
                mixed = sum(a * value[s] for a, s in zip(weight, seen, strict=True))
                attended[t] = attended[t] + mixed @ attention["out"][columns]
        if config.post_norms:
            attended = [norm(v, w["post_attention_norm"]["scale"]) for v in attended]
        x = [a + b for a, b in zip(x, attended, strict=True)]
        for t in range(T):
            z = norm(x[t], w["mlp_norm"]["scale"])
            z = (activation(z @ w["gate"]) * (z @ w["up"])) @ w["down"]
            x[t] = x[t] + (norm(z, w["post_mlp_norm"]["scale"]) if config.post_norms else z)
    hidden = [norm(v, p["final_norm"]["scale"]) for v in x]
    head = p["embedding" if config.tie_embedding else "head"]
    logits = [[cap(h @ e, config.logit_softcap) for e in head] for h in hidden]
    return np.array(logits), np.array([h @ p["value_weight"] + p["value_bias"] for h in hidden])


@functools.partial(jax.jit, static_argnums=0)
def compiled(network, params, token_BxQ, valid_BxQ, position_BxQ, past):
    hidden, kv = network.hidden(params, token_BxQ, position_BxQ, causal_mask(valid_BxQ), past)
    return network.logits(params, hidden), network.value_logit(params, hidden), kv


def run(network, params, token_BxQ, valid_BxQ=None, position_BxQ=None, past=None):
    """Logits, value log-odds, keys and values; all tokens valid and in order unless said."""
    token_BxQ = np.asarray(token_BxQ, np.int32)
    if valid_BxQ is None:
        valid_BxQ = np.ones(token_BxQ.shape, bool)
    if position_BxQ is None:
        position_BxQ = np.broadcast_to(np.arange(token_BxQ.shape[1]), token_BxQ.shape)
    output = compiled(network, params, token_BxQ, valid_BxQ, position_BxQ, past)
    return jax.tree.map(np.asarray, output)


def log_softmax(logits):
    return logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))


@pytest.fixture(scope="module")
def plain(random_params):
    network = Network(PLAIN, VOCAB)
    return network, random_params(network)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_values_equal_a_loop_over_heads(name, random_params):
    network = Network(CONFIGS[name], VOCAB)
    params = random_params(network)
    tokens = np.random.default_rng(0).integers(0, VOCAB, (2, 8))
    logits, value, _ = run(network, params, tokens)
    for row, text in enumerate(tokens):
        expected_logits, expected_value = forward(CONFIGS[name], params, text)
        np.testing.assert_allclose(logits[row], expected_logits, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(value[row], expected_value, atol=1e-5, rtol=1e-5)


def test_each_option_changes_the_result(plain):
    """Else the comparison above would show nothing about it."""
    _, params = plain
    text = np.random.default_rng(0).integers(0, VOCAB, 8)
    plain_logits, _ = forward(PLAIN, params, text)
    for change in (
        {"attention_softcap": 1.5},
        {"logit_softcap": 2.0},
        {"sliding_window": 3},
        {"activation": "silu"},
        {"rope_base": 100.0},
        {"query_scale": 20.0},
        {"norm_plus_one": False},
        {"scale_embedding": False},
        {"rope_scaling": "linear", "rope_factor": 4.0},
        {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_length": 12},
        {"local_rope_base": 50.0, "sliding_window": 8},
    ):
        logits, _ = forward(dataclasses.replace(PLAIN, **change), params, text)
        assert np.abs(logits - plain_logits).max() > 1e-2, change
    window = dataclasses.replace(PLAIN, sliding_window=3)
    some_global = dataclasses.replace(window, global_every=2)
    difference = forward(window, params, text)[0] - forward(some_global, params, text)[0]
    assert np.abs(difference).max() > 1e-2


@pytest.mark.parametrize("name", ["grouped queries", "window and global layers"])
def test_padding_changes_no_log_probability(name, random_params):
    """To the right, to the left and in between, whatever stands there; also padding of the past."""
    network = Network(CONFIGS[name], VOCAB)
    params, rng = random_params(network), np.random.default_rng(1)
    text = rng.integers(0, VOCAB, 6)
    expected, expected_value, kv = run(network, params, text[None])
    expected = log_softmax(expected[0])

    where = {"right": range(6), "left": range(4, 10), "between": (0, 1, 4, 5, 8, 9)}
    token = rng.integers(0, VOCAB, (len(where), 10))
    valid, position = np.zeros(token.shape, bool), rng.integers(0, 50, token.shape)
    for row, places in enumerate(where.values()):
        token[row, list(places)], valid[row, list(places)] = text, True
        position[row, list(places)] = range(6)
    logits, value, _ = run(network, params, token, valid, position)
    for row, places in enumerate(where.values()):
        log_prob = log_softmax(logits[row, list(places)])
        np.testing.assert_allclose(log_prob, expected, atol=1e-5)
        np.testing.assert_allclose(value[row, list(places)], expected_value[0], atol=1e-5)

    # The first four tokens as a past of seven slots, three of them rubbish; then the last two.
    slots = np.array([0, 2, 3, 6])
    cached = [np.full((*x.shape[:2], 7, *x.shape[3:]), 9.0, np.float32) for x in kv]
    for cache, x in zip(cached, kv, strict=True):
        cache[:, :, slots] = x[:, :, :4]
    past_position = np.full((1, 7), 3)
    past_position[0, slots] = range(4)
    mask = np.broadcast_to(np.isin(np.arange(7), slots), (1, 2, 7))
    past = Past(type(kv)(*cached), past_position, mask)
    logits, value, _ = run(network, params, text[None, 4:], None, np.array([[4, 5]]), past)
    np.testing.assert_allclose(log_softmax(logits[0]), expected[4:], atol=1e-5)
    np.testing.assert_allclose(value[0], expected_value[0, 4:], atol=1e-5)


def test_a_token_sees_nothing_after_it(plain):
    network, params = plain
    token = np.random.default_rng(2).integers(0, VOCAB, (1, 7))
    other = token.copy()
    other[0, 4:] = (other[0, 4:] + 1) % VOCAB
    a, b = (run(network, params, t)[0][0] for t in (token, other))
    np.testing.assert_array_equal(a[:4], b[:4])
    assert np.abs(a[4:] - b[4:]).max() > 1e-2


def test_only_the_distance_between_positions_matters(plain):
    network, params = plain
    token = np.random.default_rng(3).integers(0, VOCAB, (1, 6))
    near, _, _ = run(network, params, token)
    far, _, _ = run(network, params, token, position_BxQ=np.arange(6)[None] + 40)
    np.testing.assert_allclose(near, far, atol=1e-4)
    stretched, _, _ = run(network, params, token, position_BxQ=2 * np.arange(6)[None])
    assert np.abs(near - stretched).max() > 1e-2


def test_bfloat16_is_close_to_float32(plain):
    network, params = plain
    half = Network(dataclasses.replace(PLAIN, dtype="bfloat16"), VOCAB)
    token = np.random.default_rng(4).integers(0, VOCAB, (4, 8))
    logits, value, _ = run(network, params, token)
    half_logits, half_value, kv = run(half, params, token)
    assert kv.k.dtype == kv.v.dtype == jnp.bfloat16
    assert half_logits.dtype == half_value.dtype == jnp.float32
    log_prob, half_log_prob = log_softmax(logits), log_softmax(half_logits)
    difference = np.abs(log_prob - half_log_prob)
    assert 1e-4 < difference.max() < 0.2 and difference.mean() < 0.03
    assert np.abs(value - half_value).max() < 0.1


def test_defaults_have_the_parameters_they_always_had(plain):
    """Checkpoints of earlier runs hold just these; each option adds its own."""
    config, (_, params) = PLAIN, plain
    L, D, M, V = 2, 16, 24, VOCAB
    shapes = jax.tree.map(lambda x: x.shape, params)
    attention = {"q": (L, D, 24), "k": (L, D, 12), "v": (L, D, 12), "out": (L, 24, D)}
    assert shapes == {
        "embedding": (V, D),
        "blocks": {
            "attention_norm": {"scale": (L, D)},
            "attention": attention,
            "mlp_norm": {"scale": (L, D)},
            "gate": (L, D, M),
            "up": (L, D, M),
            "down": (L, M, D),
        },
        "final_norm": {"scale": (D,)},
        "value_weight": (D,),
        "value_bias": (),
    }
    names = lambda tree: {path for path, _ in jax.tree_util.tree_leaves_with_path(tree)}  # noqa: E731
    for option, added in (
        ({"qkv_bias": True}, 3),
        ({"qk_norm": True}, 2),
        ({"post_norms": True}, 2),
        ({"tie_embedding": False}, 1),
        ({"global_layers": (1,), "sliding_window": 3, "local_rope_base": 9.0}, 0),
    ):
        network = Network(dataclasses.replace(config, **option), VOCAB)
        more = names(network.abstract_params())
        assert names(params) <= more and len(more - names(params)) == added


def test_parameters_are_kept_in_bfloat16_where_asked(plain):
    """All but norms and value head; the result is that of the same numbers in float32."""
    network = Network(dataclasses.replace(PLAIN, param_dtype="bfloat16"), VOCAB)
    params = network.init(jax.random.key(0))
    kept = {
        jax.tree_util.keystr(path, simple=True, separator="."): str(leaf.dtype)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    for name, dtype in kept.items():
        is_small = name.endswith("scale") or name.startswith("value")
        assert dtype == ("float32" if is_small else "bfloat16"), name
    token = np.random.default_rng(5).integers(0, VOCAB, (2, 6))
    logits, _, kv = run(network, params, token)
    full = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    assert kv.k.dtype == jnp.float32
    np.testing.assert_allclose(logits, run(plain[0], full, token)[0], atol=1e-5)


def test_a_fresh_network_gives_every_text_an_even_chance():
    network = Network(PLAIN, VOCAB)
    params = network.init(jax.random.key(0))
    _, value, _ = run(network, params, np.arange(8)[None])
    np.testing.assert_array_equal(jax.nn.sigmoid(value), 0.5)
    shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), params)
    assert shapes == jax.tree.map(lambda x: (x.shape, str(x.dtype)), network.abstract_params())
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "bad",
    [
        {"num_layers": 0},
        {"num_kv_heads": 3},
        {"head_dim": 5},
        {"activation": "relu"},
        {"dtype": "float16"},
        {"sliding_window": -1},
        {"param_dtype": "int8"},
        {"rope_scaling": "yarn"},
        {"rope_factor": 0.0},
        {"local_rope_base": 9.0},
        {"rope_high_frequency": 0.5},
        {"global_layers": (2,)},
        {"global_layers": ("1",)},
    ],
)
def test_impossible_shapes_are_refused_by_name(bad):
    with pytest.raises(UserError, match=f"model.{next(iter(bad))}"):
        dataclasses.replace(PLAIN, **bad)
