"""One training run as it goes on: what changes (parameters, optimizer, replay, place), and its safe
keeping.

A run is a fixed sequence of phases, each of so many units of work. `Run.phase` yields the units
that are still to be done: none of a phase that an earlier process finished, the rest of the one it
was in, all of those after. Whatever is random is derived from the seed and the place, so a resumed
run goes on as if nothing had happened.
"""

import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from expert_iter.assembly import Parts
from expert_iter.errors import UserError
from expert_iter.learn.learner import TrainState
from expert_iter.learn.replay import Replay
from expert_iter.model import adapters
from expert_iter.pod import workdir as workdir_lib
from expert_iter.pod.checkpoints import Checkpoints
from expert_iter.pod.metrics import Metrics
from expert_iter.pod.progress import progress
from expert_iter.tasks.task import Problem


class Run:
    """Made by the process that trains; `evaluate` and `solve` only need `load_params`.

    initial_params: what a run that has no checkpoint yet starts from, instead of random parameters.
    """

    def __init__(self, parts: Parts, workdir: str | Path, initial_params: dict | None = None):
        self.parts, self.settings, self.workdir = parts, parts.settings, Path(workdir)
        self._checkpoints = Checkpoints(
            self.workdir / workdir_lib.CHECKPOINTS, self.settings.run.keep_checkpoints
        )
        self.learner = parts.learner()
        restored = self._checkpoints.restore()
        if restored is None:
            params = parts.initial_params() if initial_params is None else initial_params
            self.train = self.learner.init(jax.device_put(params))
            self.replay = Replay(self.settings.replay)
            place = {"save": -1, "phase": 0, "unit": 0, "tally": {}, "results": []}
        else:
            saved, place = restored.arrays, restored.meta
            like = jax.eval_shape(self.learner.init, parts.network.abstract_params())
            leaves, shape = jax.tree.flatten(like._replace(frozen={}))
            saved_leaves = [saved["train"][f"{i:04d}"] for i in range(len(leaves))]
            self.train: TrainState = jax.tree.unflatten(shape, saved_leaves)
            self.train = self.train._replace(frozen=parts.frozen_params())
            self.replay = Replay.from_arrays(self.settings.replay, saved["replay"])
        self._save_number, self._phase, self._unit = place["save"], place["phase"], place["unit"]
        self._tally: dict[str, float] = place["tally"]
        self._latest: dict[str, float] = {}
        self.results: list[dict] = place["results"]
        self.resumed = restored is not None
        self._metrics = Metrics(self.workdir, resume_at=self._phase)
        self._next_phase, self._saved_at = 0, time.monotonic()

    def describe(self) -> str:
        """One line for people."""
        s, size = self.settings, sum(x.size for x in jax.tree.leaves(self.params))
        doing = (
            f"resuming at phase {self._phase}, unit {self._unit}" if self.resumed else "starting"
        )
        return (
            f"{s.task_name}: {size / 1e6:.2f}M parameters, {self.parts.tokenizer.vocab_size} "
            f"pieces, {s.run.rounds} rounds of {s.run.problems_per_round} problems by "
            f"{s.run.expert}; {doing} in {self.workdir}"
        )

    @property
    def params(self):
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
        number, self._next_phase = self._next_phase, self._next_phase + 1
        if number < self._phase:
            return
        self._latest = {}
        begin, before = time.monotonic(), self._tally.get("seconds", 0.0)
        label = f"round {round}: {name}" if round else name
        with progress(total, label, done=self._unit, unit=unit) as bar:
            while self._unit < total:
                yield self._unit
                self._unit += 1
                self._tally["seconds"] = before + time.monotonic() - begin
                bar.update(1, **self._latest)
                if time.monotonic() - self._saved_at > self.settings.run.save_seconds:
                    self._save()
        figures = {f"{name}/{figure}": value for figure, value in self._figures().items()}
        self._metrics.write(number, {"round": round, **figures})
        self._phase, self._unit, self._tally = number + 1, 0, {}
        self._save()

    def note(self, **figures: float) -> None:
        """Adds figures of the current unit; a phase reports their means."""
        self._latest |= {name: float(value) for name, value in figures.items()}
        for name, value in figures.items():
            if np.isfinite(value):
                total, noted = self._tally.get(name, (0.0, 0))
                self._tally[name] = (total + float(value), noted + 1)

    def count(self, **amounts: float) -> None:
        """Adds amounts of the current unit; a phase reports their sums."""
        for name, amount in amounts.items():
            self._tally[name] = self._tally.get(name, 0.0) + float(amount)

    def problem_batches(self, problems: Sequence[Problem], round: int) -> list[list[Problem]]:
        """The round's problems, drawn without replacement, in batches."""
        c = self.settings.run
        order = self.rng("problems", round).permutation(len(problems))[: c.problems_per_round]
        return [
            [problems[i] for i in order[begin : begin + c.batch_size]]
            for begin in range(0, len(order), c.batch_size)
        ]

    def tokens_are_spent(self) -> bool:
        """Whether one more batch would lead further from the round's tokens than to them."""
        c = self.settings.run
        spent, problems = self._tally.get("tokens", 0.0), self._tally.get("problems", 0.0)
        half_a_batch = 0.5 * c.batch_size * spent / max(problems, 1.0)
        return c.tokens_per_round > 0 and spent + half_a_batch > c.tokens_per_round

    def updates_worth_making(self) -> int:
        """A round's updates, fewer where replay is so small that they would wear it out."""
        c = self.settings.learner
        batch = c.rows * c.row_tokens * (1 - c.rehearsal)
        passes = sum(tree.size for tree in self.replay.trees) / batch
        return min(c.updates_per_round, int(c.max_passes * passes))

    def _figures(self) -> dict[str, float]:
        mean = lambda x: x[0] / max(x[1], 1e-9) if isinstance(x, tuple | list) else x  # noqa: E731
        return {name: mean(x) for name, x in self._tally.items()}

    def _save(self) -> None:
        self._save_number += 1
        # What is frozen is not the run's own: it can be had again from where it came.
        leaves = jax.tree.leaves(self.train._replace(frozen={}))
        arrays = {
            "params": self.train.trained,
            "train": {f"{i:04d}": leaf for i, leaf in enumerate(leaves)},
            "replay": self.replay.arrays(),
        }
        place = {"save": self._save_number, "phase": self._phase, "unit": self._unit}
        self._checkpoints.save(
            self._save_number, arrays, {**place, "tally": self._tally, "results": self.results}
        )
        self._saved_at = time.monotonic()

    def close(self) -> None:
        self._metrics.close()


def load_params(workdir: str | Path, parts: Parts) -> dict:
    """The newest good parameters of a run. Raises UserError where there are none."""
    return adapters.join(trained_params(workdir), parts.frozen_params())


def trained_params(workdir: str | Path) -> dict:
    """Those of them that training changes: all, unless adapters are trained in their place."""
    restored = Checkpoints(Path(workdir, workdir_lib.CHECKPOINTS)).restore(only="params")
    if restored is None:
        raise UserError(
            f"{workdir} holds no checkpoint yet; train first, or wait for the first save"
        )
    return restored.arrays["params"]


def _number(part: int | str) -> int:
    return zlib.crc32(part.encode()) if isinstance(part, str) else part
