"""One training run as it goes on: what changes (parameters, optimizer, replay, place), and its safe
keeping.

A run is a fixed sequence of phases, each of so many units of work. `Run.phase` yields the units
that are still to be done: none of a phase that an earlier process finished, the rest of the one it
was in, all of those after. Whatever is random is derived from the seed and the place, so a resumed
run goes on as if nothing had happened.
"""

import dataclasses
import io
import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from expert_iter.assembly import Parts
from expert_iter.config import FIRST_SEARCH, SEARCH
from expert_iter.errors import Preempted, UserError
from expert_iter.learn import reanalysis
from expert_iter.learn.learner import TrainState
from expert_iter.learn.packing import Batch
from expert_iter.learn.replay import Replay
from expert_iter.pod import collectives, processes
from expert_iter.pod.mesh import own_part
from expert_iter.pod.preemption import Preemption
from expert_iter.pod.profile import Profile
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.checkpoints import Checkpoints
from expert_iter.storage.files import write_atomic
from expert_iter.storage.metrics import Metrics
from expert_iter.storage.progress import progress
from expert_iter.storage.tree_store import TreeStore
from expert_iter.tasks.task import Problem

# The figure that says which parameters are best: the expert on validation problems (`loop.check`).
_CHECKED = "check/accuracy"


@dataclasses.dataclass
class Place:
    """Where a run stands: what a checkpoint holds beside arrays, as JSON values.

    Attributes:
      save: number of the last save.
      phase, unit: what is to be done next.
      total: units of that phase; None in old checkpoints.
      tally: figures of the phase so far: amounts, and of means the total and how many there are.
      results: rows of all evaluations.
      searches, tokens: of this round so far, batches and generated tokens.
      unsolved: places in the training split of the problems that this round's first search did not
        solve.
      searched_again: places in the training split of the problems that this round searches again.
      best: the save with the best parameters so far, and their accuracy; None before the first.
    """

    save: int = -1
    phase: int = 0
    unit: int = 0
    total: int | None = None
    tally: dict[str, Any] = dataclasses.field(default_factory=dict)
    results: list[dict] = dataclasses.field(default_factory=list)
    searches: int = 0
    tokens: float = 0.0
    unsolved: list[int] = dataclasses.field(default_factory=list)
    searched_again: list[int] = dataclasses.field(default_factory=list)
    best: dict[str, float] | None = None


