"""What every search over steps does: it chooses a candidate, reads its step into a page, draws K
candidates for the next, values them, and adds them to the tree as a node.

Whatever finishes is valued the moment it is generated: by the verdict if there is a verifier
(training), by the value head otherwise (evaluation). What does not finish is worth what the value
head says, or what came of rollouts from it to the end, or a mixture of both (AlphaGo, Silver et al.
2016, section "Searching with policy and value networks").

A search is made of parts, each a pure function: `start`, `plant`, then `expand` and `accept` for
each node, then `finish`. `run` puts them together in one program. Where a world answers steps, and
in self-play, they run one by one: the host gives answers and verdicts between `expand` and `accept`
(`search.driven_search`); `hear` writes the answers behind the candidates, and rollouts are written
step by step.

Shape suffixes: B rows, K candidates a node, D steps a prefix at most, L tokens a step.
"""

import abc
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.model.pages import Chain, read_chain, with_step, write_page
from expert_iter.model.state import State, read_prompt, read_step
from expert_iter.model.transformer import KV
from expert_iter.search import rollouts as rollouts_lib
from expert_iter.search import selection
from expert_iter.search.behaviour import DEAD
from expert_iter.search.bill import Bill, Budget
from expert_iter.search.candidates import Candidates
from expert_iter.search.drafts import Answers, Draft, Drafts, NewSteps
from expert_iter.search.expert import NetworkExpert
from expert_iter.search.growth import Choice, Expansion, Growth, Start
from expert_iter.search.node import Node, Prefix
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree


class Texts(NamedTuple):
    """Texts that verdicts are asked about.

    Attributes:
      prefix: [B, D, L] int32. The steps before, the same for all of a row's.
      token: [B, M, T] int32.
      asked: [B, M] bool. Only these are asked about.
    """

    prefix: jax.Array
    token: jax.Array
    asked: jax.Array


Verdicts = tuple[jax.Array, ...]  # [B, M] bool for each of the `texts` of a node


def texts(node: Node) -> tuple[Texts, ...]:
    """What the verifier is asked about nodes `[B]`: their candidates, and rollouts from them."""
    return tuple(Texts(node.prefix.token, c.token, c.finished) for c in _written(node))


def _written(node: Node) -> tuple[Candidates, ...]:
    rollouts = () if node.rollouts is None else (node.rollouts.candidates,)
    return node.candidates, *rollouts


