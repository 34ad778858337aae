"""Monte Carlo tree search over steps of text: B trees at once, one XLA program, on unmodified mctx.

mctx owns the tree and its statistics. Beside the tree, threaded through mctx's simulation loop,
travels the pool of KV pages; a node's embedding holds the chain of its pages, its candidate steps
and their values. A simulation selects an open candidate, reads its step into a page, draws K
candidates of its own, values them, and backs up.
"""

import functools

import jax
import jax.numpy as jnp
import mctx

from expert_iter.model.state import read_prompt
from expert_iter.search import moves, selection
from expert_iter.search.bill import Budget
from expert_iter.search.expansion import StepSearch
from expert_iter.search.node import Node, as_tree, next_cost
from expert_iter.search.paged_loop import PagedLoop
from expert_iter.search.tree import SearchTree


class TreeSearch(StepSearch):
    """Monte Carlo tree search over steps."""

    def run(self, params, token_BxP, length_B, problem_B, keys_B, budget) -> SearchTree:
        """See `Expert.run`."""
        c, budget = self.config, Budget.of(budget)
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        root = self.root(params, prompt, problem_B, keys_B)
        root_rule, rule = (functools.partial(rule, c) for rule in selection.RULES[c.policy])
        loop = PagedLoop(self, prompt, problem_B, keys_B, budget)
        own_value_B = jax.nn.sigmoid(self.network.value_logit(params, prompt.hidden_BxD))
        tree = mctx.search(
            params=params,
            rng_key=jax.random.key(0),  # all randomness comes from keys_B
            root=mctx.RootFnOutput(
                prior_logits=root.candidates.prior_logit,
                value=self.node_value(root, own_value_B),
                embedding=root,
            ),
            recurrent_fn=loop.expand,
            root_action_selection_fn=root_rule,
            interior_action_selection_fn=rule,
            num_simulations=c.num_simulations,
            extra_data=self._start(root, keys_B, budget),
            loop_fn=loop.run,
        )
        return as_tree(
            tree.embeddings,
            tree.parents,
            tree.action_from_parent,
            tree.children_index,
            tree.children_visits,
            tree.children_rewards + tree.children_discounts * tree.children_values,
            moves.answerable(tree),
        )

    def _start(self, root: Node, keys_B, budget: Budget) -> selection.SearchState:
        c, B = self.config, keys_B.shape[0]
        gumbel = jax.vmap(
            lambda key: jax.random.gumbel(jax.random.fold_in(key, 2**31 - 1), (c.width,))
        )
        open_BxNxK = jnp.zeros((B, c.num_simulations + 1, c.width), bool)
        first_cost = next_cost(jax.tree.map(lambda x: x[:, None], root), c)
        solved_B = root.solved() & c.stop_when_solved
        return selection.SearchState(
            root_gumbel=c.gumbel_scale * gumbel(keys_B),
            open=open_BxNxK.at[:, 0].set(root.open & ~solved_B[:, None]),
            planned=budget.expansions(root.bill, first_cost, c.num_simulations),
            at=jnp.zeros(B, jnp.int32),
            ended=jnp.full(B, -1, jnp.int32),
        )
