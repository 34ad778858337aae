"""A search over steps that is driven by the host, which gives verdicts on each node that is drawn.

No compiled program calls the host: JAX can keep all of them in its compilation cache, and compile
them for machines that are not there.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jax.stages import Compiled

from expert_iter.model.state import State
from expert_iter.pod.mesh import TENSOR, Layout, held_part, on_own_devices, put
from expert_iter.search.bill import Budget
from expert_iter.search.expansion import Expansion, Growth, Start, StepSearch, Verdicts, texts
from expert_iter.search.host_verifier import HostVerifier
from expert_iter.search.node import Node
from expert_iter.search.tree import SearchTree


class VerifiedSearch:
    """`StepSearch.run`, part by part. Each process drives its own devices and waits for no other.

    layout: of all devices.
    """

    def __init__(self, search: StepSearch, verifier: HostVerifier, layout: Layout):
        self._verifier, self._own = verifier, layout.of_own_rows()
        rows, pages = PartitionSpec(layout.search_axes), PartitionSpec(None, layout.search_axes)
        whole = PartitionSpec()
        state = State(pages, rows, rows, rows, rows)
        start, growth = Start(state, rows, rows, rows, rows), Growth(rows, pages)
        expansion = Expansion(rows, pages, rows)

        def plant(start: Start, verdicts: Verdicts, budget: Budget) -> Growth:
            return search.plant(start, search.judged(start.root, verdicts), budget)

        def program(part, inputs, outputs, **options):
            by_rows = jax.shard_map(
                part,
                mesh=self._own.mesh,
                in_specs=inputs,
                out_specs=outputs,
                axis_names=set(layout.search_axes),
                check_vma=False,  # it fails inside mctx
            )
            return jax.jit(by_rows, **options)

        # The pool goes round: where XLA chose, each program would shard it otherwise.
        heads = _heads_axis(search, layout)
        pool = NamedSharding(self._own.mesh, PartitionSpec(None, layout.search_axes, None, heads))
        grown = {"out_shardings": Growth(None, pool)}
        self.start = program(search.start, (whole, rows, rows, rows, rows), start)
        self.plant = program(plant, (start, rows, whole), growth, **grown)
        self.expand = program(search.expand, (whole, start, growth, whole, whole), expansion)
        # Given up, the trees and their pages are changed in place.
        self.accept = program(
            search.accept, (growth, whole, expansion, rows), growth, donate_argnums=0, **grown
        )
        self.finish = program(search.finish, (growth,), rows)

    def __call__(self, params, token, length, problem, keys, budget) -> SearchTree:
        """As `StepSearch.run`, with arrays of all devices; the tree is of this process's rows."""
        given = on_own_devices((params, token, length, problem, keys), self._own)
        params, budget = given[0], self._budget(budget)
        start = self.start(*given)
        judge = functools.partial(self._verdicts, held_part(start.problem))
        growth, number = self.plant(start, judge(start.root), budget), 1
        while True:
            expansion = self.expand(params, start, growth, np.int32(number), budget)
            if not held_part(expansion.choice.live).any():
                return self.finish(growth)
            verdicts = judge(expansion.node)
            growth = self.accept(growth, np.int32(number), expansion, verdicts)
            number += 1

    def compile(self, params, token, length, problem, keys) -> dict[str, tuple[Compiled, Any]]:
        """As `Player.compile`; takes arrays of all devices, abstract."""
        number, budget = np.int32(1), self._budget(1)

        def made(compiled: Compiled) -> Any:
            return jax.tree.map(
                lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
                compiled.out_info,
                compiled.output_shardings,
            )

        def verdicts(node: Node) -> Verdicts:
            asked, rows = jax.eval_shape(texts, node), self._own.search_rows
            shape = lambda text: jax.ShapeDtypeStruct(text.finished.shape, bool, sharding=rows)  # noqa: E731
            return tuple(shape(text) for text in asked)

        start = self.start.lower(params, token, length, problem, keys).compile()
        begun = made(start)
        plant = self.plant.lower(begun, verdicts(begun.root), budget).compile()
        growth = made(plant)
        expand = self.expand.lower(params, begun, growth, number, budget).compile()
        expansion = made(expand)
        given = growth, number, expansion, verdicts(expansion.node)
        return {
            "start": (start, ()),
            "plant": (plant, params),
            "expand": (expand, ()),
            "accept": (self.accept.lower(*given).compile(), (params, begun)),
            "finish": (self.finish.lower(growth).compile(), (params, begun)),
        }

    @staticmethod
    def _budget(budget: int | Budget) -> Budget:
        budget = Budget.of(budget)
        return Budget(np.int32(budget.simulations), *map(np.float32, budget[1:]))

    def _verdicts(self, numbers: np.ndarray, node: Node) -> Verdicts:
        asked = [jax.tree.map(held_part, text) for text in texts(node)]
        given = tuple(self._verifier.verdicts(numbers, text) for text in asked)
        return put(given, self._own.search_rows)


def _heads_axis(search: StepSearch, layout: Layout) -> str | None:
    """The axis along which heads of keys and values are sharded, if they are."""
    whole = TENSOR in layout.search_axes
    divides = search.network.config.num_kv_heads % layout.mesh.shape[TENSOR] == 0
    return TENSOR if divides and not whole else None
