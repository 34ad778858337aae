"""Puts questions to an expert: pads and batches them, runs the one compiled search on all devices,
brings the trees to the host.
"""

import functools
import zlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.pod.mesh import Layout, on_all_devices, own_part, own_rows, put
from expert_iter.search.driven_guess import DrivenGuess
from expert_iter.search.driven_search import Ask, AskWorld, DrivenSearch
from expert_iter.search.expert import Expert
from expert_iter.search.host_world import HostWorld
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.task import Question

SHORT = 32  # tokens; prompts up to here are padded to a multiple of 4


def by_rows(run: Callable[..., SearchTree], layout: Layout) -> Callable[..., SearchTree]:
    """`run(params, tokens, lengths, numbers, keys, budget)` on all devices: each searches rows of
    its own and waits for no other.
    """
    rows, whole = PartitionSpec(layout.search_axes), PartitionSpec()
    return jax.shard_map(
        run,
        mesh=layout.mesh,
        in_specs=(whole, rows, rows, rows, rows, whole),
        out_specs=rows,
        axis_names=set(layout.search_axes),
        check_vma=False,  # it fails inside mctx
    )


def driven(expert: Expert, layout: Layout) -> DrivenSearch | DrivenGuess:
    """The expert as the host drives it."""
    return (DrivenGuess if expert.shares_draws else DrivenSearch)(expert, layout)


