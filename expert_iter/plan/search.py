"""The memory of a search on one device, by arithmetic.

The formulas say what XLA keeps: its reports on programs compiled for CPUs agree within 10% where
weights, pages or trees are most of it (tests/plan/test_plan.py). Three things in them are
XLA's and not the search's, each noted where it is counted: a layer's weights are copied out of the
stack that the scan runs over, its keys and values are turned for the products, and drawing a token
holds several arrays over the vocabulary.

A row is a problem; sizes are those of the device's own rows.
"""

import dataclasses

import jax
import numpy as np

from expert_iter.model.transformer import Network
from expert_iter.plan.parts import IN_FLIGHT, Moment, Part, held_bytes
from expert_iter.pod.mesh import TENSOR_PARALLEL, Layout
from expert_iter.search.guess import GROUP, GuessConfig
from expert_iter.search.search_config import SearchConfig

_FLOAT = _INT = 4
_BOOL = 1
# Arrays [rows, candidates, vocabulary] that live at once: logits, log-probabilities of policy and
# behaviour, random bits and the noise made of them.
_OVER_VOCABULARY = 6
_OVER_VOCABULARY_ON_CPU = 2  # there drawing from the top down takes no more
# Copies of a layer's attention scores that live at once: of past and step apart, and both joined.
_SCORES = 2


