"""Muon (Jordan et al. 2024): orthogonalised momentum, for the layers' matrices.

The updates are those of optax's Muon. Here the devices share the work of orthogonalising; in optax
each device does all of it.
"""

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from optax import contrib

from expert_iter.pod.mesh import Layout

_STEPS = 5
_COEFFICIENTS = 3.4445, -4.7750, 2.0315


def muon(
    learning_rate: optax.Schedule, weight_decay: float, layout: Layout
) -> optax.GradientTransformation:
    """For parameters [layers, inputs, outputs], each layer's matrix by itself."""
    whole = contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    return optax.chain(
        # With no steps, optax returns Nesterov's momentum at Frobenius norm 1, the steps' input.
        contrib.scale_by_muon(
            ns_steps=0,
            weight_dimension_numbers=lambda params: jax.tree.map(lambda _: whole, params),
        ),
        optax.stateless(lambda momentum, _: jax.tree.map(_scaled, _orthogonal(momentum, layout))),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def _scaled(change: jax.Array) -> jax.Array:
    """As optax scales by default, so that matrices of all shapes change their outputs alike."""
    _, inputs, outputs = change.shape
    return change * max(1.0, outputs / inputs) ** 0.5


def _orthogonal(momentum: dict, layout: Layout) -> dict:
    if layout.mesh.size == 1 or not layout.weights_lie_whole:
        return jax.tree.map(_newton_schulz, momentum)  # XLA shards the work as the weights are
    everywhere = layout.everywhere.spec
    return jax.shard_map(
        lambda momentum: _orthogonal_by_shares(momentum, layout.mesh.axis_names),
        mesh=layout.mesh,
        in_specs=everywhere,
        out_specs=everywhere,
        check_vma=False,
    )(momentum)


def _orthogonal_by_shares(momentum: dict, axes: tuple[str, ...]) -> dict:
    """On one of the devices, which all have the same momentum: each takes a share of it."""
    matrices, structure = jax.tree.flatten(momentum)
    devices, device = jax.lax.axis_size(axes), jax.lax.axis_index(axes)

    def own(stack):
        share = -(-len(stack) // devices)
        padded = jnp.pad(stack, ((0, share * devices - len(stack)), (0, 0), (0, 0)))
        return _newton_schulz(jax.lax.dynamic_slice_in_dim(padded, device * share, share))

    # One message, because processes on CPUs wait for the slowest at each.
    together, parted = ravel_pytree(jax.tree.map(own, _by_shape(matrices)))
    stacks = jax.vmap(parted)(jax.lax.all_gather(together, axes))
    stacks = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stacks)
    return jax.tree.unflatten(structure, _unstacked(stacks, matrices))


def _newton_schulz(x: jax.Array) -> jax.Array:
    """[matrices, m, n] of norm at most 1, with all singular values brought near 1."""
    if _wide(x) is not x:
        return _newton_schulz(_wide(x)).mT  # the same, with the smaller square
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x


def _wide(x: jax.Array) -> jax.Array:
    return x.mT if x.shape[1] > x.shape[2] else x


def _by_shape(matrices: list[jax.Array]) -> dict[tuple[int, int], jax.Array]:
    """The matrices of one shape in one stack, tall ones transposed.

    One parameter has few matrices, which devices cannot share evenly; stacks have more.
    """
    stacks: dict[tuple[int, int], list] = {}
    for x in map(_wide, matrices):
        stacks.setdefault(x.shape[1:], []).append(x)
    return {shape: jnp.concatenate(stack) for shape, stack in stacks.items()}


def _unstacked(stacks: dict, like: list[jax.Array]) -> list[jax.Array]:
    """The inverse of `_by_shape`. The padding at the ends of the stacks is dropped."""
    taken, found = dict.fromkeys(stacks, 0), []
    for x in like:
        shape, count = _wide(x).shape[1:], len(x)
        own = stacks[shape][taken[shape] : taken[shape] + count]
        taken[shape] += count
        found.append(own if own.shape == x.shape else own.mT)
    return found
