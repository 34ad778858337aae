"""What every search over steps does at a node: reads the step that leads there into a page, draws K
candidates for the next, and values them.

Whatever finishes is valued the moment it is generated: by the verifier's verdict when a judge is
given (training), by the value head otherwise (evaluation). What does not finish is worth what the
value head says, or what came of rollouts from it to the end, or a mixture of both (AlphaGo, Silver
et al. 2016, section "Searching with policy and value networks").

Shape suffixes: B rows, N nodes, K candidates a node, D steps a prefix at most, L tokens a step, R
rollouts from a node's candidates, T tokens of a step and the rollout after it.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from expert_iter.errors import UserError
from expert_iter.model.pages import Chain, read_chain, write_page
from expert_iter.model.state import State, extend, read_step, repeat
from expert_iter.model.tokenizer import TokenIds
from expert_iter.model.transformer import KV, Network
from expert_iter.search import selection
from expert_iter.search.bill import Bill, price
from expert_iter.search.candidates import DEAD, Candidates, SamplerConfig, sample_candidates
from expert_iter.search.tree import Judge, SearchTree


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Tree search.

    num_candidates steps are drawn at a state, of at most max_step_tokens; a solution has at most
    max_steps steps. At the root root_candidates are drawn instead (0: as many as elsewhere): wide
    first steps and narrow ones below. num_simulations: nodes after the root.
    prior: 'corrected' for the draws' behaviour (log c + log π − log β, or log π − log q), or
    'length_normalised', the mean log π of a step's tokens (TS-LLM, AlphaMath).
    rollouts: how many are drawn from each candidate to the end of the text; rollout_weight: their
    share in the candidate's value, against the value head's.
    lookahead: weight, in a new node's value, of what its candidates are worth against the value
    head at the node. stop_when_solved: a tree with a verified solution stops (training only: the
    verifier knows).

    For searches by a rule: value_threshold, below which depth-first search gives a step up;
    step_threshold: a step that leaves less than this share of the value is a bad one, in greedy
    search with backtracking; heuristic_weight: λ of best-first search, f = g + λ · log v.

    For MCTS alone: policy: 'gumbel' (Gumbel MuZero) or 'puct' (MuZero). backup: 'mean' of what came
    of the simulations, or 'max' over candidates. commit: 'solution' searches for the whole
    solution; 'step' chooses a step after each max_steps-th part of the simulations and goes on
    below it. value_scale and maxvisit_init scale values against log-priors,
    σ(q) = (maxvisit_init + max N) · value_scale · q; gumbel_scale=0 makes the root's choice
    deterministic.
    """

    num_simulations: int = 16
    num_candidates: int = 8
    root_candidates: int = 0
    max_steps: int = 2
    max_step_tokens: int = 12
    prior: str = "corrected"
    rollouts: int = 0
    rollout_weight: float = 0.5
    lookahead: float = 1.0
    stop_when_solved: bool = False
    value_threshold: float = 0.1
    step_threshold: float = 0.5
    heuristic_weight: float = 10.0
    policy: str = "gumbel"
    backup: str = "mean"
    commit: str = "solution"
    value_scale: float = 0.1
    maxvisit_init: float = 50.0
    gumbel_scale: float = 1.0
    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0

    def __post_init__(self):
        for key in ("num_simulations", "num_candidates", "max_steps", "max_step_tokens"):
            if getattr(self, key) < 1:
                raise UserError(f"search.{key} must be at least 1, got {getattr(self, key)}")
        for key, choices in (
            ("prior", ("corrected", "length_normalised")),
            ("policy", ("gumbel", "puct")),
            ("backup", ("mean", "max")),
            ("commit", ("solution", "step")),
        ):
            if getattr(self, key) not in choices:
                wanted = " or ".join(map(repr, choices))
                raise UserError(f"search.{key} must be {wanted}, got {getattr(self, key)!r}")
        for key in (
            "value_scale",
            "maxvisit_init",
            "gumbel_scale",
            "pb_c_init",
            "rollouts",
            "heuristic_weight",
            "root_candidates",
        ):
            if getattr(self, key) < 0:
                raise UserError(f"search.{key} must not be negative, got {getattr(self, key)}")
        if self.rollouts and self.max_steps < 2:
            raise UserError("search.rollouts need search.max_steps of at least 2: one for the rest")
        if 0 < self.root_candidates < self.num_candidates:
            raise UserError(
                f"search.root_candidates must be 0 or at least search.num_candidates, got "
                f"{self.root_candidates} and {self.num_candidates}"
            )
        if self.pb_c_base <= 0:
            raise UserError(f"search.pb_c_base must be positive, got {self.pb_c_base}")
        for key in ("lookahead", "rollout_weight", "value_threshold", "step_threshold"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"search.{key} must be between 0 and 1, got {getattr(self, key)}")

    @property
    def width(self) -> int:
        """Candidates that a node has room for."""
        return max(self.num_candidates, self.root_candidates)


