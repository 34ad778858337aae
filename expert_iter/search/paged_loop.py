"""mctx's simulation loop with a pool of KV pages carried beside the tree, and with an early end.

Shape suffixes: B rows, N nodes, K candidates a node, D steps a prefix at most, L tokens a step.
"""

import jax
import jax.numpy as jnp
import mctx

from expert_iter.model.pages import empty_pool
from expert_iter.model.state import State
from expert_iter.search import moves, selection
from expert_iter.search.bill import Budget
from expert_iter.search.expansion import like
from expert_iter.search.node import Node, next_cost, spent


class PagedLoop:
    """mctx traces `expand` inside the body that it hands to `run`; between the two, this object
    holds what the tree cannot: the pool, the simulation's number, and which rows go on.
    """

    def __init__(self, search, prompt: State, problem_B, keys_B, budget: Budget):
        self.search, self.prompt, self.problem_B, self.keys_B = search, prompt, problem_B, keys_B
        self.budget = budget
        self.pool = self.simulation = self.row_goes_on = None

    def run(self, lower, upper, body, init):
        c = self.search.config
        pool = empty_pool(
            self.search.network, self.problem_B.shape[0], upper + 1, c.max_step_tokens
        )

        def simulate(carry):
            simulation, (key, tree), self.row_goes_on, self.pool = carry
            self.simulation = simulation
            key, grown = body(simulation, (key, tree))
            grown = _after_simulation(grown, simulation + 1, c)
            # A row that has ended keeps its tree as it is: its statistics must not count idle
            # simulations. Its embeddings need no such care, and are too large for it: mctx wrote an
            # empty node to a slot that was empty.
            keep = lambda new, old: jnp.where(like(self.row_goes_on, new), new, old)  # noqa: E731
            nodes = grown.embeddings
            tree = jax.tree.map(keep, grown.replace(embeddings=None), tree.replace(embeddings=None))
            tree = tree.replace(embeddings=nodes)
            return simulation + 1, (key, tree), self._goes_on(simulation + 1, tree), self.pool

        start = jnp.int32(lower)
        carry = start, init, self._goes_on(start, init[1]), pool
        _, inner, _, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[2]), simulate, carry)
        self.pool = self.simulation = self.row_goes_on = None
        return inner

    def _goes_on(self, simulation, tree: mctx.Tree):
        """Which rows have something open and budget left."""
        config, nodes = self.search.config, tree.embeddings
        return (
            jnp.any(tree.extra_data.open[:, 0], axis=-1)
            & (simulation < self.budget.simulations)
            & (simulation < config.num_simulations)
            & self.budget.leaves_room(spent(nodes), next_cost(nodes, config))
        )

    def expand(self, params, key, action_B, parent: Node):
        """mctx's recurrent function: moves into the chosen candidate and draws the candidates after
        it.
        """
        del key
        search, rows = self.search, jnp.arange(action_B.shape[0])
        live = self.row_goes_on & parent.live & parent.open[rows, action_B]
        self.pool, node = search.child(
            params,
            self.pool,
            self.simulation + 1,
            self.prompt,
            parent,
            action_B,
            live,
            self.problem_B,
            self.keys_B,
        )
        own_value_B = parent.candidates.model_value[rows, action_B]
        # A row that has ended is sent anywhere and thrown away after (see `run`); until then that
        # edge is terminal: its value is the reward, and nothing below it counts.
        output = mctx.RecurrentFnOutput(
            reward=jnp.where(live, 0.0, parent.value[rows, action_B]),
            discount=jnp.where(live, 1.0, 0.0),
            prior_logits=node.candidates.prior_logit,
            value=jnp.where(live, search.node_value(node, own_value_B), 0.0),
        )
        return output, node


def _after_simulation(tree: mctx.Tree, new_node, config) -> mctx.Tree:
    """What mctx's own back-up leaves to do once a node was added."""
    if config.backup == "max":
        tree = _back_up_max(tree, new_node, config.max_steps)
    state: selection.SearchState = tree.extra_data
    open_BxNxK = state.open.at[:, new_node].set(tree.embeddings.open[:, new_node])
    everywhere = jnp.full(tree.parents.shape[:1], new_node)
    open_BxNxK = selection.close_upwards(tree, open_BxNxK, everywhere, config.max_steps)
    tree = tree.replace(extra_data=state._replace(open=open_BxNxK))
    if config.commit == "step":
        tree = tree.replace(extra_data=moves.commit(tree, new_node, config))
    if config.stop_when_solved:
        state = tree.extra_data
        solved = tree.embeddings.solved()[:, new_node]
        open_BxNxK = state.open & ~solved[:, None, None]
        tree = tree.replace(extra_data=state._replace(open=open_BxNxK))
    return tree


def _back_up_max(tree: mctx.Tree, new_node, max_depth: int) -> mctx.Tree:
    """Makes each node on the way up from the new one worth its best candidate."""
    rows = jnp.arange(tree.node_visits.shape[0])
    values, below = tree.node_values, tree.children_values
    node = jnp.full(rows.shape, new_node)
    for _ in range(max_depth + 1):
        q = jnp.where(
            tree.children_visits[rows, node] > 0,
            below[rows, node],
            tree.embeddings.value[rows, node],
        )
        best = jnp.max(jnp.where(tree.embeddings.candidates.valid[rows, node], q, 0.0), axis=-1)
        values = values.at[rows, node].set(best)
        parent = jnp.maximum(tree.parents[rows, node], 0)
        action = jnp.maximum(tree.action_from_parent[rows, node], 0)
        kept = below[rows, parent, action]
        below = below.at[rows, parent, action].set(jnp.where(node > 0, best, kept))
        node = parent
    return tree.replace(node_values=values, children_values=below)
