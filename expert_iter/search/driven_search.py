"""A search over steps that is driven by the host, which answers each node that is drawn: by a
world's answers, if the task has a world, and by verdicts, if the search is to have them.

No compiled program calls the host: JAX can keep all of them in its compilation cache, and compile
them for machines that are not there.
"""

import functools
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jax.stages import Compiled

from expert_iter.model.state import State
from expert_iter.pod.mesh import TENSOR, Layout, held_part, on_own_devices, put
from expert_iter.search.bill import Budget
from expert_iter.search.decoder import Carry
from expert_iter.search.drafts import Answers, Draft, NewSteps
from expert_iter.search.expansion import StepSearch, Texts, Verdicts, texts
from expert_iter.search.growth import Expansion, Growth, Start
from expert_iter.search.node import Node
from expert_iter.search.tree import SearchTree

# Submit texts, or new steps, of problems [B] by their numbers. The functions returned wait for
# verdicts [B, M] bool, and for what a world says.
Ask = Callable[[np.ndarray, Texts], Callable[[], np.ndarray]]
AskWorld = Callable[[np.ndarray, NewSteps], Callable[[], Answers]]


class DrivenSearch:
    """`StepSearch.run`, part by part. Each process drives its own devices and waits for no other.

    Processes whose devices search the same rows launch the same programs, for they agree on
    verdicts: a text is right if the verifiers of all of them say so.

    layout: of all devices.
    """

    def __init__(self, search: StepSearch, layout: Layout):
        self._layout, self._own = layout, layout.of_own_rows()
        own = self._own
        # One on each device of several processes, else one that they share.
        self._copies = own.mesh.shape[TENSOR] if own.rows_span_processes else 1
        self._of_verdicts = NamedSharding(
            own.mesh, PartitionSpec(TENSOR if self._copies > 1 else None, own.search_axes)
        )
        self._of_rows = NamedSharding(own.mesh, PartitionSpec(own.search_axes))

        def plant(start: Start, verdicts: Verdicts | None, budget: Budget) -> Growth:
            return search.plant(start, search.judged(start.root, _agreed(verdicts)), budget)

        def accept(
            growth: Growth, number, expansion: Expansion, verdicts: Verdicts | None
        ) -> Growth:
            return search.accept(growth, number, expansion, _agreed(verdicts))

        kv_heads = search.network.config.num_kv_heads

        def program(part, inputs: str, outputs: str, **options):
            answered = search.steps.answered
            return row_program(own, kv_heads, answered, part, inputs, outputs, **options)

        self.start = program(search.start, "params rows rows rows rows", "start")
        self.plant = program(plant, "begun verdicts budget", "growth")
        self.expand = program(search.expand, "params begun growth number budget", "expansion")
        # Given up, the trees and their pages are changed in place.
        accepted = "growth number drawn verdicts"
        self.accept = program(accept, accepted, "growth", donate_argnums=0)
        self.finish = program(search.finish, "growth", "rows")
        self.new_steps = program(search.new_steps, "params rows draft", "rows")
        self.hear = program(search.hear, "params rows draft rows", "rows")
        self._config = search.config
        self.begin_rollouts = program(search.begin_rollouts, "params rows draft", "draft")
        self.rollout_steps = program(search.rollout_steps, "params rows draft", "rows")
        self.continue_rollouts = program(search.continue_rollouts, "params draft rows", "draft")
        self.with_rollouts = program(search.with_rollouts, "params rows draft rows", "rows")

    def __call__(
        self,
        params,
        token,
        length,
        problem,
        keys,
        budget,
        ask: Ask | None,
        ask_world: AskWorld | None = None,
    ) -> Generator[None, None, SearchTree]:
        """As `StepSearch.run`, with arrays of all devices; the tree is of this process's rows.

        Yields where the devices, the verifier or the world have work that it would wait for.

        Args:
          ask: for verdicts. None: the value head's estimates take their place.
          ask_world: for what is answered to steps, if the task has a world.
        """
        params = self.gathered(params)
        given = on_own_devices((params, token, length, problem, keys), self._own)
        params, budget = given[0], self._budget(budget)
        start = self.start(*given)
        yield
        root, verdicts = yield from self._answered(
            params, start.problem, start.root, start.draft, ask, ask_world
        )
        start = start._replace(root=root, draft=None)
        growth, number = self.plant(start, verdicts, budget), 1
        while True:
            expansion = self.expand(params, start, growth, np.int32(number), budget)
            yield
            if not held_part(expansion.choice.live).any():
                return self.finish(growth)
            node, verdicts = yield from self._answered(
                params, start.problem, expansion.node, expansion.draft, ask, ask_world
            )
            expansion = expansion._replace(node=node, draft=None)
            growth = self.accept(growth, np.int32(number), expansion, verdicts)
            number += 1

    def gathered(self, params) -> Any:
        """Parameters as all parts read them; searches can share them. Nothing is copied twice."""
        return jax.device_put(params, self._layout.searching(params))

    def compile(
        self, params, token, length, problem, keys, in_flight: int
    ) -> dict[str, tuple[Compiled, Any]]:
        """As `Player.compile`; takes arrays of all devices, abstract."""
        number, budget = np.int32(1), self._budget(1)

        def sharded(x, sharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        def made(compiled: Compiled) -> Any:
            return jax.tree.map(sharded, compiled.out_info, compiled.output_shardings)

        def verdicts(node: Node) -> Verdicts:
            asked = jax.eval_shape(texts, node)
            shapes = [(self._copies, *text.asked.shape) for text in asked]
            of = self._of_verdicts
            return tuple(jax.ShapeDtypeStruct(shape, bool, sharding=of) for shape in shapes)

        learned, params = params, jax.tree.map(sharded, params, self._layout.searching(params))
        pairs = zip(*map(jax.tree.leaves, (learned, params)), strict=True)
        # What is gathered for the search is there twice.
        beside = [x for x, y in pairs if not x.sharding.is_equivalent_to(y.sharding, x.ndim)]
        start = self.start.lower(params, token, length, problem, keys).compile()
        begun = made(start)
        plant = self.plant.lower(begun, verdicts(begun.root), budget).compile()
        growth = made(plant)
        expand = self.expand.lower(params, begun, growth, number, budget).compile()
        expansion = made(expand)
        given = growth, number, expansion, verdicts(expansion.node)
        others = [(begun, growth, expansion)] * (in_flight - 1)
        return {
            "start": (start, (beside, others)),
            "plant": (plant, (beside, others, params)),
            "expand": (expand, (beside, others)),
            "accept": (self.accept.lower(*given).compile(), (beside, others, params, begun)),
            "finish": (self.finish.lower(growth).compile(), (beside, others, params, begun)),
        }

    @staticmethod
    def _budget(budget: int | Budget) -> Budget:
        budget = Budget.of(budget)
        return Budget(np.int32(budget.simulations), *map(np.float32, budget[1:]))

    def _answered(
        self, params, problem, node: Node, draft: Draft | None, ask, ask_world
    ) -> Generator[None, None, tuple[Node, Verdicts | None]]:
        """The node with the world's answers, and the verdicts on it."""
        problem_B = held_part(problem)
        if draft is not None:
            steps = self.new_steps(params, node, draft)
            answers = ask_world(problem_B, jax.tree.map(held_part, steps))
            yield
            node = self.hear(params, node, draft, put(answers(), self._of_rows))
            if self._config.rollouts:
                node = yield from self._rolled_out(params, problem_B, node, draft, ask_world)
        verdicts = None
        if ask is not None:
            verdicts = yield from self._verdicts(ask, problem_B, node)
        return node, verdicts

    def _rolled_out(
        self, params, problem_B, node: Node, draft: Draft, ask_world: AskWorld
    ) -> Generator[None, None, Node]:
        """The node with rollouts from its candidates, which the world answers as well."""
        problems = np.repeat(problem_B, self._config.width)
        written = yield from to_the_end(
            self.begin_rollouts(params, node, draft),
            self._config.max_steps - 1,
            functools.partial(self.rollout_steps, params, node),
            functools.partial(self.continue_rollouts, params),
            functools.partial(ask_world, problems),
            self._of_rows,
        )
        return self.with_rollouts(params, node, *written)

    def _verdicts(self, ask: Ask, problem_B, node: Node) -> Generator[None, None, Verdicts]:
        """[copies, B, M] bool for each of the node's texts."""
        answers = [ask(problem_B, jax.tree.map(held_part, text)) for text in texts(node)]
        yield
        given = [answer() for answer in answers]
        copies = tuple(
            np.broadcast_to(verdict, (self._copies, *verdict.shape)) for verdict in given
        )
        return put(copies, self._of_verdicts)


def to_the_end(
    draft: Draft,
    most: int,
    new_steps: Callable[[Draft], NewSteps],
    go_on: Callable[[Draft, Answers], Draft],
    ask: Callable[[NewSteps], Callable[[], Answers]],
    rows: NamedSharding,
) -> Generator[None, None, tuple[Draft, Answers]]:
    """Writes texts step by step, `most` steps at most. Yields where the devices or the world have
    work that it would wait for.

    Args:
      draft: with the first steps.
      new_steps, go_on: of drafts; programs.
      ask: the world.
      rows: how answers are put on the devices.

    Returns:
      The draft with its last steps, and the answers to those, which it has not read.
    """
    for number in range(1, most + 1):
        steps = new_steps(draft)
        yield
        waited_for = ask(jax.tree.map(held_part, steps))
        yield
        answers = waited_for()
        given = put(answers, rows)
        if number == most or not answers.goes_on.any():
            return draft, given
        draft = go_on(draft, given)


def _agreed(verdicts: Verdicts | None) -> Verdicts | None:
    """[B, M] bool. Which texts are right by all copies [copies, B, M] of verdicts."""
    return verdicts and tuple(jnp.all(copies, axis=0) for copies in verdicts)


def row_program(
    own: Layout, kv_heads: int, answered: bool, part: Callable, inputs: str, outputs: str, **options
) -> Callable:
    """A part of a search as a program in which devices search rows of their own.

    Args:
      own: this process's devices.
      kv_heads: of the network.
      answered: whether a world answers steps.
      inputs, outputs: what goes in and out, by the names of `specs`; others are whole everywhere.
      options: of `jax.jit`.
    """
    by_rows = specs(answered, own.search_axes)
    # From part to part, keys and values lie as the layers that read them do.
    sharded = jax.tree.map(
        lambda spec: NamedSharding(own.mesh, spec),
        specs(answered, own.search_axes, own.search_axis_of_heads(kv_heads))[outputs],
        is_leaf=lambda x: isinstance(x, PartitionSpec),
    )
    on_rows = jax.shard_map(
        part,
        mesh=own.mesh,
        in_specs=tuple(by_rows.get(name, PartitionSpec()) for name in inputs.split()),
        out_specs=by_rows[outputs],
        axis_names=set(own.search_axes),
        check_vma=False,  # it fails inside mctx
    )
    return jax.jit(on_rows, out_shardings=sharded, **options)


def specs(answered: bool, row_axes: tuple[str, ...], heads: str | None = None) -> dict:
    """How what goes from part to part is sharded. answered: by a world; heads: the axis of keys'
    and values' heads.
    """
    rows = PartitionSpec(row_axes)
    kv, pages = (PartitionSpec(None, row_axes, *[None] * n, heads) for n in (1, 2))
    carry = Carry(rows, kv, rows, rows, rows, rows)
    draft = Draft(State(None, rows, rows, rows, rows), rows, carry, rows) if answered else None
    begun = Start(State(kv, rows, rows, rows, rows), rows, rows, rows, rows, None)
    drawn = Expansion(rows, kv, rows, None)
    return {
        "rows": rows,
        "verdicts": PartitionSpec(None, row_axes),
        "draft": draft,
        "start": begun._replace(draft=draft),
        "begun": begun,  # and answered
        "growth": Growth(rows, pages),
        "expansion": drawn._replace(draft=draft),
        "drawn": drawn,  # and answered
    }
