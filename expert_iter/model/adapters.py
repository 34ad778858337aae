"""Low-rank adapters (LoRA, Hu et al. 2021): which parameters are trained beside a frozen trunk.

A network with `model.lora_rank` has, beside each matrix `q` of its layers, an adapter `q_lora`. The
adapters and the value head are trained; all else stays as it was.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from expert_iter.model.transformer import Network, TransformerConfig

SUFFIX = "_lora"
_VALUE_HEAD = "value_"


def split(params: dict, config: TransformerConfig) -> tuple[dict, dict]:
    """The parameters that are trained, and the frozen ones; all are trained without adapters."""
    return _split(params) if config.lora_rank else (params, {})


def join(trained: dict, frozen: dict) -> dict:
    """The inverse of `split`."""
    joined = dict(frozen)
    for name, value in trained.items():
        joined[name] = join(value, frozen[name]) if name in frozen else value
    return joined


def fresh(network: Network, key, shardings: Callable | None = None) -> dict:
    """New adapters alone, to be joined with the parameters of the network without them.

    shardings: gives for a tree of abstract arrays where they go; None: to the first device.
    """

    def init(key):
        trained, _ = split(network.init(key), network.config)
        return {name: x for name, x in trained.items() if not name.startswith(_VALUE_HEAD)}

    where = shardings(jax.eval_shape(init, key)) if shardings else None
    return jax.jit(init, out_shardings=where)(key)


def merge(params: dict, config: TransformerConfig) -> dict:
    """The parameters of the same network without adapters: W + A B · alpha / rank."""
    merged = {}
    for name, value in params.items():
        if name.endswith(SUFFIX):
            continue
        if isinstance(value, dict):
            merged[name] = merge(value, config)
        elif name + SUFFIX in params:
            adapter = params[name + SUFFIX]
            change = jnp.einsum("lir,lro->lio", adapter["a"], adapter["b"])
            change = change * (config.lora_alpha / config.lora_rank)
            merged[name] = (value.astype(jnp.float32) + change).astype(value.dtype)
        else:
            merged[name] = value
    return merged


def _split(params: dict) -> tuple[dict, dict]:
    trained, frozen = {}, {}
    for name, value in params.items():
        if name.endswith(SUFFIX) or name.startswith(_VALUE_HEAD):
            trained[name] = value
        elif isinstance(value, dict):
            ours, theirs = _split(value)
            trained |= {name: ours} if ours else {}
            frozen |= {name: theirs} if theirs else {}
        else:
            frozen[name] = value
    return trained, frozen