class Rollouts(NamedTuple):
    """Texts from a node to the end, each a candidate step and what was sampled after it.

    Fields as in `Candidates`; worth_BxR: the verdict, or the value head's estimate at the end, or 0
    where no end was reached.
    """

    token_BxRxT: jax.Array
    length_BxR: jax.Array
    log_pi_BxR: jax.Array
    token_value_BxRxT: jax.Array
    value_BxR: jax.Array
    worth_BxR: jax.Array
    valid_BxR: jax.Array
    finished_BxR: jax.Array
    won_BxR: jax.Array


class Node(NamedTuple):
    """A prefix, and the candidates for its next step.

    live_B: it continues an open candidate. chain: its pages; prefix_BxDxL: their tokens; depth_B:
    their number; path_log_pi_B: their log-probability; path_log_value_B: the sum of the logarithms
    of their values. The rest describes its K candidates; value_BxK is the verdict, or the estimate,
    or 0 for a text that hit the limit on steps unfinished; open_BxK: it can be continued. bill:
    what reading the step and drawing the candidates cost. rollouts: where there are any.
    """

    live_B: jax.Array
    chain: Chain
    prefix_BxDxL: jax.Array
    depth_B: jax.Array
    path_log_pi_B: jax.Array
    path_log_value_B: jax.Array
    token_BxKxL: jax.Array
    length_BxK: jax.Array
    valid_BxK: jax.Array
    count_BxK: jax.Array
    prior_logit_BxK: jax.Array
    log_pi_BxK: jax.Array
    log_beta_BxK: jax.Array
    token_value_BxKxL: jax.Array
    model_value_BxK: jax.Array
    value_BxK: jax.Array
    finished_BxK: jax.Array
    won_BxK: jax.Array
    open_BxK: jax.Array
    bill: Bill
    rollouts: Rollouts | None


