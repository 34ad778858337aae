"""Monte Carlo tree search over steps of text: B trees at once, one XLA program, on unmodified mctx.

mctx owns the tree and its statistics. Beside the tree, threaded through mctx's simulation loop,
travels the pool of KV pages; a node's embedding holds the chain of its pages, its candidate steps
and their values. A simulation selects an open candidate, reads its step into a page, draws K
candidates of its own, values them, and backs up.

Whatever finishes is valued the moment it is generated: by the verifier's verdict when a judge is
given (training), by the value head otherwise (evaluation).
"""

import dataclasses

import jax
import jax.numpy as jnp
import mctx

from expert_iter.errors import UserError
from expert_iter.model.pages import Chain
from expert_iter.model.state import State, read_prompt
from expert_iter.model.tokenizer import TokenIds
from expert_iter.model.transformer import Network
from expert_iter.search import selection
from expert_iter.search.bill import price
from expert_iter.search.candidates import Candidates, SamplerConfig, sample_candidates
from expert_iter.search.paged_loop import Node, PagedLoop
from expert_iter.search.tree import Judge, SearchTree


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
        loop = PagedLoop(self, prompt, problem_B, keys_B, num_simulations)
        tree = mctx.search(
            params=params,
            rng_key=jax.random.key(0),  # all randomness comes from keys_B
            root=mctx.RootFnOutput(
                prior_logits=root.prior_logit_BxK,
                value=self.node_value(
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
        return self.continue_from(
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

    def continue_from(self, params, state: State, problem_B, keys_B, **prefix) -> Node:
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

    def node_value(self, node: Node, own_value_B):
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
