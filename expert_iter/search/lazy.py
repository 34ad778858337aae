"""Monte Carlo tree search that draws a candidate step only when it visits it, one a simulation.

Draws are independent and the policy's own, so nothing is known of a candidate before it is drawn,
and a node needs no more of them than are visited: it has K slots, empty at first, all alike. A
simulation descends to an empty slot, draws one step into it, and backs up what the step is worth:
the value head at its end, or the verdict where it finishes and a judge is given. A step that may be
continued is read into a page (again: what decoding computed is not kept) and is the new node.

So as many tokens buy about K times the simulations of `search.mcts`, of a K-th of the work each.
Selection, closing and back-up are those of `search.mcts`, with the slots' constant prior (log c for
a text drawn c times; an empty slot counts with the value head at its node).

Shape suffixes: B rows, N nodes, K slots a node, D steps a prefix at most, L tokens a step.
"""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import mctx

from expert_iter.errors import UserError
from expert_iter.model.pages import Chain, read_chain, write_page
from expert_iter.model.state import State, read_prompt, read_step
from expert_iter.search.bill import Bill, Budget
from expert_iter.search.candidates import DEAD
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.node import Node, as_tree, spent
from expert_iter.search.paged_loop import PagedLoop
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree

# A node, and the trunk's output at its last token. Its slots are those of its K candidates that
# were not drawn: not valid, open, worth what the node is.
LazyNode = collections.namedtuple("LazyNode", (*Node._fields, "hidden_BxD"))


def build(network, settings, steps, judge=None) -> "LazySearch":
    """With as many simulations as a tree of the configured size has candidates."""
    search = settings.search
    draws = search.width + search.num_simulations * search.num_candidates
    changed = dataclasses.replace(search, num_simulations=draws)
    policy = dataclasses.replace(
        settings.sampler, replacement=True, temperature=1.0, top_k=0, top_p=1.0
    )
    return LazySearch(network, changed, policy, steps, judge)


class LazySearch(TreeSearch):
    """`run` is pure and meant to be jitted. A simulation is one drawn step."""

    def __init__(self, network, config: SearchConfig, *arguments):
        super().__init__(network, config, *arguments)
        usual = dict(rollouts=0, backup="mean", commit="solution", prior="corrected", halvings=0)
        for name, value in usual.items():
            if getattr(config, name) != value:
                raise UserError(f"mcts_lazy needs search.{name}={value}")

    def run(self, params, token_BxP, length_B, problem_B, keys_B, budget) -> SearchTree:
        """As `TreeSearch.run`. In the record nodes may have gaps in their numbers: a draw that
        cannot be continued takes one, and is no node.
        """
        c, budget = self.config, Budget.of(budget)
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        root = self._empty_root(params, prompt)
        root_rule, rule = self._rules()
        loop = _LazyLoop(self, prompt, problem_B, keys_B, budget)
        tree = mctx.search(
            params=params,
            rng_key=jax.random.key(0),  # all randomness comes from keys_B
            root=mctx.RootFnOutput(
                prior_logits=root.prior_logit_BxK, value=root.value_BxK[:, 0], embedding=root
            ),
            recurrent_fn=loop.expand,
            root_action_selection_fn=root_rule,
            interior_action_selection_fn=rule,
            num_simulations=c.num_simulations,
            extra_data=self._start(root, keys_B, budget),
            loop_fn=loop.run,
        )
        nodes = tree.embeddings
        prior = jnp.where(nodes.valid_BxK, tree.children_prior_logits, DEAD)
        return as_tree(
            nodes._replace(prior_logit_BxK=prior),
            tree.parents,
            tree.action_from_parent,
            tree.children_index,
            tree.children_visits,
            tree.children_rewards + tree.children_discounts * tree.children_values,
            jnp.ones_like(nodes.live_B),
        )

    def _empty_root(self, params, prompt: State) -> LazyNode:
        (B, _), c = prompt.hidden_BxD.shape, self.config
        length_B, none = prompt.next_position_B, jnp.zeros(B)
        return self.empty(
            jax.nn.sigmoid(self.network.value_logit(params, prompt.hidden_BxD)),
            c.width,
            live_B=jnp.ones(B, bool),
            chain=Chain(
                jnp.full((B, c.max_steps), -1, jnp.int32), jnp.zeros((B, c.max_steps), jnp.int32)
            ),
            prefix_BxDxL=jnp.full((B, c.max_steps, c.max_step_tokens), self.ids.pad, jnp.int32),
            depth_B=jnp.zeros(B, jnp.int32),
            path_log_pi_B=none,
            path_log_value_B=none,
            hidden_BxD=prompt.hidden_BxD,
            bill=Bill(*map(jnp.float32, self.price(none, length_B, none, length_B))),
        )

    def empty(self, value_B, slots: int, **prefix) -> LazyNode:
        """A node of which nothing was drawn yet; value_B: the value head there."""
        B, K, L = value_B.shape[0], self.config.width, self.config.max_step_tokens
        no, zero, none = jnp.zeros((B, K), bool), jnp.zeros((B, K)), jnp.zeros((B, K), jnp.int32)
        is_slot = jnp.broadcast_to(jnp.arange(K) < slots, (B, K))
        return LazyNode(
            **prefix,
            token_BxKxL=jnp.full((B, K, L), self.ids.pad, jnp.int32),
            length_BxK=none,
            valid_BxK=no,
            count_BxK=none,
            prior_logit_BxK=jnp.where(is_slot, 0.0, DEAD),
            log_pi_BxK=zero,
            log_beta_BxK=zero,
            token_value_BxKxL=jnp.zeros((B, K, L)),
            model_value_BxK=zero,
            value_BxK=jnp.broadcast_to(value_B[:, None], (B, K)),
            finished_BxK=no,
            won_BxK=no,
            open_BxK=is_slot & prefix["live_B"][:, None],
            rollouts=None,
        )