class Run:
    """Made by the process that trains, or by each of the processes that train together; `evaluate`
    and `solve` only need `load_params`.

    profile: traces some of the work.
    """

    def __init__(self, parts: Parts, workdir: str | Path, profile: Profile | None = None):
        self.parts, self.settings, self.workdir = parts, parts.settings, epath.Path(workdir)
        self._checkpoints = Checkpoints(
            self.workdir / workdir_lib.CHECKPOINTS, self.settings.run.keep_checkpoints
        )
        self.trees = TreeStore(
            self.workdir / workdir_lib.TREES,
            self.settings.store,
            processes.index(),
            processes.count(),
        )
        self.learner = parts.learner()
        like = self.learner.abstract_state()
        restored = self._checkpoints.restore(like=like.arrays())
        if restored is None:
            self.train = self.learner.init(parts.initial_params())
            self.replay, self.place = Replay(self.settings.replay), Place()
        else:
            self.place = Place(**restored.meta)
            self.train = TrainState.from_arrays(restored.arrays, like, parts.frozen_params())
            self.replay = Replay.from_arrays(self.settings.replay, restored.shares)
        self._latest: dict[str, float] = {}
        self._unsettled: tuple[int, dict, Batch] | None = None
        self.resumed = restored is not None
        self._metrics = None
        if processes.is_primary():
            self._metrics = Metrics(self.workdir, resume_at=self.place.phase)
        self._preemption, self._profile, self._units = Preemption(), profile, 0
        self._next_phase, self._saved_at = 0, time.monotonic()
        self._ask_after = 1  # so many units, whether to save

    def describe(self) -> str:
        """One line for people."""
        s, size = self.settings, sum(x.size for x in jax.tree.leaves(self.params))
        doing = f"resuming at phase {self.place.phase}, unit {self.place.unit}"
        if not self.resumed:
            doing = "starting"
        searchers = " and then ".join(self.searchers.values())
        return (
            f"{s.task_name}: {size / 1e6:.2f}M parameters, {self.parts.tokenizer.vocab_size} "
            f"pieces, {s.run.rounds} rounds of {s.run.problems_per_round} problems by "
            f"{searchers}; {doing} in {self.workdir}"
        )

    @property
    def searchers(self) -> dict[str, str]:
        """See `RunConfig`."""
        return self.settings.run.searchers

    @property
    def _resuming(self) -> bool:
        """Whether the next phase is one that an earlier process left in its midst."""
        return self._next_phase == self.place.phase and self.place.unit > 0

    @property
    def params(self) -> dict:
        """The network's, with which it searches and is evaluated."""
        return self.train.params

    def rng(self, *place: int | str) -> np.random.Generator:
        """Host randomness for a place in the run, such as ("learn", round, update)."""
        return np.random.default_rng((self.settings.run.seed, *map(_number, place)))

    def key(self, *place: int | str) -> jax.Array:
        """Device randomness for a place in the run."""
        key = jax.random.key(self.settings.run.seed)
        for part in place:
            key = jax.random.fold_in(key, _number(part))
        return key

    def phase(self, name: str, total: int, unit: str, round: int = 0) -> Iterator[int]:
        """Yields the units of the next phase that are still to be done; saves now and then, and
        after the last.

        The figures noted during the phase go to the metrics, averaged or summed, as `name/figure`.
        """
        place, number, self._next_phase = self.place, self._next_phase, self._next_phase + 1
        if number < place.phase:
            return
        self._latest, self._ask_after, place.total = {}, 1, total
        begin, before = time.monotonic(), place.tally.get("seconds", 0.0)
        label = self._where = f"round {round}: {name}" if round else name
        with progress(total, label, done=place.unit, unit=unit) as bar:
            while place.unit < total:
                traced = self._profile.unit(name, label, place.unit) if self._profile else None
                with traced or nullcontext():
                    yield place.unit
                place.unit += 1
                place.tally["seconds"] = before + time.monotonic() - begin
                bar.update(1, **self._latest)
                self._save_if_due()
        self._settle()
        if self._profile:
            self._profile.close()
        mean = lambda x: x[0] / max(x[1], 1e-9) if isinstance(x, tuple | list) else x  # noqa: E731
        figures = {f"{name}/{figure}": mean(x) for figure, x in place.tally.items()}
        if self._metrics is not None:
            self._metrics.write(number, {"round": round, **figures})
        place.phase, place.unit, place.tally = number + 1, 0, {}
        self._save(checked=figures.get(_CHECKED))

    def note(self, **figures: float) -> None:
        """Adds figures of the current unit; a phase reports their means."""
        self._latest |= {name: float(value) for name, value in figures.items()}
        for name, value in figures.items():
            if np.isfinite(value):
                total, noted = self.place.tally.get(name, (0.0, 0))
                self.place.tally[name] = (total + float(value), noted + 1)

    def count(self, **amounts: float) -> None:
        """Adds amounts of the current unit; a phase reports their sums."""
        for name, amount in amounts.items():
            self.place.tally[name] = self.place.tally.get(name, 0.0) + float(amount)

    def problem_batches(
        self, problems: Sequence[Problem | None], round: int, phase: str = SEARCH
    ) -> list[list[Problem | None]]:
        """The phase's problems in batches: the round's, drawn without replacement, or those that
        its first search did not solve. None is one left out.

        Where a search is resumed, the batches that are done are empty, and the others hold what has
        not been searched, whatever the batch size and the problems left out were before.
        """
        c, place, share = self.settings.run, self.place, self.settings.replay.reanalyse
        units, tally = (place.unit, place.tally) if self._resuming else (0, {})
        searched, left_out = (int(tally.get(key, 0)) for key in ("problems", "problems_left_out"))
        if c.first_expert and phase == SEARCH:
            left = [problems[i] for i in place.unsolved[searched:]]
            starts = range(0, len(left), c.batch_size)
            return [[]] * units + [left[i : i + c.batch_size] for i in starts]
        self._places = {problem.id: i for i, problem in enumerate(problems) if problem}
        order = self.rng("problems", round).permutation(len(problems))
        begins = not self._resuming and self._next_phase >= place.phase
        if begins:
            place.searches, place.tokens, place.unsolved = 0, 0.0, []
        if share and begins:
            # A resumed search keeps those it had: its replay has changed since they were drawn.
            place.searched_again = reanalysis.draw(
                self.replay.origins,
                int(self.train.updates),
                self._places,
                int(share * c.problems_per_round + 0.5),
                self.rng("reanalyse", round),
            )
        if share:
            order = reanalysis.interleaved(order, place.searched_again, c.problems_per_round)
        drawn = [problems[i] for i in order[searched + left_out :]]
        wanted = c.problems_per_round - searched
        ends = [end for end, problem in enumerate(drawn, start=1) if problem][:wanted]
        ends = ends[c.batch_size - 1 : -1 : c.batch_size] + ends[-1:]
        return [[]] * units + [drawn[a:b] for a, b in itertools.pairwise([0, *ends])]

    def searched_again(self, problems: Sequence[Problem | None], phase: str) -> set[str]:
        """Ids of the problems of past rounds that the phase searches again."""
        if self.settings.run.first_expert and phase == SEARCH:
            return set()  # they went in the first search
        return {problems[i].id for i in self.place.searched_again if problems[i]}

    def searched(self, phase: str, tokens: float, unsolved: Sequence[Problem]) -> None:
        """Keeps account of a batch that was searched: what it cost, and what it left unsolved."""
        place = self.place
        place.searches, place.tokens = place.searches + 1, place.tokens + float(tokens)
        if phase == FIRST_SEARCH:
            place.unsolved += [self._places[problem.id] for problem in unsolved]

    def tokens_are_spent(self) -> bool:
        """Whether one more batch would lead further from the round's tokens than to them."""
        c, place = self.settings.run, self.place
        spent, problems = place.tally.get("tokens", 0.0), place.tally.get("problems", 0.0)
        half_a_batch = 0.5 * c.batch_size * spent / max(problems, 1.0)
        return c.tokens_per_round > 0 and place.tokens + half_a_batch > c.tokens_per_round

    def updates_worth_making(self) -> int:
        """A round's updates, fewer on a small replay. A resumed phase keeps the number it had."""
        if self._resuming and self.place.total is not None:
            return self.place.total
        c = self.settings.learner
        batch = c.rows * c.row_tokens * (1 - c.rehearsal)
        passes = self.replay.tokens.sum() / batch
        return min(c.updates_per_round, int(c.max_passes * passes))

    def update(self, batch: Batch) -> None:
        """Updates the parameters. The losses are noted once the devices have the next update to
        work on: the host makes that one's batch meanwhile. Raises UserError as `_settle`.
        """
        self._checkpoints.before_donation()
        self.train, losses = self.learner.update(self.train, batch)
        self._settle()
        self._unsettled = self.place.unit, losses, batch

    def _settle(self) -> None:
        """Notes losses that have not been looked at. Raises UserError if one is not a finite
        number, and keeps the batch that made it.
        """
        if self._unsettled is None:
            return
        (update, losses, batch), self._unsettled = self._unsettled, None
        self.note(**losses)
        wrong = [name for name, value in losses.items() if not np.isfinite(value)]
        if not wrong:
            return
        kept = self.workdir / f"not_finite.{processes.index()}.npz"
        buffer = io.BytesIO()
        arrays = batch._asdict() | batch.columns
        del arrays["columns"]
        np.savez(buffer, **{name: own_part(array) for name, array in arrays.items()})
        write_atomic(kept, buffer.getvalue())
        raise UserError(
            f"{' and '.join(wrong)} is not a finite number in {self._where}, update {update}; "
            f"the batch is in {kept}. The last checkpoint is good: go on from "
            "it with a lower optimizer.learning_rate, optimizer.round_learning_rate or "
            "optimizer.clip_norm"
        )

    def _save_if_due(self) -> None:
        """Saves where the last time is long ago, or the run is told to leave."""
        self._units += 1
        leaving = self._preemption.reached(self._units)
        if leaving or self._is_due():
            self._save()
        if leaving:
            self.close()
            raise Preempted

    def _is_due(self) -> bool:
        """Whether the last save is long ago, by the first process's clock. Processes that ask each
        other wait for their devices: they ask again when, at the pace of the phase, half of the
        time that is left has gone by.
        """
        self._ask_after -= 1
        if self._ask_after > 0:
            return False
        left = self._saved_at + self.settings.run.save_seconds - time.monotonic()
        pace = max(1e-6, self.place.tally["seconds"] / self.place.unit)
        due, self._ask_after = collectives.all_gather((left <= 0, max(1, int(left / pace / 2))))[0]
        return due

    def _save(self, checked: float | None = None) -> None:
        """checked: the accuracy of these very parameters, where it has just been measured."""
        self._settle()
        self.trees.finish()  # before the checkpoint that says that this unit is done
        place = self.place
        place.save += 1
        if checked is not None and (place.best is None or checked > place.best["accuracy"]):
            place.best = {"save": place.save, "accuracy": checked}
        self._checkpoints.start_saving(
            place.save,
            self.train.arrays(),
            vars(place),
            share=self.replay.arrays(),
            best=place.best and place.best["save"],
        )
        self._saved_at = time.monotonic()

    def close(self) -> None:
        self.trees.finish()
        self._checkpoints.finish()
        if self._metrics is not None:
            self._metrics.close()


def _number(part: int | str) -> int:
    return zlib.crc32(part.encode()) if isinstance(part, str) else part
