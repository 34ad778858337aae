"""Searches that grow a tree by a rule: beam search, tree of thoughts, best-first, and their kin.

Each of these searches says which open candidate, of all in the tree, is to be continued next; what
continuing means is the same for all (`search.expansion`). So an expert is one function, a `Rule`:
it sees one tree and gives each candidate a priority; the search continues the open one with the
highest, and ends where none is above −∞. B trees grow side by side in one XLA program.

Shape suffixes: B rows, N nodes, K candidates a node.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.pages import empty_pool
from expert_iter.search.bill import Budget
from expert_iter.search.expansion import StepSearch
from expert_iter.search.growth import Choice, Growth, Start
from expert_iter.search.node import Node, as_tree, next_cost, spent
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree

NEVER = -jnp.inf


class Frontier(NamedTuple):
    """One tree as its rule sees it. Nodes are numbered as they were made.

    Attributes:
      depth_N: int32. How many steps lead to a node.
      value_N: float32 in [0, 1]. What its last step was worth; 0 at the root.
      path_log_pi_N: float32. The sum of its steps' log-probabilities.
      path_log_value_N: float32. The sum of the logarithms of its steps' values.
      open_NxK: bool. The candidates to choose from.
      continued_NxK: bool. Those that are nodes by now.
      finished_NxK: bool. Those that are complete texts.
      value_NxK: float32 in [0, 1]. What the candidates are worth.
      log_pi_NxK: float32. Their log-probabilities.
      planned: [] int32. How many nodes the budget is expected to allow after the root.
    """

    depth_N: jax.Array
    value_N: jax.Array
    path_log_pi_N: jax.Array
    path_log_value_N: jax.Array
    open_NxK: jax.Array
    continued_NxK: jax.Array
    finished_NxK: jax.Array
    value_NxK: jax.Array
    log_pi_NxK: jax.Array
    planned: jax.Array

    @property
    def log_value_NxK(self):
        return jnp.log(jnp.maximum(self.value_NxK, 1e-9))


# (the tree, the search's settings) -> priorities [N, K]
Rule = Callable[[Frontier, SearchConfig], jax.Array]


class Ruled(NamedTuple):
    """The trees so far.

    Attributes:
      node: [B, N]. Their nodes.
      parent: [B, N] int32. The node that each continues; −1 at the root.
      action: [B, N] int32. Which of its candidates; −1 at the root.
      child: [B, N, K] int32. The node that continues each candidate, or −1.
      planned: [B] int32. How many nodes the budget is expected to allow after the root.
    """

    node: Node
    parent: jax.Array
    action: jax.Array
    child: jax.Array
    planned: jax.Array


class FrontierSearch(StepSearch):
    """Grows trees by `rule`."""

    def __init__(self, rule: Rule, *arguments):
        super().__init__(*arguments)
        self.rule = rule

    def plant(self, start: Start, root: Node, budget: Budget) -> Growth:
        """See `StepSearch.plant`."""
        c = self.config
        B, N = start.key.shape[0], c.num_simulations + 1
        room = lambda x: jnp.zeros((B, N, *x.shape[1:]), x.dtype).at[:, 0].set(x)  # noqa: E731
        none = jnp.full((B, N), -1, jnp.int32)
        nodes, child = jax.tree.map(room, root), jnp.full((B, N, c.width), -1, jnp.int32)
        planned_B = budget.expansions(root.bill, next_cost(nodes, c), c.num_simulations)
        pool = empty_pool(self.network, B, N, self.page_tokens)
        return Growth(Ruled(nodes, none, none, child, planned_B), pool)

    def nodes(self, growth: Growth) -> Node:
        return growth.tree.node

    def choose(self, growth: Growth, number, budget: Budget) -> Choice:
        """See `StepSearch.choose`."""
        c, trees = self.config, growth.tree
        frontiers = jax.vmap(_frontier)(trees)
        priority = jax.vmap(lambda frontier: self.rule(frontier, c))(frontiers)
        may = frontiers.open_NxK & self._goes_on(trees, number, budget)[:, None, None]
        flat = jnp.where(may, priority, NEVER).reshape(priority.shape[0], -1)
        best = jnp.argmax(flat, axis=-1)
        live = jnp.take_along_axis(flat, best[:, None], axis=-1)[:, 0] > NEVER
        return Choice(best // c.width, best % c.width, live)

    def _goes_on(self, trees: Ruled, number, budget: Budget):
        """Which rows have budget left, and are not done."""
        cost = next_cost(trees.node, self.config)
        goes_on = budget.leaves_room(spent(trees.node), cost) & (number <= budget.simulations)
        goes_on &= number <= self.config.num_simulations
        if self.config.stop_when_solved:
            goes_on &= ~jnp.any(trees.node.solved(), axis=1)
        return goes_on

    def add(self, growth: Growth, number, choice: Choice, node: Node) -> Growth:
        """See `StepSearch.add`."""
        trees, (at, action, live) = growth.tree, choice
        rows = jnp.arange(at.shape[0])
        kept = trees.child[rows, at, action]
        trees = trees._replace(
            node=jax.tree.map(lambda x, new: x.at[:, number].set(new), trees.node, node),
            parent=trees.parent.at[:, number].set(jnp.where(live, at, -1)),
            action=trees.action.at[:, number].set(jnp.where(live, action, -1)),
            child=trees.child.at[rows, at, action].set(jnp.where(live, number, kept)),
        )
        return growth._replace(tree=trees)

    def finish(self, growth: Growth) -> SearchTree:
        """See `StepSearch.finish`. visits counts nodes below a candidate; q is the highest value
        there.
        """
        trees = growth.tree
        visits, q = _statistics(trees)
        everywhere = jnp.ones((*trees.parent.shape, 1), bool)
        return as_tree(trees.node, trees.parent, trees.action, trees.child, visits, q, everywhere)


def _frontier(tree: Ruled) -> Frontier:
    """One row of the trees, for its rule."""
    node = tree.node
    parent, action = jnp.maximum(tree.parent, 0), jnp.maximum(tree.action, 0)
    live = node.live[:, None]
    return Frontier(
        depth_N=node.prefix.depth,
        value_N=jnp.where(tree.parent >= 0, node.value[parent, action], 0.0),
        path_log_pi_N=node.prefix.log_pi,
        path_log_value_N=node.prefix.log_value,
        open_NxK=node.open & live & (tree.child < 0),
        continued_NxK=tree.child >= 0,
        finished_NxK=node.candidates.finished & live,
        value_NxK=node.value,
        log_pi_NxK=node.candidates.log_pi,
        planned=tree.planned,
    )


def _statistics(trees: Ruled):
    """Nodes below each candidate, and the highest value there, `[B, N, K]`."""
    node, rows = trees.node, jnp.arange(trees.parent.shape[0])
    worth = jnp.where(node.candidates.valid & node.live[..., None], node.value, 0.0)

    def up(carry, n):
        visits, q = carry
        parent, action = jnp.maximum(trees.parent[:, n], 0), jnp.maximum(trees.action[:, n], 0)
        live = trees.parent[:, n] >= 0
        below = 1 + jnp.sum(visits[:, n], axis=-1)
        visits = visits.at[rows, parent, action].add(jnp.where(live, below, 0))
        best = jnp.where(live, jnp.max(q[:, n], axis=-1), q[rows, parent, action])
        return (visits, q.at[rows, parent, action].set(best)), None

    # A child's number is above its parent's.
    start = jnp.zeros(trees.child.shape, jnp.int32), worth
    numbers = jnp.arange(trees.parent.shape[1] - 1, 0, -1)
    (visits, q), _ = jax.lax.scan(up, start, numbers)
    return visits, q
