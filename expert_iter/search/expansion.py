"""What every search over steps does at a node: reads the step that leads there into a page, draws K
candidates for the next, and values them.

Whatever finishes is valued the moment it is generated: by the verifier's verdict when a judge is
given (training), by the value head otherwise (evaluation). What does not finish is worth what the
value head says, or what came of rollouts from it to the end, or a mixture of both (AlphaGo, Silver
et al. 2016, section "Searching with policy and value networks").

Shape suffixes: B rows, K candidates a node, D steps a prefix at most, L tokens a step.
"""

import functools

import jax
import jax.numpy as jnp

from expert_iter.model.pages import Chain, read_chain, with_step, write_page
from expert_iter.model.state import State, read_step
from expert_iter.model.transformer import KV
from expert_iter.search import selection
from expert_iter.search.bill import Bill
from expert_iter.search.candidates import DEAD, Candidates
from expert_iter.search.expert import Expert
from expert_iter.search.node import Node
from expert_iter.search.rollouts import roll_out
from expert_iter.search.search_config import SearchConfig


class StepSearch(Expert):
    """A search over steps; subclasses grow the tree."""

    config: SearchConfig

    @property
    def most(self) -> int:
        """The largest budget, in simulations."""
        return self.config.num_simulations

    def root(self, params, prompt: State, problem_B, keys_B) -> Node:
        B, D, L = prompt.hidden_BxD.shape[0], self.config.max_steps, self.config.max_step_tokens
        return self.continue_from(
            params,
            prompt,
            problem_B,
            jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys_B),
            self.config.width,
            live_B=jnp.ones(B, bool),
            chain=Chain(jnp.full((B, D), -1, jnp.int32), jnp.zeros((B, D), jnp.int32)),
            prefix_BxDxL=jnp.full((B, D, L), self.ids.pad, jnp.int32),
            depth_B=jnp.zeros(B, jnp.int32),
            path_log_pi_B=jnp.zeros(B),
            path_log_value_B=jnp.zeros(B),
        )

    def child(
        self, params, pool: KV, page, prompt: State, parent: Node, action_B, live_B, problem, keys_B
    ) -> tuple[KV, Node]:
        """Moves each row into a candidate of `parent`, whose step becomes page `page` of the pool.

        live_B: rows that are wanted. The others get an empty node; where they are more than half,
        nothing is computed for them if the batch may be halved.
        """
        B = live_B.shape[0]
        sizes = sorted({-(-B // 2**i) for i in range(self.config.halvings + 1)}, reverse=True)
        order = jnp.argsort(~live_B, stable=True)
        given = parent, action_B, live_B, problem, keys_B

        def among(size: int):
            if size == B:
                return self._child(params, pool, page, jnp.arange(B), prompt, *given)
            row = order[:size]
            own = lambda x: x[row]  # noqa: E731
            asked = State(KV(*(x[:, row] for x in prompt.kv)), *map(own, prompt[1:]))
            kv, node = self._child(params, pool, page, row, asked, *jax.tree.map(own, given))

            def back(x, axis=0):
                room = jnp.zeros((*x.shape[:axis], B, *x.shape[axis + 1 :]), x.dtype)
                return room.at[(slice(None),) * axis + (row,)].set(x)

            return KV(*(back(x, axis=1) for x in kv)), jax.tree.map(back, node)

        enough = jnp.sum(jnp.array(sizes) >= jnp.sum(live_B)) - 1
        kv, node = jax.lax.switch(enough, [functools.partial(among, size) for size in sizes])
        node = jax.tree.map(lambda x: jnp.where(like(live_B, x), x, 0).astype(x.dtype), node)
        return write_page(pool, page, kv), node

    def _child(
        self, params, pool, page, row_B, prompt, parent, action_B, live_B, problem, keys_B
    ) -> tuple[KV, Node]:
        """`child` for some rows, `row_B` of the pool's; returns their page and node."""
        c, rows = self.config, jnp.arange(action_B.shape[0])
        step, length = parent.token_BxKxL[rows, action_B], parent.length_BxK[rows, action_B]
        before = read_chain(pool, prompt, parent.chain, row_B)
        after = read_step(self.network, params, before, step, length)
        at = jnp.minimum(parent.depth_B, c.max_steps - 1)
        chain = Chain(
            parent.chain.page_BxD.at[rows, at].set(page),
            parent.chain.length_BxD.at[rows, at].set(length),
        )
        context = with_step(before, after, prompt.mask_BxC.shape[1] + at * c.max_step_tokens)
        log_value_B = jnp.log(jnp.maximum(parent.value_BxK[rows, action_B], 1e-9))
        node = self.continue_from(
            params,
            context,
            problem,
            jax.vmap(lambda key: jax.random.fold_in(key, page))(keys_B),
            c.num_candidates,
            live_B=live_B,
            chain=chain,
            prefix_BxDxL=parent.prefix_BxDxL.at[rows, at].set(step),
            depth_B=parent.depth_B + 1,
            path_log_pi_B=parent.path_log_pi_B + parent.log_pi_BxK[rows, action_B],
            path_log_value_B=parent.path_log_value_B + log_value_B,
        )
        return after.kv, node

    def continue_from(
        self, params, state: State, problem_B, keys_B, num_candidates: int, **prefix
    ) -> Node:
        """Draws and values the candidates of a node; room for more than are drawn stays empty."""
        c, live_B, depth_B = self.config, prefix["live_B"], prefix["depth_B"]
        drawn = self.draw(params, state, keys_B, num_candidates, c.max_step_tokens, live_B=live_B)
        bill = self._bill(prefix["chain"], state, drawn, live_B)
        drawn = _widen(drawn, c.width)
        finished = drawn.finished_BxK & live_B[:, None]
        cut_off = ~finished & (depth_B[:, None] + 1 >= c.max_steps)
        open_BxK = drawn.valid_BxK & ~finished & ~cut_off & live_B[:, None]
        won = self.verdicts(problem_B, prefix["prefix_BxDxL"], drawn.token_BxKxL, finished)

        value, rollouts = drawn.value_BxK, None
        if c.rollouts:
            rollouts, more = roll_out(
                self, params, state, problem_B, keys_B, prefix["prefix_BxDxL"], drawn, open_BxK
            )
            bill += more
            came = jnp.mean(rollouts.worth_BxR.reshape(*value.shape, c.rollouts), axis=-1)
            value = (1 - c.rollout_weight) * value + c.rollout_weight * came
        value = jnp.where(finished, drawn.value_BxK, value)
        if self.judge is not None:
            value = jnp.where(finished, won.astype(value.dtype), value)
        prior = drawn.prior_logit_BxK
        if c.prior == "length_normalised":
            prior = drawn.log_pi_BxK / jnp.maximum(drawn.length_BxK, 1)
        return Node(
            **prefix,
            token_BxKxL=drawn.token_BxKxL,
            length_BxK=drawn.length_BxK,
            valid_BxK=drawn.valid_BxK,
            count_BxK=drawn.count_BxK,
            prior_logit_BxK=jnp.where(drawn.valid_BxK, prior, DEAD),
            log_pi_BxK=drawn.log_pi_BxK,
            log_beta_BxK=drawn.log_beta_BxK,
            token_value_BxKxL=drawn.token_value_BxKxL,
            model_value_BxK=drawn.value_BxK,
            value_BxK=jnp.where(cut_off, 0.0, value),
            finished_BxK=finished,
            won_BxK=won,
            open_BxK=open_BxK,
            bill=bill,
            rollouts=rollouts,
        )

    def node_value(self, node: Node, own_value_B):
        """A new node's value: λ · Σ π'(a) v(a) over its candidates + (1 − λ) · the value head at
        the node (with max back-up the best of its candidates takes this place).
        """
        c = self.config
        no_visits = jnp.zeros_like(node.value_BxK)
        policy = selection.improved_policy(
            node.prior_logit_BxK, node.value_BxK, no_visits, c.value_scale, c.maxvisit_init
        )
        ahead = jnp.sum(policy * node.value_BxK, axis=-1)
        return c.lookahead * ahead + (1 - c.lookahead) * own_value_B

    def _bill(self, chain: Chain, state: State, drawn: Candidates, live_B) -> Bill:
        """Of one expansion: the step's tokens (the root's are the prompt's) and the candidates'."""
        generated = jnp.sum(drawn.count_BxK * drawn.length_BxK, axis=-1) * live_B
        prefix_B = state.next_position_B
        last = jnp.maximum(jnp.sum(chain.page_BxD >= 0, axis=-1) - 1, 0)
        step = jnp.take_along_axis(chain.length_BxD, last[:, None], axis=1)[:, 0]
        read = jnp.where(chain.page_BxD[:, 0] >= 0, step, prefix_B) * live_B
        mean_step = generated / jnp.maximum(jnp.sum(drawn.count_BxK, axis=-1), 1)
        lockstep = jnp.full_like(generated, drawn.loop_steps * drawn.valid_BxK.shape[1]) * live_B
        return self.price(generated, read, lockstep, prefix_B + mean_step / 2)


def like(mask_B, x):
    """The mask with dimensions added at its end, to select among rows of x `[B, ...]`."""
    return mask_B.reshape(mask_B.shape + (1,) * (x.ndim - 1))


def _widen(drawn: Candidates, width: int) -> Candidates:
    """Room for `width` candidates: those that were not drawn are invalid."""
    more = width - drawn.valid_BxK.shape[1]
    room = lambda x: jnp.pad(x, ((0, 0), (0, more)) + ((0, 0),) * (x.ndim - 2))  # noqa: E731
    wide = jax.tree.map(room, drawn._replace(loop_steps=None))
    return wide._replace(loop_steps=drawn.loop_steps)