class _LazyLoop(PagedLoop):
    """Beside what a `PagedLoop` holds, between mctx's step and the end of its simulation: what the
    step drew.
    """

    drawn = None

    def run(self, lower, upper, body, init):
        def simulate(simulation, carry):
            key, tree = body(simulation, carry)
            return key, self._record(tree, simulation + 1)

        return super().run(lower, upper, simulate, init)

    def expand(self, params, key, action_B, parent: LazyNode):
        """mctx's recurrent function: draws the step of an empty slot."""
        del key
        search, c, rows = self.search, self.search.config, jnp.arange(action_B.shape[0])
        page = self.simulation + 1
        live = self.row_goes_on & parent.live_B & parent.open_BxK[rows, action_B]
        before = read_chain(self.pool, self.prompt, parent.chain)
        before = before._replace(hidden_BxD=parent.hidden_BxD)
        keys_B = jax.vmap(lambda key: jax.random.fold_in(key, page))(self.keys_B)
        drawn = search.draw(params, before, keys_B, 1, c.max_step_tokens, live_B=live)
        step, length = drawn.token_BxKxL[:, 0], drawn.length_BxK[:, 0] * live
        finished_Bx1 = drawn.finished_BxK & live[:, None]
        won = search.verdicts(self.problem_B, parent.prefix_BxDxL, step[:, None], finished_Bx1)
        finished, won, model_value = finished_Bx1[:, 0], won[:, 0], drawn.value_BxK[:, 0]
        value = model_value if search.judge is None else jnp.where(finished, won, model_value)
        cut_off = ~finished & (parent.depth_B + 1 >= c.max_steps)
        value = jnp.where(cut_off | ~live, 0.0, value)
        same = jnp.all(parent.token_BxKxL == step[:, None], axis=-1) & parent.valid_BxK
        again = jnp.any(same, axis=-1)
        goes_on = live & ~finished & ~cut_off & ~again

        def read():
            after = read_step(search.network, params, before, step, length)
            return after.kv, after.hidden_BxD

        skipped = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(read))
        kv, hidden_BxD = jax.lax.cond(jnp.any(goes_on), read, lambda: skipped)
        self.pool = write_page(self.pool, page, kv)
        read_B, prefix_B = length * goes_on, before.next_position_B
        lockstep = drawn.loop_steps * live
        bill = search.price(length, read_B, lockstep, prefix_B + length / 2)
        log_pi, log_beta = drawn.log_pi_BxK[:, 0] * live, drawn.log_beta_BxK[:, 0] * live
        self.drawn = dict(
            live=live,
            slot=jnp.where(again, jnp.argmax(same, axis=-1), action_B),
            bill=bill,
            fields=dict(
                token_BxKxL=step,
                length_BxK=length,
                valid_BxK=~again,
                log_pi_BxK=log_pi,
                log_beta_BxK=log_beta,
                token_value_BxKxL=drawn.token_value_BxKxL[:, 0],
                model_value_BxK=model_value,
                value_BxK=value,
                finished_BxK=finished,
                won_BxK=won,
            ),
        )
        at = jnp.minimum(parent.depth_B, c.max_steps - 1)
        log_value_B = jnp.log(jnp.maximum(value, 1e-9))
        node = search.empty(
            model_value,
            c.num_candidates,
            live_B=goes_on,
            chain=Chain(
                parent.chain.page_BxD.at[rows, at].set(page),
                parent.chain.length_BxD.at[rows, at].set(length),
            ),
            prefix_BxDxL=parent.prefix_BxDxL.at[rows, at].set(step),
            depth_B=parent.depth_B + 1,
            path_log_pi_B=parent.path_log_pi_B + log_pi,
            path_log_value_B=parent.path_log_value_B + log_value_B,
            hidden_BxD=hidden_BxD,
            bill=jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), bill),
        )
        output = mctx.RecurrentFnOutput(
            reward=jnp.zeros_like(value),
            discount=jnp.where(live, 1.0, 0.0),
            prior_logits=node.prior_logit_BxK,
            value=value,
        )
        return output, node

    def _record(self, tree: mctx.Tree, new) -> mctx.Tree:
        """Puts the drawn step into its slot, or counts the slot that holds the same, once more."""
        drawn, self.drawn = self.drawn, None
        live, slot, nodes = drawn["live"], drawn["slot"], tree.embeddings
        rows, action = jnp.arange(live.shape[0]), tree.action_from_parent[:, new]
        # Out of range, and so not written, in rows that have ended.
        parent = jnp.where(live, tree.parents[:, new], tree.parents.shape[1])
        put = {
            name: getattr(nodes, name).at[rows, parent, action].set(x, mode="drop")
            for name, x in drawn["fields"].items()
        }
        count = nodes.count_BxK.at[rows, parent, slot].add(1, mode="drop")
        bill = jax.tree.map(
            lambda all, x: all.at[rows, parent].add(x, mode="drop"), nodes.bill, drawn["bill"]
        )
        nodes = nodes._replace(**put, count_BxK=count, bill=bill)
        again = jnp.where(drawn["fields"]["valid_BxK"], 0.0, DEAD)
        prior = tree.children_prior_logits.at[rows, parent, action].set(again, mode="drop")
        seen = jnp.log(count.at[rows, parent, slot].get(mode="fill", fill_value=1))
        prior = prior.at[rows, parent, slot].set(seen, mode="drop")
        tree = tree.replace(embeddings=nodes, children_prior_logits=prior)
        most = jnp.minimum(self.search.config.num_simulations, self.budget.simulations)
        more = self.budget.expansions(spent(nodes), self._cost(tree), most)
        planned = jnp.minimum(tree.node_visits[:, 0] - 1 + more, most)
        open_BxNxK = tree.extra_data.open_BxNxK
        if self.search.config.stop_when_solved:
            open_BxNxK &= ~(drawn["fields"]["won_BxK"] & live)[:, None, None]
        state = tree.extra_data._replace(planned_B=planned, open_BxNxK=open_BxNxK)
        return tree.replace(extra_data=state)

    def _cost(self, tree: mctx.Tree) -> Bill:
        """Of the next draw: the mean of those so far (nothing before the first)."""
        draws, paid = tree.node_visits[:, 0] - 1, spent(tree.embeddings)
        length_B = self.prompt.next_position_B
        prompt = self.search.price(0 * length_B, length_B, 0 * length_B, length_B)
        return jax.tree.map(lambda all, x: (all - x) / jnp.maximum(draws, 1), paid, prompt)

    def _goes_on(self, simulation, tree: mctx.Tree):
        return (
            jnp.any(tree.extra_data.open_BxNxK[:, 0], axis=-1)
            & (simulation < self.budget.simulations)
            & (simulation < self.search.config.num_simulations)
            & self.budget.leaves_room(spent(tree.embeddings), self._cost(tree))
        )