class StepSearch:
    """A search for one network and one setting; subclasses grow the tree.

    Args:
      judge: gives verdicts on finished texts inside the search. Only self-play has one.
    """

    def __init__(
        self,
        network: Network,
        config: SearchConfig,
        sampler: SamplerConfig,
        ids: TokenIds,
        judge: Judge | None = None,
    ):
        self.network, self.config, self.sampler, self.ids, self.judge = (
            network,
            config,
            sampler,
            ids,
            judge,
        )

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

        live_B: rows that are wanted; the rest is void.
        """
        rows = jnp.arange(action_B.shape[0])
        step, length = parent.token_BxKxL[rows, action_B], parent.length_BxK[rows, action_B]
        before = read_chain(pool, prompt, parent.chain)
        after = read_step(self.network, params, before, step, length)
        pool = write_page(pool, page, after.kv)
        at = jnp.minimum(parent.depth_B, self.config.max_steps - 1)
        chain = Chain(
            parent.chain.page_BxD.at[rows, at].set(page),
            parent.chain.length_BxD.at[rows, at].set(length),
        )
        context = read_chain(pool, prompt, chain)._replace(hidden_BxD=after.hidden_BxD)
        log_value_B = jnp.log(jnp.maximum(parent.value_BxK[rows, action_B], 1e-9))
        node = self.continue_from(
            params,
            context,
            problem,
            jax.vmap(lambda key: jax.random.fold_in(key, page))(keys_B),
            self.config.num_candidates,
            live_B=live_B,
            chain=chain,
            prefix_BxDxL=parent.prefix_BxDxL.at[rows, at].set(step),
            depth_B=parent.depth_B + 1,
            path_log_pi_B=parent.path_log_pi_B + parent.log_pi_BxK[rows, action_B],
            path_log_value_B=parent.path_log_value_B + log_value_B,
        )
        return pool, node

    def continue_from(
        self, params, state: State, problem_B, keys_B, num_candidates: int, **prefix
    ) -> Node:
        """Draws and values the candidates of a node; room for more than are drawn stays empty."""
        c, live_B, depth_B = self.config, prefix["live_B"], prefix["depth_B"]
        drawn: Candidates = sample_candidates(
            self.network,
            params,
            state,
            keys_B,
            num_candidates=num_candidates,
            max_tokens=c.max_step_tokens,
            config=self.sampler,
            step_end=self.ids.newline,
            text_end=self.ids.eos,
            pad=self.ids.pad,
            never=(self.ids.pad, self.ids.bos),
            live_B=live_B,
        )
        bill = self._bill(prefix["chain"], state, drawn, live_B)
        drawn = _widen(drawn, c.width)
        finished = drawn.finished_BxK & live_B[:, None]
        cut_off = ~finished & (depth_B[:, None] + 1 >= c.max_steps)
        open_BxK = drawn.valid_BxK & ~finished & ~cut_off & live_B[:, None]
        won = self._verdicts(problem_B, prefix["prefix_BxDxL"], drawn.token_BxKxL, finished)

        value, rollouts = drawn.value_BxK, None
        if c.rollouts:
            rollouts, more = self._roll_out(
                params, state, problem_B, keys_B, prefix["prefix_BxDxL"], drawn, open_BxK
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

    def _verdicts(self, problem_B, prefix_BxDxL, token_BxKxL, finished_BxK):
        if self.judge is None:
            return jnp.zeros_like(finished_BxK)
        return self.judge(problem_B, prefix_BxDxL, token_BxKxL, finished_BxK) & finished_BxK

    def _bill(self, chain: Chain, state: State, drawn: Candidates, live_B) -> Bill:
        """Of one expansion: the step's tokens (the root's are the prompt's) and the candidates'."""
        generated = jnp.sum(drawn.count_BxK * drawn.length_BxK, axis=-1) * live_B
        prefix_B = state.next_position_B
        last = jnp.maximum(jnp.sum(chain.page_BxD >= 0, axis=-1) - 1, 0)
        step = jnp.take_along_axis(chain.length_BxD, last[:, None], axis=1)[:, 0]
        read = jnp.where(chain.page_BxD[:, 0] >= 0, step, prefix_B) * live_B
        mean_step = generated / jnp.maximum(jnp.sum(drawn.count_BxK, axis=-1), 1)
        lockstep = jnp.full_like(generated, drawn.loop_steps * drawn.valid_BxK.shape[1]) * live_B
        return self._price(generated, read, lockstep, prefix_B + mean_step / 2)

    def _price(self, *amounts) -> Bill:
        return price(self.network.config, self.network.vocab_size, *amounts)

    def _roll_out(
        self, params, state: State, problem_B, keys_B, prefix_BxDxL, drawn: Candidates, open_BxK
    ) -> tuple[Rollouts, Bill]:
        """Samples from each open candidate to the end of the text, `config.rollouts` times."""
        c = self.config
        (B, K, L), m = drawn.token_BxKxL.shape, c.rollouts
        R, left = K * m, (c.max_steps - 1) * c.max_step_tokens
        flat = lambda x: x.reshape(B * K, *x.shape[2:])  # noqa: E731
        before = repeat(state, K)
        length = jnp.where(flat(open_BxK), flat(drawn.length_BxK), 0)
        step = read_step(self.network, params, before, flat(drawn.token_BxKxL), length)
        ends = sample_candidates(
            self.network,
            params,
            extend(before, step),
            jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), K))(keys_B).reshape(
                B * K
            ),
            num_candidates=m,
            max_tokens=left,
            config=dataclasses.replace(self.sampler, replacement=True),
            step_end=None,
            text_end=self.ids.eos,
            pad=self.ids.pad,
            never=(self.ids.pad, self.ids.bos),
            live_B=flat(open_BxK),
        )
        # Texts start with their step: its tokens, and the rollout's right after them.
        rollout = lambda x: x.reshape(B, R, *x.shape[2:])  # noqa: E731
        own = lambda x: jnp.repeat(x, m, axis=1)  # noqa: E731
        step_length = own(drawn.length_BxK)
        at = jnp.arange(L + left)
        place = at - step_length[..., None]

        def join(first_BxKxL, rest):
            first = jnp.pad(own(first_BxKxL), ((0, 0), (0, 0), (0, left)))
            rest = jnp.take_along_axis(rollout(rest), jnp.clip(place, 0, left - 1), axis=2)
            return jnp.where(place < 0, first, jnp.where(place < left, rest, 0))

        valid = own(open_BxK)
        finished = rollout(ends.ended_BxK) & valid
        token = join(drawn.token_BxKxL, ends.token_BxKxL)
        won = self._verdicts(problem_B, prefix_BxDxL, token, finished)
        value = rollout(ends.value_BxK)
        worth = value if self.judge is None else won.astype(value.dtype)
        rollouts = Rollouts(
            token_BxRxT=token,
            length_BxR=step_length + rollout(ends.length_BxK),
            log_pi_BxR=own(drawn.log_pi_BxK) + rollout(ends.log_pi_BxK),
            token_value_BxRxT=join(drawn.token_value_BxKxL, ends.token_value_BxKxL),
            value_BxR=value,
            worth_BxR=jnp.where(finished, worth, 0.0),
            valid_BxR=valid,
            finished_BxR=finished,
            won_BxR=won,
        )
        generated = jnp.sum(rollout(ends.length_BxK) * valid, axis=-1)
        read = jnp.sum(length.reshape(B, K), axis=-1)
        tried = jnp.maximum(jnp.sum(valid, axis=-1), 1)
        context = state.next_position_B + read * m / tried + generated / tried / 2
        lockstep = jnp.full_like(generated, ends.loop_steps * R) * jnp.any(open_BxK, axis=-1)
        return rollouts, self._price(generated, read, lockstep, context)


def _widen(drawn: Candidates, width: int) -> Candidates:
    """Room for `width` candidates: those that were not drawn are invalid."""
    more = width - drawn.valid_BxK.shape[1]
    room = lambda x: jnp.pad(x, ((0, 0), (0, more)) + ((0, 0),) * (x.ndim - 2))  # noqa: E731
    wide = jax.tree.map(room, drawn._replace(loop_steps=None))
    return wide._replace(loop_steps=drawn.loop_steps)


def spent(node: Node) -> Bill:
    """The bill so far of trees of nodes `[B, N, ...]`."""
    return jax.tree.map(lambda x: jnp.sum(x * node.live_B, axis=1), node.bill)


def next_cost(node: Node, config: SearchConfig) -> Bill:
    """What the next expansion of each tree of nodes `[B, N, ...]` may cost: the mean of those so
    far but the root's, or at first the root's share for so many candidates.
    """
    made = jnp.sum(node.live_B, axis=1) - 1
    share = config.num_candidates / config.width
    return jax.tree.map(
        lambda all, x: jnp.where(made > 0, (all - x[:, 0]) / jnp.maximum(made, 1), share * x[:, 0]),
        spent(node),
        node.bill,
    )


def as_tree(
    node: Node, parent_BxN, action_BxN, child_BxNxK, visits_BxNxK, q_BxNxK, answerable_BxNxK
) -> SearchTree:
    """The record of trees of nodes `[B, N, ...]`; rollouts become candidates of their node.

    q_BxNxK: where visited; elsewhere q is the candidate's value. answerable_BxNxK may be `[B, N]`.
    """
    live = node.live_B
    rows = jnp.arange(live.shape[0])[:, None, None]
    child = jnp.where((child_BxNxK >= 0) & live[rows, jnp.maximum(child_BxNxK, 0)], child_BxNxK, -1)
    answerable = jnp.broadcast_to(
        answerable_BxNxK if answerable_BxNxK.ndim == 3 else answerable_BxNxK[..., None], child.shape
    )
    tree = SearchTree(
        live=live,
        parent=parent_BxN,
        action=action_BxN,
        token=node.token_BxKxL,
        length=node.length_BxK,
        valid=node.valid_BxK & live[..., None],
        count=node.count_BxK,
        prior_logit=node.prior_logit_BxK,
        log_pi=node.log_pi_BxK,
        log_beta=node.log_beta_BxK,
        path_log_pi=node.path_log_pi_B,
        token_value=node.token_value_BxKxL,
        model_value=node.model_value_BxK,
        value=node.value_BxK,
        finished=node.finished_BxK & live[..., None],
        won=node.won_BxK & live[..., None],
        child=child,
        visits=visits_BxNxK,
        q=jnp.where(visits_BxNxK > 0, q_BxNxK, node.value_BxK),
        answerable=answerable,
        bill=spent(node),
    )
    return tree if node.rollouts is None else _with_rollouts(tree, node.rollouts)


def _with_rollouts(tree: SearchTree, r: Rollouts) -> SearchTree:
    """Appends a node's rollouts to its candidates."""
    long = r.token_BxRxT.shape[-1] - tree.token.shape[-1]
    longer = lambda x: jnp.pad(x, ((0, 0),) * 3 + ((0, long),))  # noqa: E731
    join = lambda *parts: jnp.concatenate(parts, axis=2)  # noqa: E731
    shape = r.length_BxR.shape
    m = shape[-1] // tree.valid.shape[-1]
    return tree._replace(
        token=join(longer(tree.token), r.token_BxRxT),
        token_value=join(longer(tree.token_value), r.token_value_BxRxT),
        length=join(tree.length, r.length_BxR),
        valid=join(tree.valid, r.valid_BxR & tree.live[..., None]),
        count=join(tree.count, r.valid_BxR.astype(tree.count.dtype)),
        prior_logit=join(tree.prior_logit, jnp.full(shape, DEAD)),
        log_pi=join(tree.log_pi, r.log_pi_BxR),
        log_beta=join(tree.log_beta, r.log_pi_BxR),
        model_value=join(tree.model_value, r.value_BxR),
        value=join(tree.value, r.worth_BxR),
        finished=join(tree.finished, r.finished_BxR & tree.live[..., None]),
        won=join(tree.won, r.won_BxR & tree.live[..., None]),
        child=join(tree.child, jnp.full(shape, -1, tree.child.dtype)),
        visits=join(tree.visits, jnp.zeros(shape, tree.visits.dtype)),
        q=join(tree.q, r.worth_BxR),
        answerable=join(tree.answerable, jnp.repeat(tree.answerable, m, axis=2)),
    )