class Player:
    """One expert at one batch size.

    search: drives the search by parts, in place of the expert's own `run`.
    world: who answers steps, if the task has a world; needs `search`.
    """

    def __init__(
        self,
        expert: Expert,
        tokenizer: TextTokenizer,
        batch_size: int,
        layout: Layout,
        search: DrivenSearch | DrivenGuess | None = None,
        world: HostWorld | None = None,
    ):
        self.expert, self.tokenizer = expert, tokenizer
        self.batch_size, self._layout, self._world = batch_size, layout, world
        shards = layout.search_shards
        self._rows = -(-batch_size // shards) * shards
        run = expert.run
        if expert.shares_draws:
            run = lambda *given: expert.draws(*given[:-1])  # noqa: E731 (all but the budget)
            self._keep = jax.jit(expert.kept, out_shardings=layout.search_rows)
        self.in_parts = search is not None
        self._search = search or jax.jit(by_rows(run, layout))
        self._gather = jax.jit(lambda tree: tree, out_shardings=layout.everywhere)

    def play(self, params, questions: Sequence[Question], key, budget: int) -> SearchTree:
        """Searches at most `batch_size` questions; the arrays of the result are on the host, one
        row a question, the same on all processes.

        A question's tree depends on the parameters, the key, the budget and its own id, not on its
        neighbours nor on the devices.
        """
        [tree] = self.play_each(params, questions, key, [budget])
        return tree

    def play_each(
        self, params, questions: Sequence[Question], key, budgets: Sequence[int]
    ) -> list[SearchTree]:
        """`play` at each of these budgets; one search serves all if the expert shares draws."""
        trees = self._run(params, questions, key, budgets)
        if jax.process_count() > 1:
            trees = [self._gather(tree) for tree in trees]
        return jax.tree.map(lambda x: x[: len(questions)], jax.device_get(trees))

    def play_own(
        self, params, questions: Sequence[Question], key, budget: int
    ) -> tuple[np.ndarray, SearchTree]:
        """As `play`, but gives each process the trees of its own questions: their numbers among
        all, and the trees.
        """
        [tree] = self._run(params, questions, key, [budget])
        return self._own(tree, len(questions))

    def gathered(self, params) -> Any:
        """Parameters as this expert's programs read them. Several searches share what is gathered
        before them; a search of one program gathers within.
        """
        return self._search.gathered(params) if self.in_parts else params

    def play_in_parts(
        self, params, questions: Sequence[Question], key, budget: int, ask: Ask | None
    ) -> Generator[None, None, tuple[np.ndarray, SearchTree]]:
        """As `play_own`, with verdicts if there is someone to `ask`. Yields where the devices, the
        verifier or the world have work that it would wait for.
        """
        given = self._put(questions, key)
        tree = yield from self._search(params, *given, budget, ask, self._ask_world(questions))
        return self._own(tree, len(questions))

    def _ask_world(self, questions: Sequence[Question]) -> AskWorld | None:
        return self._world and functools.partial(self._world.ask, questions)

    def compile(
        self, params, prompt: int, in_flight: int = 1
    ) -> dict[str, tuple[jax.stages.Compiled, Any]]:
        """Its programs by shapes alone, for devices that need not be there.

        Args:
          params: abstract, with their shardings.
          prompt: tokens that prompts are padded to.
          in_flight: batches that are searched by parts at once.

        Returns:
          The programs by name, each with what lies on the devices beside its arguments (abstract).
        """

        def rows(*shape: int, dtype=np.int32):
            return jax.ShapeDtypeStruct(shape, dtype, sharding=self._layout.search_rows)

        B, most = self._rows, self.expert.most
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), B))
        given = rows(B, prompt), rows(B), rows(B), rows(B, dtype=keys.dtype)
        if self.in_parts:
            return self._search.compile(params, *given, in_flight)
        search = self._search.lower(params, *given, most).compile()
        if not self.expert.shares_draws:
            return {"search": (search, ())}
        drawn = jax.tree.map(lambda x: rows(*x.shape, dtype=x.dtype), search.out_info)
        keep = self._keep.lower(drawn, given[1], most).compile()
        return {"search": (search, ()), "keep": (keep, params)}

    def _run(self, params, questions: Sequence[Question], key, budgets) -> list[SearchTree]:
        given, search = self._put(questions, key), self._search
        if self._world:
            search = functools.partial(self._answered, self._ask_world(questions))
        if not self.expert.shares_draws:
            return [search(params, *given, budget) for budget in budgets]
        drawn = search(params, *given, budgets[0])
        return [self._keep(drawn, given[1], budget) for budget in budgets]

    def _answered(self, ask_world: AskWorld, params, *given) -> Any:
        """A search to its end, with a world's answers and without verdicts: arrays of all rows."""
        if self.expert.shares_draws:
            driven = self._search.draws(params, *given[:-1], ask_world)
        else:
            driven = self._search(params, *given, None, ask_world)
        while True:
            try:
                next(driven)
            except StopIteration as ended:
                return on_all_devices(ended.value, self._layout.search_rows)

    def _own(self, tree: SearchTree, asked: int) -> tuple[np.ndarray, SearchTree]:
        """See `play_own`; asked: questions."""
        rows = own_rows(self._layout.search_rows, self._rows)
        kept = rows < asked
        return rows[kept], jax.tree.map(lambda x: own_part(x)[kept], tree)

    def _put(self, questions: Sequence[Question], key) -> tuple[jax.Array, ...]:
        """On the devices: tokens, lengths, problems' numbers and keys, as `Expert.run` has them."""
        prompts = [self.tokenizer.encode_prompt(question.prompt) for question in questions]
        longest = max(map(len, prompts))
        tokens = np.full((self._rows, padded_length(longest)), self.tokenizer.ids.pad, np.int32)
        tokens[:, 0] = prompts[0][0]  # rows past the questions must read something
        lengths = np.ones(self._rows, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)], lengths[row] = prompt, len(prompt)
        ids = np.zeros(self._rows, np.uint32)
        ids[: len(questions)] = [zlib.crc32(question.id.encode()) for question in questions]
        # Rows past the questions repeat the first problem's number: the verifier must know all it
        # is asked about.
        numbers = np.arange(self._rows, dtype=np.int32)
        numbers[len(questions) :] = 0
        rows = self._layout.search_rows
        return *put((tokens, lengths, numbers), rows), _row_keys(key, put(ids, rows))


@jax.jit
def _row_keys(key, ids):
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)


def padded_length(length: int) -> int:
    """What prompts are padded to, so that few lengths are compiled: multiples of 4, and above
    `SHORT` 48, 64, 96, 128, 192 and so on.
    """
    if length <= SHORT:
        return -(-length // 4) * 4
    size = SHORT
    while size < length:
        power_of_two = size & (size - 1) == 0
        size = size * 3 // 2 if power_of_two else size * 4 // 3
    return size
