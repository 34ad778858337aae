"""Monte Carlo tree search over steps of text: B trees at once, on mctx.

mctx owns the tree and its statistics. Beside the tree stands the pool of KV pages; a node's
embedding holds the chain of its pages, its candidate steps and their values. A simulation selects
an open candidate, reads its step into a page, draws K candidates of its own, values them, and backs
up.

mctx's simulation is taken in two parts, selection before a node is drawn and back-up after it, so
that verdicts can be given in between.
"""

import functools

import jax
import jax.numpy as jnp
import mctx
from mctx._src import action_selection
from mctx._src import search as simulation  # the parts of `mctx.search`, which runs whole searches

from expert_iter.model.pages import empty_pool
from expert_iter.search import moves, selection
from expert_iter.search.bill import Budget
from expert_iter.search.expansion import StepSearch, like
from expert_iter.search.growth import Choice, Growth, Start
from expert_iter.search.gumbel_top_k import row_gumbel
from expert_iter.search.node import Node, as_tree, next_cost, spent
from expert_iter.search.tree import SearchTree


class TreeSearch(StepSearch):
    """Monte Carlo tree search over steps."""

    def plant(self, start: Start, root: Node, budget: Budget) -> Growth:
        """See `StepSearch.plant`."""
        c = self.config
        tree = mctx.search(
            params=None,
            rng_key=_no_key(),
            root=mctx.RootFnOutput(
                prior_logits=root.candidates.prior_logit,
                value=self.node_value(root, start.value),
                embedding=root,
            ),
            recurrent_fn=None,
            root_action_selection_fn=None,
            interior_action_selection_fn=None,
            num_simulations=c.num_simulations,
            extra_data=self._first_state(root, start.key, budget),
            loop_fn=lambda lower, upper, body, init: init,  # the tree before any simulation
        )
        B, N = root.live.shape[0], c.num_simulations + 1
        return Growth(tree, empty_pool(self.network, B, N, self.page_tokens))

    def _first_state(self, root: Node, keys_B, budget: Budget) -> selection.SearchState:
        c, B = self.config, keys_B.shape[0]
        open_BxNxK = jnp.zeros((B, c.num_simulations + 1, c.width), bool)
        first_cost = next_cost(jax.tree.map(lambda x: x[:, None], root), c)
        solved_B = root.solved() & c.stop_when_solved
        return selection.SearchState(
            root_gumbel=c.gumbel_scale * row_gumbel(keys_B, 2**31 - 1, (c.width,)),
            open=open_BxNxK.at[:, 0].set(root.open & ~solved_B[:, None]),
            planned=budget.expansions(root.bill, first_cost, c.num_simulations),
            at=jnp.zeros(B, jnp.int32),
            ended=jnp.full(B, -1, jnp.int32),
        )

    def nodes(self, growth: Growth) -> Node:
        return growth.tree.embeddings

    def choose(self, growth: Growth, number, budget: Budget) -> Choice:
        """See `StepSearch.choose`."""
        c, tree = self.config, growth.tree
        root_rule, rule = (functools.partial(rule, c) for rule in selection.RULES[c.policy])
        select = action_selection.switching_action_selection_wrapper(root_rule, rule)
        B = tree.node_visits.shape[0]
        node_B, action_B = simulation.simulate(
            jax.random.split(_no_key(), B), tree, select, c.num_simulations
        )
        nodes = tree.embeddings
        goes_on_B = (
            jnp.any(tree.extra_data.open[:, 0], axis=-1)
            & (number <= budget.simulations)
            & (number <= c.num_simulations)
            & budget.leaves_room(spent(nodes), next_cost(nodes, c))
        )
        return Choice(node_B, action_B, goes_on_B)

    def add(self, growth: Growth, number, choice: Choice, node: Node) -> Growth:
        """See `StepSearch.add`."""
        old, rows = growth.tree, jnp.arange(choice.action.shape[0])
        own_value_B = old.embeddings.candidates.model_value[rows, choice.node, choice.action]
        output = mctx.RecurrentFnOutput(
            reward=jnp.zeros_like(own_value_B),
            discount=jnp.ones_like(own_value_B),
            prior_logits=node.candidates.prior_logit,
            value=self.node_value(node, own_value_B),
        )
        number_B = jnp.full(choice.action.shape, number)
        tree = simulation.expand(
            None, _no_key(), old, lambda *_: (output, node), choice.node, choice.action, number_B
        )
        tree = self._after_back_up(simulation.backward(tree, number_B), number)
        # A row that is done keeps its tree as it is: its statistics must not count idle
        # simulations. Its embeddings need no such care, and are too large for it: an empty node was
        # written where none was.
        keep = lambda new, old: jnp.where(like(choice.live, new), new, old)  # noqa: E731
        nodes = tree.embeddings
        tree = jax.tree.map(keep, tree.replace(embeddings=None), old.replace(embeddings=None))
        return growth._replace(tree=tree.replace(embeddings=nodes))

    def _after_back_up(self, tree: mctx.Tree, number) -> mctx.Tree:
        """What mctx's own back-up leaves to do once node `number` was added."""
        c = self.config
        if c.backup == "max":
            tree = _back_up_max(tree, number, c.max_steps)
        state: selection.SearchState = tree.extra_data
        open_BxNxK = state.open.at[:, number].set(tree.embeddings.open[:, number])
        everywhere = jnp.full(tree.parents.shape[:1], number)
        open_BxNxK = selection.close_upwards(tree, open_BxNxK, everywhere, c.max_steps)
        tree = tree.replace(extra_data=state._replace(open=open_BxNxK))
        if c.commit == "step":
            tree = tree.replace(extra_data=moves.commit(tree, number, c))
        if c.stop_when_solved:
            state, solved = tree.extra_data, tree.embeddings.solved()[:, number]
            open_BxNxK = state.open & ~solved[:, None, None]
            tree = tree.replace(extra_data=state._replace(open=open_BxNxK))
        return tree

    def finish(self, growth: Growth) -> SearchTree:
        """See `StepSearch.finish`."""
        tree = growth.tree
        return as_tree(
            tree.embeddings,
            tree.parents,
            tree.action_from_parent,
            tree.children_index,
            tree.children_visits,
            tree.children_rewards + tree.children_discounts * tree.children_values,
            moves.answerable(tree),
        )


def _no_key():  # all randomness comes from the rows' own keys
    return jax.random.key(0)


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
