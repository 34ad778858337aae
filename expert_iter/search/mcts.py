"""Monte Carlo tree search over steps of text: B trees at once, one XLA program, on unmodified mctx.

mctx owns the tree and its statistics. Beside the tree, threaded through mctx's simulation loop,
travels the pool of KV pages; a node's embedding holds the chain of its pages, its candidate steps
and their values. A simulation selects an open candidate, reads its step into a page, draws K
candidates of its own, values them, and backs up.

Whatever finishes is valued the moment it is generated: by the verifier's verdict when a judge is
given (training), by the value head otherwise (evaluation).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mctx

from expert_iter.errors import UserError
from expert_iter.model.pages import Chain, empty_pool, read_chain, write_page
from expert_iter.model.state import State, read_prompt, read_step
from expert_iter.model.tokenizer import TokenIds
from expert_iter.model.transformer import Network
from expert_iter.search import selection
from expert_iter.search.bill import price
from expert_iter.search.candidates import Candidates, SamplerConfig, sample_candidates
from expert_iter.search.tree import SearchTree

# (problem_B, prefix_BxDxL, step_BxKxL, finished_BxK) -> verdict_BxK: which of the finished texts
# are right.
Judge = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Tree search.

    num_candidates steps are drawn at a state, of at most max_step_tokens; a solution has at most
    max_steps steps. policy: 'gumbel' (Gumbel MuZero) or 'puct' (MuZero). value_scale and
    maxvisit_init scale values against log-priors, σ(q) = (maxvisit_init + max N) · value_scale · q;
    gumbel_scale=0 makes the root's choice deterministic. lookahead: weight, in a new node's value,
    of what its candidates are worth against the value head at the node.
    """

    num_simulations: int = 16
    num_candidates: int = 8
    max_steps: int = 2
    max_step_tokens: int = 12
    policy: str = "gumbel"
    value_scale: float = 0.1
    maxvisit_init: float = 50.0
    gumbel_scale: float = 1.0
    lookahead: float = 1.0
    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0

    def __post_init__(self):
        for key in ("num_simulations", "num_candidates", "max_steps", "max_step_tokens"):
            if getattr(self, key) < 1:
                raise UserError(f"search.{key} must be at least 1, got {getattr(self, key)}")
        if self.policy not in ("gumbel", "puct"):
            raise UserError(f"search.policy must be 'gumbel' or 'puct', got {self.policy!r}")
        for key in ("value_scale", "maxvisit_init", "gumbel_scale", "pb_c_init"):
            if getattr(self, key) < 0:
                raise UserError(f"search.{key} must not be negative, got {getattr(self, key)}")
        if self.pb_c_base <= 0:
            raise UserError(f"search.pb_c_base must be positive, got {self.pb_c_base}")
        if not 0 <= self.lookahead <= 1:
            raise UserError(f"search.lookahead must be between 0 and 1, got {self.lookahead}")


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


