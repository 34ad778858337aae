"""Low-rank adapters (LoRA, Hu et al. 2021): which parameters are trained beside a frozen trunk.

A network with `model.lora_rank` has, beside each matrix `q` of its layers, an adapter `q_lora`. The
adapters and the scalar heads are trained; all else stays as it was.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from expert_iter.model.parameters import ADAPTER, is_adapter, is_head, named, nested
from expert_iter.model.transformer import Network
from expert_iter.model.transformer_config import TransformerConfig


def split(params: dict, config: TransformerConfig) -> tuple[dict, dict]:
    """The parameters that are trained, and the frozen ones; all are trained without adapters."""
    if not config.lora_rank:
        return params, {}
    by_name = named(params)
    trained = {name: x for name, x in by_name.items() if is_adapter(name) or is_head(name)}
    frozen = {name: x for name, x in by_name.items() if name not in trained}
    return nested(trained), nested(frozen)


def join(trained: dict, frozen: dict) -> dict:
    """The inverse of `split`."""
    return nested(named(frozen) | named(trained))


def fresh(network: Network, key, shardings: Callable | None = None) -> dict:
    """New adapters alone, to be joined with the parameters of the network without them.

    shardings: gives for a tree of abstract arrays where they go; None: to the first device.
    """

    def init(key):
        return nested({name: x for name, x in named(network.init(key)).items() if is_adapter(name)})

    where = shardings(jax.eval_shape(init, key)) if shardings else None
    return jax.jit(init, out_shardings=where)(key)


def merge(params: dict, config: TransformerConfig) -> dict:
    """The parameters of the same network without adapters: W + A B · alpha / rank."""
    by_name, merged = named(params), {}
    for name, value in by_name.items():
        if is_adapter(name):
            continue
        adapter = name + ADAPTER
        if f"{adapter}.a" in by_name:
            a, b = by_name[f"{adapter}.a"], by_name[f"{adapter}.b"]
            change = jnp.einsum("lir,lro->lio", a, b) * (config.lora_alpha / config.lora_rank)
            value = (value.astype(jnp.float32) + change).astype(value.dtype)
        merged[name] = value
    return nested(merged)