class StepSearch(NetworkExpert, abc.ABC):
    """A search over steps. Subclasses say how a tree is planted, which candidate is chosen, and
    what a new node changes.
    """

    verdicts_after = shares_draws = False
    config: SearchConfig

    @property
    def most(self) -> int:
        return self.config.num_simulations

    @property
    def page_tokens(self) -> int:
        """Room for a step and what is answered to it."""
        c = self.config
        return c.max_step_tokens + (c.max_observation_tokens if self.steps.answered else 0)

    @abc.abstractmethod
    def plant(self, start: Start, root: Node, budget: Budget) -> Growth:
        """Trees of their roots, which have been judged."""

    @abc.abstractmethod
    def choose(self, growth: Growth, number, budget: Budget) -> Choice:
        """What to continue as node `number`; done are rows with nothing open or no budget left."""

    @abc.abstractmethod
    def nodes(self, growth: Growth) -> Node:
        """The trees' nodes `[B, N]`."""

    @abc.abstractmethod
    def add(self, growth: Growth, number, choice: Choice, node: Node) -> Growth:
        """Adds a node, which has been judged, as number `number`."""

    @abc.abstractmethod
    def finish(self, growth: Growth) -> SearchTree:
        """The record of the trees."""

    def run(self, params, token_BxP, length_B, problem_B, keys_B, budget) -> SearchTree:
        """See `Expert.run`. Nothing is verified: the value head estimates what is finished."""
        budget = Budget.of(budget)
        start = self.start(params, token_BxP, length_B, problem_B, keys_B)
        growth = self.plant(start, self.judged(start.root, None), budget)

        def simulate(carry):
            number, growth, choice = carry
            expansion = self.child(params, start, growth, number, choice)
            growth = self.accept(growth, number, expansion, None)
            return number + 1, growth, self.choose(growth, number + 1, budget)

        first = jnp.int32(1)
        carry = first, growth, self.choose(growth, first, budget)
        _, growth, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[2].live), simulate, carry)
        return self.finish(growth)

    def expand(self, params, start: Start, growth: Growth, number, budget: Budget) -> Expansion:
        """Draws the next node of each row."""
        return self.child(params, start, growth, number, self.choose(growth, number, budget))

    def new_steps(self, params, node: Node, draft: Draft) -> NewSteps:
        """What a world is asked about the node."""
        return self._drafts(params, draft.waiting.shape[1]).new_steps(draft, node.prefix.token)

    def hear(self, params, node: Node, draft: Draft, answers: Answers) -> Node:
        """The node, not yet judged, once a world has answered its candidates."""
        drafts = self._drafts(params, draft.waiting.shape[1])
        heard = drafts.hear(draft, answers)
        read_B = jnp.sum(jnp.where(draft.waiting, answers.length, 0), axis=-1) * node.live
        nothing, context = jnp.zeros_like(read_B), draft.state.next_position_B
        bill = node.bill + self.price(nothing, read_B, nothing, context + read_B / 2)
        goes_on = ~heard.carry.beam.world.ended
        drawn = drafts.candidates(heard)
        return _of_live(self._node(drawn, goes_on, node.prefix, node.live, bill))

    def begin_rollouts(self, params, node: Node, draft: Draft) -> Draft:
        """Drafts [B · K] of rollouts from the node's open candidates, which a world has answered.
        draft: of the candidates.
        """
        context = draft.state.mask_BxC.shape[1]
        kv = KV(*(x[:, :, :context] for x in draft.carry.kv))
        who = draft.state._replace(kv=kv), draft.key, node.candidates, node.open
        after, keys = rollouts_lib.after_candidates(self, params, *who)
        return self._rollout_drafts(params).begin(after, keys, node.open.reshape(-1))

    def rollout_steps(self, params, node: Node, draft: Draft) -> NewSteps:
        """What a world is asked about the rollouts."""
        token = node.candidates.token
        before = jnp.repeat(node.prefix.token, token.shape[1], axis=0)
        prefix = jnp.concatenate([before, token.reshape(-1, 1, token.shape[-1])], axis=1)
        return self._rollout_drafts(params).new_steps(draft, prefix)

    def continue_rollouts(self, params, draft: Draft, answers: Answers) -> Draft:
        drafts = self._rollout_drafts(params)
        return drafts.go_on(drafts.hear(draft, answers))

    def with_rollouts(self, params, node: Node, draft: Draft, answers: Answers) -> Node:
        """The node with its rollouts, not yet judged. answers: to the last steps."""
        drafts = self._rollout_drafts(params)
        ends, place = drafts.candidates(drafts.hear(draft, answers)), draft.state.next_position_B
        made = rollouts_lib.rolled_out(self, node.candidates, node.open, place, ends, draft.decoded)
        return _of_live(node._replace(rollouts=made[0], bill=node.bill + made[1]))

    def accept(
        self, growth: Growth, number, expansion: Expansion, verdicts: Verdicts | None
    ) -> Growth:
        """Adds what was drawn, once its verdicts are known; see `judged`."""
        node = self.judged(expansion.node, verdicts)
        growth = growth._replace(pool=write_page(growth.pool, number, expansion.page))
        return self.add(growth, number, expansion.choice, node)

    def start(self, params, token_BxP, length_B, problem_B, keys_B) -> Start:
        """Reads the prompts and draws the roots' candidates; arguments as of `Expert.run`."""
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        B, D, L = token_BxP.shape[0], self.config.max_steps, self.page_tokens
        prefix = Prefix(
            chain=Chain(jnp.full((B, D), -1, jnp.int32), jnp.zeros((B, D), jnp.int32)),
            token=jnp.full((B, D, L), self.steps.ids.pad, jnp.int32),
            depth=jnp.zeros(B, jnp.int32),
            log_pi=jnp.zeros(B),
            log_value=jnp.zeros(B),
        )
        first_B = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys_B)
        everyone = jnp.ones(B, bool)
        root, draft = self.continue_from(
            params, prompt, problem_B, first_B, self.config.width, prefix, everyone
        )
        value_B = jax.nn.sigmoid(self.network.value_logit(params, prompt.hidden_BxD))
        return Start(prompt, problem_B, keys_B, root, value_B, draft)

    def child(self, params, start: Start, growth: Growth, number, choice: Choice) -> Expansion:
        """Moves each row into the chosen candidate, whose step becomes page `number` of the
        pool.
        """
        c, rows = self.config, jnp.arange(choice.action.shape[0])
        parent = jax.tree.map(lambda x: x[rows, choice.node], self.nodes(growth))
        chosen = jax.tree.map(lambda x: x[rows, choice.action], parent.candidates)
        before = read_chain(growth.pool, start.prompt, parent.prefix.chain)
        after = read_step(self.network, params, before, chosen.token, chosen.length)
        at = jnp.minimum(parent.prefix.depth, c.max_steps - 1)
        context = with_step(before, after, start.prompt.mask_BxC.shape[1] + at * self.page_tokens)
        prefix = Prefix(
            chain=Chain(
                parent.prefix.chain.page_BxD.at[rows, at].set(number),
                parent.prefix.chain.length_BxD.at[rows, at].set(chosen.length),
            ),
            token=parent.prefix.token.at[rows, at].set(chosen.token),
            depth=parent.prefix.depth + 1,
            log_pi=parent.prefix.log_pi + chosen.log_pi,
            log_value=parent.prefix.log_value
            + jnp.log(jnp.maximum(parent.value[rows, choice.action], 1e-9)),
        )
        keys_B = jax.vmap(lambda key: jax.random.fold_in(key, number))(start.key)
        node, draft = self.continue_from(
            params, context, start.problem, keys_B, c.num_candidates, prefix, choice.live
        )
        return Expansion(choice, after.kv, _of_live(node), draft)

    def continue_from(
        self, params, state: State, problem_B, keys_B, num_candidates: int, prefix: Prefix, live_B
    ) -> tuple[Node, Draft | None]:
        """Draws the candidates of a node, which is not judged; room for more than are drawn stays
        empty.
        """
        c, draft = self.config, None
        if self.steps.answered:
            drafts = self._drafts(params, num_candidates)
            draft = drafts.begin(state, keys_B, live_B)
            drawn, loop_steps_B = drafts.candidates(draft), draft.decoded
        else:
            drawn, loop_steps_B = self.draw(
                params, state, keys_B, num_candidates, c.max_step_tokens, live_B=live_B
            )
        bill = self._bill(prefix.chain, state, drawn, loop_steps_B, live_B)
        node = self._node(drawn, True, prefix, live_B, bill)
        if c.rollouts and not self.steps.answered:  # else the host drives them: `begin_rollouts`
            drawn, open_BxK = node.candidates, node.open
            made, more = rollouts_lib.roll_out(self, params, state, keys_B, drawn, open_BxK)
            node = node._replace(rollouts=made, bill=bill + more)
        return node, draft

    def _drafts(self, params, num_candidates: int) -> Drafts:
        c, who = self.config, (self.network, params, self.sampler, self.steps, num_candidates)
        return Drafts(*who, 1, c.max_step_tokens, c.max_observation_tokens)

    def _rollout_drafts(self, params) -> Drafts:
        c, who = self.config, (self.network, params, rollouts_lib.sampler(self), self.steps)
        sizes = c.max_steps - 1, c.max_step_tokens, c.max_observation_tokens
        return Drafts(*who, c.rollouts, *sizes)

    def _node(self, drawn: Candidates, goes_on, prefix: Prefix, live_B, bill: Bill) -> Node:
        """A node of these candidates, not judged. goes_on: `[B, K]` bool, or True."""
        c = self.config
        drawn = _widen(drawn, c.width)
        finished = drawn.finished & drawn.valid & live_B[:, None]
        cut_off = ~finished & (prefix.depth[:, None] + 1 >= c.max_steps)
        open_BxK = drawn.valid & ~finished & ~cut_off & live_B[:, None]
        if goes_on is not True:
            open_BxK &= _with_room(goes_on, c.width)
        prior = drawn.prior_logit
        if c.prior == "length_normalised":
            prior = drawn.log_pi / jnp.maximum(drawn.written, 1)
        return Node(
            live=live_B,
            prefix=prefix,
            candidates=drawn._replace(
                prior_logit=jnp.where(drawn.valid, prior, DEAD), finished=finished
            ),
            value=drawn.model_value,
            won=jnp.zeros_like(finished),
            open=open_BxK,
            bill=bill,
            rollouts=None,
        )

    def judged(self, node: Node, verdicts: Verdicts | None) -> Node:
        """The node once its candidates are valued.

        Args:
          verdicts: on its `texts`. None: the value head's estimates take their place.
        """
        c, drawn, rollouts = self.config, node.candidates, node.rollouts
        value, finished = drawn.model_value, drawn.finished
        asked = _written(node)
        if verdicts is None:
            won = [jnp.zeros_like(candidates.finished) for candidates in asked]
            of_finished = [candidates.model_value for candidates in asked]
        else:
            won = [v & x.finished for v, x in zip(verdicts, asked, strict=True)]
            of_finished = [x.astype(value.dtype) for x in won]
        if rollouts is not None:
            came = jnp.where(rollouts.candidates.finished, of_finished[1], 0.0)
            rollouts = rollouts._replace(value=came, won=won[1])
            came = jnp.mean(came.reshape(*value.shape, c.rollouts), axis=-1)
            value = (1 - c.rollout_weight) * value + c.rollout_weight * came
        cut_off = ~finished & (node.prefix.depth[:, None] + 1 >= c.max_steps)
        illegal = drawn.valid & ~finished & ~node.open
        lost = cut_off | illegal
        value = jnp.where(lost, 0.0, jnp.where(finished, of_finished[0], value))
        return node._replace(value=value, won=won[0], rollouts=rollouts)

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

    def _bill(self, chain: Chain, state: State, drawn: Candidates, loop_steps_B, live_B) -> Bill:
        """Of one expansion: the step's tokens (the root's are the prompt's) and the candidates'."""
        generated = jnp.sum(drawn.count * drawn.length, axis=-1) * live_B
        prefix_B = state.next_position_B
        last = jnp.maximum(jnp.sum(chain.page_BxD >= 0, axis=-1) - 1, 0)
        step = jnp.take_along_axis(chain.length_BxD, last[:, None], axis=1)[:, 0]
        read = jnp.where(chain.page_BxD[:, 0] >= 0, step, prefix_B) * live_B
        mean_step = generated / jnp.maximum(jnp.sum(drawn.count, axis=-1), 1)
        lockstep = loop_steps_B * drawn.valid.shape[1] * live_B
        return self.price(generated, read, lockstep, prefix_B + mean_step / 2)


def like(mask_B, x):
    """The mask with dimensions added at its end, to select among rows of x `[B, ...]`."""
    return mask_B.reshape(mask_B.shape + (1,) * (x.ndim - 1))


def _of_live(node: Node) -> Node:
    """Nodes `[B]`, empty in rows that are done."""
    return jax.tree.map(lambda x: jnp.where(like(node.live, x), x, 0).astype(x.dtype), node)


def _widen(drawn: Candidates, width: int) -> Candidates:
    """Room for `width` candidates: those that were not drawn are invalid."""
    return jax.tree.map(lambda x: _with_room(x, width), drawn)


def _with_room(x_BxK, width: int):
    more = width - x_BxK.shape[1]
    return jnp.pad(x_BxK, ((0, 0), (0, more)) + ((0, 0),) * (x_BxK.ndim - 2))
