"""What goes from part to part of a search over steps (`search.expansion`), B rows at a time."""

from typing import Any, NamedTuple

import jax

from expert_iter.model.state import State
from expert_iter.model.transformer import KV
from expert_iter.search.drafts import Draft
from expert_iter.search.node import Node


class Start(NamedTuple):
    """What does not change while B trees grow.

    Attributes:
      prompt: their prompts, read.
      problem: [B] int32. The problems' numbers.
      key: [B]. The rows' random keys.
      root: [B]. The roots, not yet judged.
      value: [B] float32. The value head's estimates at the roots.
      draft: their candidates, if a world is to answer them.
    """

    prompt: State
    problem: jax.Array
    key: jax.Array
    root: Node
    value: jax.Array
    draft: Draft | None


class Growth(NamedTuple):
    """B trees that grow.

    Attributes:
      tree: [B, N]. The nodes and what the search keeps of them: an `mctx.Tree`, or the `Ruled` of a
        search by a rule.
      pool: the pages of their steps.
    """

    tree: Any
    pool: KV


class Choice(NamedTuple):
    """The candidate that each of B rows continues.

    Attributes:
      node: [B] int32.
      action: [B] int32. Its number at the node.
      live: [B] bool. False for a row that is done.
    """

    node: jax.Array
    action: jax.Array
    live: jax.Array


class Expansion(NamedTuple):
    """A new node of each of B rows, not yet judged.

    Attributes:
      choice: the candidate that it continues.
      page: keys and values of its step.
      node: [B]. The node; empty where the row is done.
      draft: its candidates, if a world is to answer them.
    """

    choice: Choice
    page: KV
    node: Node
    draft: Draft | None