class TreeSearch:
    """A search for one network and one setting; `run` is pure and meant to be jitted.

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

    def run(self, params, token_BxP, length_B, problem_B, keys_B, num_simulations) -> SearchTree:
        """Searches B problems.

        Args:
          token_BxP, length_B: prompts, padded on the right.
          problem_B: numbers by which the judge knows the problems (not used without one).
          keys_B: one random key a row; a row's tree depends on nothing else beside it.
          num_simulations: traced, at most `config.num_simulations`: one compilation serves all
          budgets.
        """
        c = self.config
        prompt = read_prompt(self.network, params, token_BxP, length_B)
        root = self._root(params, prompt, problem_B, keys_B)
        root_rule, rule = self._rules(num_simulations)
        gumbel = jax.vmap(
            lambda key: jax.random.gumbel(jax.random.fold_in(key, 2**31 - 1), (c.num_candidates,))
        )
        B, N = token_BxP.shape[0], c.num_simulations + 1
        open_BxNxK = jnp.zeros((B, N, c.num_candidates), bool).at[:, 0].set(root.open_BxK)
        loop = _PagedLoop(self, prompt, problem_B, keys_B, num_simulations)
        tree = mctx.search(
            params=params,
            rng_key=jax.random.key(0),  # all randomness comes from keys_B
            root=mctx.RootFnOutput(
                prior_logits=root.prior_logit_BxK,
                value=self._node_value(
                    root, jax.nn.sigmoid(self.network.value_logit(params, prompt.hidden_BxD))
                ),
                embedding=root,
            ),
            recurrent_fn=loop.expand,
            root_action_selection_fn=root_rule,
            interior_action_selection_fn=rule,
            num_simulations=c.num_simulations,
            extra_data=selection.SearchState(c.gumbel_scale * gumbel(keys_B), open_BxNxK),
            loop_fn=loop.run,
        )
        return self._result(tree, length_B)

    def _rules(self, num_simulations):
        """The selection rules for the root and below it, in mctx's signature."""
        c = self.config
        scale = dict(value_scale=c.value_scale, maxvisit_init=c.maxvisit_init)

        def gumbel_root(key, tree, node):
            return selection.gumbel_root(tree, node, num_simulations, **scale)

        def gumbel_interior(key, tree, node, depth):
            return selection.gumbel_interior(tree, node, **scale)

        def puct(key, tree, node, depth=0):
            return selection.puct(tree, node, pb_c_init=c.pb_c_init, pb_c_base=c.pb_c_base)

        return (gumbel_root, gumbel_interior) if c.policy == "gumbel" else (puct, puct)

    def _root(self, params, prompt: State, problem_B, keys_B) -> Node:
        B, D, L = prompt.hidden_BxD.shape[0], self.config.max_steps, self.config.max_step_tokens
        return self._continue(
            params,
            prompt,
            problem_B,
            jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys_B),
            live_B=jnp.ones(B, bool),
            chain=Chain(jnp.full((B, D), -1, jnp.int32), jnp.zeros((B, D), jnp.int32)),
            prefix_BxDxL=jnp.full((B, D, L), self.ids.pad, jnp.int32),
            depth_B=jnp.zeros(B, jnp.int32),
            step_length_B=jnp.zeros(B, jnp.int32),
            path_log_pi_B=jnp.zeros(B),
        )

    def _continue(self, params, state: State, problem_B, keys_B, **prefix) -> Node:
        """Draws and values the candidates of a node."""
        c = self.config
        drawn: Candidates = sample_candidates(
            self.network,
            params,
            state,
            keys_B,
            num_candidates=c.num_candidates,
            max_tokens=c.max_step_tokens,
            config=self.sampler,
            step_end=self.ids.newline,
            text_end=self.ids.eos,
            pad=self.ids.pad,
            never=(self.ids.pad, self.ids.bos),
            live_B=prefix["live_B"],
        )
        finished = drawn.finished_BxK & prefix["live_B"][:, None]
        cut_off = ~finished & (prefix["depth_B"][:, None] + 1 >= c.max_steps)
        won = jnp.zeros_like(finished)
        value = drawn.value_BxK
        if self.judge is not None:
            won = (
                self.judge(problem_B, prefix["prefix_BxDxL"], drawn.token_BxKxL, finished)
                & finished
            )
            value = jnp.where(finished, won.astype(value.dtype), value)
        return Node(
            **prefix,
            token_BxKxL=drawn.token_BxKxL,
            length_BxK=drawn.length_BxK,
            valid_BxK=drawn.valid_BxK,
            count_BxK=drawn.count_BxK,
            prior_logit_BxK=drawn.prior_logit_BxK,
            log_pi_BxK=drawn.log_pi_BxK,
            log_beta_BxK=drawn.log_beta_BxK,
            model_value_BxK=drawn.value_BxK,
            value_BxK=jnp.where(cut_off, 0.0, value),
            finished_BxK=finished,
            won_BxK=won,
            open_BxK=drawn.valid_BxK & ~finished & ~cut_off & prefix["live_B"][:, None],
            lockstep_B=jnp.full(finished.shape[0], drawn.loop_steps * c.num_candidates),
        )

    def _node_value(self, node: Node, own_value_B):
        """A new node's value: λ · Σ π'(a) v(a) over its candidates + (1 − λ) · the value head at
        the node.
        """
        c = self.config
        no_visits = jnp.zeros_like(node.value_BxK)
        policy = selection.improved_policy(
            node.prior_logit_BxK, node.value_BxK, no_visits, c.value_scale, c.maxvisit_init
        )
        ahead = jnp.sum(policy * node.value_BxK, axis=-1)
        return c.lookahead * ahead + (1 - c.lookahead) * own_value_B

    def _result(self, tree: mctx.Tree, prompt_length_B) -> SearchTree:
        node: Node = tree.embeddings
        live = node.live_B & (tree.node_visits > 0)
        drawn = jnp.sum(node.count_BxK * node.length_BxK, axis=-1) * live
        prefix = prompt_length_B[:, None] + jnp.sum(node.chain.length_BxD, axis=-1)
        mean_step = drawn / jnp.maximum(jnp.sum(node.count_BxK, axis=-1), 1)
        context = jnp.sum((prefix + mean_step / 2) * live, axis=1) / jnp.sum(live, axis=1)
        prefilled = prompt_length_B + jnp.sum(node.step_length_B * live, axis=1)
        lockstep = jnp.sum(node.lockstep_B * live, axis=1)
        visited = tree.children_visits > 0
        rows = jnp.arange(live.shape[0])[:, None, None]
        child = tree.children_index
        child = jnp.where((child >= 0) & live[rows, jnp.maximum(child, 0)], child, -1)
        q = tree.children_rewards + tree.children_discounts * tree.children_values
        bill = price(
            self.network.config,
            self.network.vocab_size,
            jnp.sum(drawn, axis=1),
            prefilled,
            lockstep,
            context,
        )
        return SearchTree(
            live=live,
            parent=tree.parents,
            action=tree.action_from_parent,
            token=node.token_BxKxL,
            length=node.length_BxK,
            valid=node.valid_BxK,
            count=node.count_BxK,
            prior_logit=tree.children_prior_logits,
            log_pi=node.log_pi_BxK,
            log_beta=node.log_beta_BxK,
            path_log_pi=node.path_log_pi_B,
            model_value=node.model_value_BxK,
            value=node.value_BxK,
            finished=node.finished_BxK & live[..., None],
            won=node.won_BxK & live[..., None],
            child=child,
            visits=tree.children_visits,
            q=jnp.where(visited, q, node.value_BxK),
            bill=bill,
        )


class _PagedLoop:
    """mctx's simulation loop with the pool of pages carried beside the tree, and with an early end.

    mctx traces `expand` inside the body that it hands to `run`; between the two, this object holds
    what the tree cannot: the pool, the simulation's number, and which rows still have something
    open.
    """

    def __init__(self, search: TreeSearch, prompt: State, problem_B, keys_B, num_simulations):
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
        node = search._continue(
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
                live, search._node_value(node, parent.model_value_BxK[rows, action_B]), 0.0
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
