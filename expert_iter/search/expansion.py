"""What every search over steps does at a node: reads the step that leads there into a page, draws K
candidates for the next, and values them.

Whatever finishes is valued the moment it is generated: by the verdict if there is a verifier
(training), by the value head otherwise (evaluation). What does not finish is worth what the value
head says, or what came of rollouts from it to the end, or a mixture of both (AlphaGo, Silver et al.
2016, section "Searching with policy and value networks").

Shape suffixes: B rows, K candidates a node, D steps a prefix at most, L tokens a step.
"""

import jax
import jax.numpy as jnp

from expert_iter.model.pages import Chain, read_chain, with_step, write_page
from expert_iter.model.state import State, read_step
from expert_iter.model.transformer import KV
from expert_iter.search import selection
from expert_iter.search.behaviour import DEAD
from expert_iter.search.bill import Bill
from expert_iter.search.expert import NetworkExpert
from expert_iter.search.node import Node, Prefix
from expert_iter.search.rollouts import roll_out
from expert_iter.search.sampling import Candidates
from expert_iter.search.search_config import SearchConfig


class StepSearch(NetworkExpert):
    """A search over steps; subclasses grow the tree."""

    verdicts_after = shares_draws = False
    config: SearchConfig

    @property
    def most(self) -> int:
        return self.config.num_simulations

    def root(self, params, prompt: State, problem_B, keys_B) -> Node:
        B, D, L = prompt.hidden_BxD.shape[0], self.config.max_steps, self.config.max_step_tokens
        prefix = Prefix(
            chain=Chain(jnp.full((B, D), -1, jnp.int32), jnp.zeros((B, D), jnp.int32)),
            token=jnp.full((B, D, L), self.steps.ids.pad, jnp.int32),
            depth=jnp.zeros(B, jnp.int32),
            log_pi=jnp.zeros(B),
            log_value=jnp.zeros(B),
        )
        keys_B = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys_B)
        everyone = jnp.ones(B, bool)
        return self.continue_from(
            params, prompt, problem_B, keys_B, self.config.width, prefix, everyone
        )

    def child(
        self,
        params,
        pool: KV,
        page,
        prompt: State,
        parent: Node,
        action_B,
        live_B,
        problem_B,
        keys_B,
    ) -> tuple[KV, Node]:
        """Moves each row into a candidate of `parent`, whose step becomes page `page` of the pool.

        live_B: rows that are wanted. The others get an empty node.
        """
        c, rows = self.config, jnp.arange(action_B.shape[0])
        chosen = jax.tree.map(lambda x: x[rows, action_B], parent.candidates)
        before = read_chain(pool, prompt, parent.prefix.chain)
        after = read_step(self.network, params, before, chosen.token, chosen.length)
        at = jnp.minimum(parent.prefix.depth, c.max_steps - 1)
        context = with_step(before, after, prompt.mask_BxC.shape[1] + at * c.max_step_tokens)
        prefix = Prefix(
            chain=Chain(
                parent.prefix.chain.page_BxD.at[rows, at].set(page),
                parent.prefix.chain.length_BxD.at[rows, at].set(chosen.length),
            ),
            token=parent.prefix.token.at[rows, at].set(chosen.token),
            depth=parent.prefix.depth + 1,
            log_pi=parent.prefix.log_pi + chosen.log_pi,
            log_value=parent.prefix.log_value
            + jnp.log(jnp.maximum(parent.value[rows, action_B], 1e-9)),
        )
        keys_B = jax.vmap(lambda key: jax.random.fold_in(key, page))(keys_B)
        node = self.continue_from(
            params, context, problem_B, keys_B, c.num_candidates, prefix, live_B
        )
        node = jax.tree.map(lambda x: jnp.where(like(live_B, x), x, 0).astype(x.dtype), node)
        return write_page(pool, page, after.kv), node

    def continue_from(
        self,
        params,
        state: State,
        problem_B,
        keys_B,
        num_candidates: int,
        prefix: Prefix,
        live_B,
    ) -> Node:
        """Draws and values the candidates of a node; room for more than are drawn stays empty."""
        c = self.config
        drawn, loop_steps = self.draw(
            params, state, keys_B, num_candidates, c.max_step_tokens, live_B=live_B
        )
        bill = self._bill(prefix.chain, state, drawn, loop_steps, live_B)
        drawn = _widen(drawn, c.width)
        finished = drawn.finished & drawn.valid & live_B[:, None]
        cut_off = ~finished & (prefix.depth[:, None] + 1 >= c.max_steps)
        open_BxK = drawn.valid & ~finished & ~cut_off & live_B[:, None]
        won = self.verdicts(problem_B, prefix.token, drawn.token, finished)

        value, rollouts = drawn.model_value, None
        if c.rollouts:
            rollouts, more = roll_out(
                self, params, state, problem_B, keys_B, prefix.token, drawn, open_BxK
            )
            bill += more
            came = jnp.mean(rollouts.value.reshape(*value.shape, c.rollouts), axis=-1)
            value = (1 - c.rollout_weight) * value + c.rollout_weight * came
        value = jnp.where(finished, drawn.model_value, value)
        if self.verifier is not None:
            value = jnp.where(finished, won.astype(value.dtype), value)
        prior = drawn.prior_logit
        if c.prior == "length_normalised":
            prior = drawn.log_pi / jnp.maximum(drawn.length, 1)
        return Node(
            live=live_B,
            prefix=prefix,
            candidates=drawn._replace(
                prior_logit=jnp.where(drawn.valid, prior, DEAD), finished=finished
            ),
            value=jnp.where(cut_off, 0.0, value),
            won=won,
            open=open_BxK,
            bill=bill,
            rollouts=rollouts,
        )

    def node_value(self, node: Node, own_value_B):
        """A new node's value: λ · Σ π'(a) v(a) over its candidates + (1 − λ) · the value head at
        the node (with max back-up the best of its candidates takes this place).
        """
        c = self.config
        no_visits = jnp.zeros_like(node.value)
        prior = node.candidates.prior_logit
        policy = selection.improved_policy(prior, node.value, no_visits, c)
        ahead = jnp.sum(policy * node.value, axis=-1)
        return c.lookahead * ahead + (1 - c.lookahead) * own_value_B

    def _bill(self, chain: Chain, state: State, drawn: Candidates, loop_steps, live_B) -> Bill:
        """Of one expansion: the step's tokens (the root's are the prompt's) and the candidates'."""
        generated = jnp.sum(drawn.count * drawn.length, axis=-1) * live_B
        prefix_B = state.next_position_B
        last = jnp.maximum(jnp.sum(chain.page_BxD >= 0, axis=-1) - 1, 0)
        step = jnp.take_along_axis(chain.length_BxD, last[:, None], axis=1)[:, 0]
        read = jnp.where(chain.page_BxD[:, 0] >= 0, step, prefix_B) * live_B
        mean_step = generated / jnp.maximum(jnp.sum(drawn.count, axis=-1), 1)
        lockstep = jnp.full_like(generated, loop_steps * drawn.valid.shape[1]) * live_B
        return self.price(generated, read, lockstep, prefix_B + mean_step / 2)


def like(mask_B, x):
    """The mask with dimensions added at its end, to select among rows of x `[B, ...]`."""
    return mask_B.reshape(mask_B.shape + (1,) * (x.ndim - 1))


def _widen(drawn: Candidates, width: int) -> Candidates:
    """Room for `width` candidates: those that were not drawn are invalid."""
    more = width - drawn.valid.shape[1]
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, more)) + ((0, 0),) * (x.ndim - 2)), drawn)