@dataclasses.dataclass(frozen=True)
class SearchMemory:
    """What a search holds on one device.

    Attributes:
      network, layout: of the run.
      rows: problems on one device.
      prompt: tokens that prompts are padded to.
      on_cpu: as XLA's buffers are on CPUs.
    """

    network: Network
    layout: Layout
    rows: int
    prompt: int
    on_cpu: bool = False

    @property
    def _tensor(self) -> int:
        """Into how many parts the heads and the MLP's inside are cut."""
        config = self.layout.config
        return config.tensor if config.search == TENSOR_PARALLEL else 1

    @property
    def _number(self) -> int:
        return np.dtype(self.network.config.dtype).itemsize

    def _heads(self, heads: int) -> float:
        return heads / self._tensor if heads % self._tensor == 0 else heads

    def kv(self, rows: int, tokens: int) -> float:
        """Keys and values of all layers."""
        c = self.network.config
        heads = self._heads(c.num_kv_heads)
        return 2 * c.num_layers * rows * tokens * heads * c.head_dim * self._number

    def weights(self, in_parts: bool = False) -> list[Part]:
        """Cut as they are learned, and what is made of them for the search.

        XLA makes them the numbers that it computes with once for all layers and all loops, and
        gathers those.

        in_parts: the search is driven by the host, which gathers them as they are, and before.
        """
        params = self.network.abstract_params()
        learned, searched = self.layout.learning(params), self.layout.searching(params)

        def if_gathered(leaf, cut, wanted) -> float:
            same = cut.shard_shape(leaf.shape) == wanted.shard_shape(leaf.shape)
            return 0.0 if same else held_bytes(leaf, wanted)

        gathered = sum(jax.tree.leaves(jax.tree.map(if_gathered, params, learned, searched)))
        smaller = self._number / np.dtype(self.network.config.param_dtype).itemsize
        converted = held_bytes(params, searched) * smaller if smaller < 1 else 0.0
        return [
            Part("parameters", held_bytes(params, learned)),
            Part("parameters, gathered", gathered if in_parts or not converted else 0.0),
            Part("parameters, to compute with", converted),
        ]

    def layer(self, rows: int, new: int, past: int) -> float:
        """While one layer reads `new` tokens a row after `past` others."""
        c, number = self.network.config, self._number
        blocks = {"blocks": self.network.abstract_params()["blocks"]}
        searched = self.layout.searching(blocks)
        weights = held_bytes(blocks, searched) / c.num_layers  # copied out of the stack
        heads, kv_heads = self._heads(c.num_heads), self._heads(c.num_kv_heads)
        turned = self.kv(rows, past) / c.num_layers
        scores = _SCORES * rows * heads * new * (past + new) * _FLOAT
        projections = rows * new * (heads + 2 * kv_heads) * c.head_dim * number
        mlp = 3 * rows * new * c.mlp_width / self._tensor * number
        stream = 3 * rows * new * c.width * number
        return weights + max(turned + scores + projections, mlp) + stream

    def reading(self, rows: int, new: int, past: int) -> float:
        """While the trunk reads a step."""
        return self.kv(rows, past) + self.kv(rows, new) + self.layer(rows, new, past)

    def drawing(self, rows: int, candidates: int, length: int, context: int) -> float:
        """While candidates of `length` tokens are drawn side by side after a context."""
        tokens = context + candidates * length
        vocabulary = rows * candidates * self.network.vocab_size * _FLOAT
        layer = self.layer(rows, candidates, tokens)
        if self.on_cpu:
            # Keys are joined first, in new memory; while values are joined, the context's values
            # wait. What is drawn with lies later where they lay.
            working = max(layer, _OVER_VOCABULARY_ON_CPU * vocabulary)
            beside = self.kv(rows, candidates) + working
            return self.kv(rows, tokens) + max(self.kv(rows, context) / 2, beside)
        working = max(layer, _OVER_VOCABULARY * vocabulary)
        joined = self.kv(rows, context) + self.kv(rows, tokens)  # the context, and with candidates
        return joined + self.kv(rows, candidates) + working

    def tree_search(self, c: SearchConfig, in_flight: int = 0) -> list[Part]:
        """Of MCTS, and of the searches by a rule, which keep the same nodes.

        in_flight: batches of a search that is driven by the host; 0 for one in one program.
        """
        rows, P, L = self.rows, self.prompt, c.max_step_tokens
        nodes, C = rows * (c.num_simulations + 1), P + c.max_steps * L
        pages, prompts = self.kv(nodes, L), self.kv(rows, P)
        trees = nodes * (node_bytes(c) - shared_bytes(c))
        moments = [
            Moment("reading the prompts", self.layer(rows, P, 0), before_loop=True),
            Moment("drawing at the root", self.drawing(rows, c.width, L, P), before_loop=True),
            Moment("reading a step", self.reading(rows, L, C)),
            Moment("drawing candidates", self.drawing(rows, c.num_candidates, L, C)),
        ]
        if c.rollouts:
            moments += self._rollouts(c, C)
        # Between two parts a batch holds this, and its newest node. None of it is handed out.
        other = pages + prompts + nodes * node_bytes(c) + self.kv(rows, L) + rows * node_bytes(c)
        least = pages + trees
        fullest = max(moments, key=lambda m: m.bytes - least * m.before_loop)
        return [
            *self.weights(in_parts=in_flight > 0),
            Part("KV pages", pages),
            Part("prompts' keys and values", prompts),
            Part("trees", trees),
            Part("trees, handed out", nodes * record_bytes(c)),
            Part(IN_FLIGHT, max(in_flight - 1, 0) * other),
            Part(fullest.name, max(fullest.bytes - least * fullest.before_loop, 0)),
        ]

    def _rollouts(self, c: SearchConfig, context: int) -> list[Moment]:
        """Every candidate is a row of its own."""
        rows, L, left = (
            self.rows * c.width,
            c.max_step_tokens,
            (c.max_steps - 1) * c.max_step_tokens,
        )
        read = self.reading(rows, L, context)
        return [
            Moment("reading rollouts' steps", read),
            Moment("drawing rollouts", self.drawing(rows, c.rollouts, left, context + L)),
        ]

    def guesses(self, c: GuessConfig, replacement: bool) -> list[Part]:
        """Of whole solutions: independent draws are rows of their own, in groups."""
        M, P = c.num_samples, self.prompt
        groups = M // GROUP if replacement and M % GROUP == 0 else 1
        rows = self.rows * groups
        texts = self.rows * M * (c.max_tokens * (_INT + _FLOAT) + _EDGE_RECORD)
        moments = [
            Moment("reading the prompts", self.layer(self.rows, P, 0)),
            Moment("drawing solutions", self.drawing(rows, M // groups, c.max_tokens, P)),
        ]
        fullest = max(moments, key=lambda m: m.bytes)
        return [
            *self.weights(),
            # On CPUs they are the context that `drawing` counts.
            Part("prompts' keys and values", 0.0 if self.on_cpu else self.kv(self.rows, P)),
            Part("solutions", texts),
            Part("solutions, handed out", texts),
            Part(fullest.name, fullest.bytes),
        ]


# Bytes of a candidate beside its tokens and its value after each. In a tree: eight numbers and four
# flags of `Node`'s, and six numbers and a flag of mctx's and `SearchState`'s.
_EDGE = 7 * _FLOAT + 4 * _BOOL + 6 * _FLOAT + _BOOL
# In a `SearchTree`: ten numbers and four flags, seven of the numbers as they are in `Node`.
_EDGE_RECORD = 10 * _FLOAT + 4 * _BOOL
_EDGE_SHARED = 7 * _FLOAT
_NODE = 12 * _FLOAT  # depth, path's figures, bill; mctx's parent, action, visits, values


def node_bytes(c: SearchConfig) -> int:
    """Of a node of a growing tree, with its candidates."""
    texts = c.width * c.max_step_tokens * (_INT + _FLOAT)
    prefix = c.max_steps * (c.max_step_tokens + 2) * _INT  # and its pages and their lengths
    return texts + c.width * _EDGE + prefix + _NODE + _rollout_bytes(c)


def shared_bytes(c: SearchConfig) -> int:
    """Of a node's, those that its record is made of as they are: they are there once."""
    if c.rollouts:  # which are put beside the candidates, in new arrays
        return 0
    return c.width * (c.max_step_tokens * (_INT + _FLOAT) + _EDGE_SHARED) + _FLOAT


def record_bytes(c: SearchConfig) -> int:
    """Of a node in the record that is made of the tree, with its candidates and their rollouts."""
    rollouts, length = c.width * c.rollouts, c.max_step_tokens * (c.max_steps if c.rollouts else 1)
    edges = (c.width + rollouts) * (length * (_INT + _FLOAT) + _EDGE_RECORD)
    return edges + 3 * _INT + _BOOL


def _rollout_bytes(c: SearchConfig) -> int:
    length = c.max_steps * c.max_step_tokens
    return c.width * c.rollouts * (length * (_INT + _FLOAT) + 5 * _FLOAT + 3 * _BOOL)
