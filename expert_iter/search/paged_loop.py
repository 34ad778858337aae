"""mctx's simulation loop with a pool of KV pages carried beside the tree, and with an early end.

Shape suffixes: B rows, N nodes, K candidates a node, D steps a prefix at most, L tokens a step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mctx

from expert_iter.model.pages import Chain, empty_pool, read_chain, write_page
from expert_iter.model.state import State, read_step
from expert_iter.search import selection


class Node(NamedTuple):
    """The embedding of a node in mctx's tree: its prefix, and its candidate next steps.

    live_B: it continues an open candidate (mctx also makes nodes in rows that have nothing left to
    search). chain: its pages; prefix_BxDxL: their tokens; depth_B: their number; step_length_B:
    tokens of the last of them; path_log_pi_B: their log-probability. The rest describes its K
    candidates; value_BxK is the verdict, or the value head's estimate, or 0 for a text that hit the
    limit on steps unfinished.
    """

    live_B: jax.Array
    chain: Chain
    prefix_BxDxL: jax.Array
    depth_B: jax.Array
    step_length_B: jax.Array
    path_log_pi_B: jax.Array
    token_BxKxL: jax.Array
    length_BxK: jax.Array
    valid_BxK: jax.Array
    count_BxK: jax.Array
    prior_logit_BxK: jax.Array
    log_pi_BxK: jax.Array
    log_beta_BxK: jax.Array
    model_value_BxK: jax.Array
    value_BxK: jax.Array
    finished_BxK: jax.Array
    won_BxK: jax.Array
    open_BxK: jax.Array
    lockstep_B: jax.Array


class PagedLoop:
    """mctx's simulation loop with the pool of pages carried beside the tree, and with an early end.

    mctx traces `expand` inside the body that it hands to `run`; between the two, this object holds
    what the tree cannot: the pool, the simulation's number, and which rows still have something
    open.
    """

    def __init__(self, search, prompt: State, problem_B, keys_B, num_simulations):
        self.search, self.prompt, self.problem_B, self.keys_B = search, prompt, problem_B, keys_B
        self.num_simulations = num_simulations
        self.pool = self.simulation = self.row_open = None

    def run(self, lower, upper, body, init):
        c = self.search.config
        B = self.problem_B.shape[0]
        pool = empty_pool(self.search.network, B, upper + 1, c.max_step_tokens)

        def unfinished(carry):
            simulation, (_, tree), _ = carry
            return (simulation < self.num_simulations) & jnp.any(tree.extra_data.open_BxNxK[:, 0])

        def simulate(carry):
            simulation, (key, tree), self.pool = carry
            self.simulation, self.row_open = (
                simulation,
                jnp.any(tree.extra_data.open_BxNxK[:, 0], axis=-1),
            )
            key, grown = body(simulation, (key, tree))
            grown = grown.replace(extra_data=_close(grown, simulation + 1, c.max_steps))
            # A row with nothing open keeps its tree as it is: its statistics must not count idle
            # simulations.
            keep = lambda new, old: jnp.where(_like(self.row_open, new), new, old)  # noqa: E731
            return simulation + 1, (key, jax.tree.map(keep, grown, tree)), self.pool

        _, inner, _ = jax.lax.while_loop(unfinished, simulate, (jnp.int32(lower), init, pool))
        self.pool = self.simulation = self.row_open = None
        return inner

    def expand(self, params, key, action_B, parent: Node):
        """mctx's recurrent function: moves into the chosen candidate and draws the candidates after
        it.
        """
        del key
        search, rows = self.search, jnp.arange(action_B.shape[0])
        live = self.row_open & parent.live_B & parent.open_BxK[rows, action_B]
        step, length = parent.token_BxKxL[rows, action_B], parent.length_BxK[rows, action_B]

        before = read_chain(self.pool, self.prompt, parent.chain)
        after = read_step(search.network, params, before, step, length)
        page = self.simulation + 1
        self.pool = write_page(self.pool, page, after.kv)
        at = jnp.minimum(parent.depth_B, search.config.max_steps - 1)
        chain = Chain(
            parent.chain.page_BxD.at[rows, at].set(page),
            parent.chain.length_BxD.at[rows, at].set(length),
        )
        context = read_chain(self.pool, self.prompt, chain)._replace(hidden_BxD=after.hidden_BxD)
        node = search.continue_from(
            params,
            context,
            self.problem_B,
            jax.vmap(lambda key: jax.random.fold_in(key, page))(self.keys_B),
            live_B=live,
            chain=chain,
            prefix_BxDxL=parent.prefix_BxDxL.at[rows, at].set(step),
            depth_B=parent.depth_B + 1,
            step_length_B=length,
            path_log_pi_B=parent.path_log_pi_B + parent.log_pi_BxK[rows, action_B],
        )
        # A row with nothing open is sent into a finished or closed candidate and thrown away after
        # (see `run`); until then that edge is terminal: its value is the reward, and nothing below
        # it counts.
        output = mctx.RecurrentFnOutput(
            reward=jnp.where(live, 0.0, parent.value_BxK[rows, action_B]),
            discount=jnp.where(live, 1.0, 0.0),
            prior_logits=node.prior_logit_BxK,
            value=jnp.where(
                live, search.node_value(node, parent.model_value_BxK[rows, action_B]), 0.0
            ),
        )
        return output, node


def _close(tree: mctx.Tree, new_node, max_depth: int) -> selection.SearchState:
    """Opens the new node's candidates and, where it has none, closes the way to it, upwards as far
    as that goes.
    """
    rows = jnp.arange(tree.node_visits.shape[0])
    open_BxNxK = tree.extra_data.open_BxNxK.at[:, new_node].set(
        tree.embeddings.open_BxK[:, new_node]
    )
    node = jnp.full(rows.shape, new_node)
    for _ in range(max_depth):
        closed = ~jnp.any(open_BxNxK[rows, node], axis=-1) & (node > 0)
        parent, action = (
            jnp.maximum(tree.parents[rows, node], 0),
            jnp.maximum(tree.action_from_parent[rows, node], 0),
        )
        open_BxNxK = open_BxNxK.at[rows, parent, action].set(
            open_BxNxK[rows, parent, action] & ~closed
        )
        node = jnp.where(closed, parent, 0)
    return tree.extra_data._replace(open_BxNxK=open_BxNxK)


def _like(mask_B, x):
    return mask_B.reshape(mask_B.shape + (1,) * (x.ndim - 1))
