"""Puts a run's parts together from its settings, the same way for every command."""

import dataclasses
import functools
import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from expert_iter.config import Settings
from expert_iter.errors import UserError
from expert_iter.learn.hindsight import Hindsight
from expert_iter.learn.learner import Learner
from expert_iter.learn.lessons import columns_of, step_trees
from expert_iter.learn.objectives import heads_of, make_objectives
from expert_iter.learn.objectives.objective import Objective
from expert_iter.learn.room import CUT, REFUSE, Room, long_prompts, note, prompt_tokens, refusal
from expert_iter.learn.splitting import split
from expert_iter.learn.step_tree import StepTree
from expert_iter.learn.warm_start import WarmStart
from expert_iter.measure.evaluator import Evaluator
from expert_iter.model import adapters
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer
from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.model.transformer import Network
from expert_iter.model.weights import pretrained
from expert_iter.pod.mesh import Layout
from expert_iter.search import experts
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.host_verifier import HostVerifier
from expert_iter.search.host_world import HostWorld
from expert_iter.search.player import Player, driven
from expert_iter.search.self_play import GuessAndCheck, Searched, SelfPlay
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.files import write_atomic
from expert_iter.tasks import Problem, Task, load_task
from expert_iter.tasks.verifier import pool
from expert_iter.tasks.verifier.observer import InProcessObserver, Observer, make_observer
from expert_iter.tasks.world import World

_LONGEST = 32  # prompts of most characters, one of which has most tokens
TOKENIZER_TEXTS = 2000  # random plays to learn the tokenizer's pieces from


class Training(NamedTuple):
    """What a run learns from.

    Attributes:
      problems: those of the training split by their place in it; None for one that is left out.
      plays: the warm start.
      note: what is left out or cut, in a line or two for people; '' where nothing is.
    """

    problems: list[Problem | None]
    plays: WarmStart
    note: str


@dataclasses.dataclass(frozen=True)
class Parts:
    """Everything that does not change while a run goes on.

    devices: those of the mesh; by default all.
    """

    settings: Settings
    task: Task
    tokenizer: TextTokenizer
    network: Network
    objectives: dict[str, Objective]
    devices: Sequence[jax.Device] | None = None

    @functools.cached_property
    def steps(self) -> StepEnds:
        """Where steps end in this tokenizer's tokens."""
        world = self._world_of_task
        marks = world and world.marks
        step = self.settings.search.step
        return StepEnds(self.tokenizer, step, self.network.vocab_size, marks)

    @functools.cached_property
    def world(self) -> HostWorld | None:
        """Who answers steps, if the task has a world."""
        size = self.settings.search.max_observation_tokens
        return self.observer and HostWorld(self.observer, self.tokenizer, size)

    @functools.cached_property
    def observer(self) -> Observer | None:
        """Who asks the task's world: this process, unless the world is not safe there."""
        if self._world_of_task is None:
            return None
        observer = make_observer(self.task, self.settings.verifier)
        if not isinstance(observer, InProcessObserver) and self.layout.rows_span_processes:
            # They could hear different answers, such as a time-out, and their searches part.
            raise UserError(
                f"the world of task {self.task.name} runs in worker processes, so each process "
                "must search problems of its own: set mesh.search=gathered"
            )
        return observer

    @property
    def _world_of_task(self) -> World | None:
        return getattr(self.task, "world", None)

    @functools.cached_property
    def layout(self) -> Layout:
        """What lies on which device."""
        return Layout(self.settings.mesh, self.devices)

    @functools.cached_property
    def verifier(self) -> pool.Verifier:
        """Who judges finished solutions: other processes, unless the task is harmless."""
        return pool.make_verifier(self.task, self.settings.verifier)

    def initial_params(self) -> dict:
        """What the network starts from: published weights, or the seed's random ones."""
        directory, key = self.settings.pretrained.directory, jax.random.key(self.settings.run.seed)
        if not directory:
            shardings = self.layout.learning(self.network.abstract_params())
            return jax.jit(self.network.init, out_shardings=shardings)(key)
        network = self.network
        config = dataclasses.replace(network.config, lora_rank=0)
        plain = Network(config, network.vocab_size, network.heads)
        shardings = self.layout.learning(plain.abstract_params())
        weights = pretrained.load_params(directory, plain, shardings)
        if network.config.lora_rank:
            fresh = adapters.fresh(network, key, self.layout.learning)
            weights = adapters.join(fresh, weights)
        return weights

    def frozen_params(self) -> dict:
        """Those that training leaves alone; none unless adapters are trained in their place."""
        if not self.settings.model.lora_rank:
            return {}
        return adapters.split(self.initial_params(), self.settings.model)[1]

    def learner(self) -> Learner:
        s = self.settings
        updates = s.warm_start.updates, s.run.rounds * s.learner.updates_per_round
        how = s.learner, self.objectives, s.optimizer
        return Learner(self.network, *how, *updates, self.layout)

    def expert(self, name: str = "") -> SelfPlay:
        """An expert at self-play, by default `run.expert`, with the verifier's verdicts on what it
        finishes.
        """
        player, in_flight = self.player(name), self.settings.run.batches_in_flight
        if player.expert.verdicts_after:
            return GuessAndCheck(player, self.verifier, in_flight)
        return SelfPlay(player, HostVerifier(self.verifier, self.tokenizer), in_flight)

    def player(self, name: str = "") -> Player:
        """Of self-play, by default of `run.expert`."""
        s = self.settings
        name = name or s.run.expert
        expert = experts.build(name, self.network, self._experts(), self.steps)
        by_parts = self.world or not expert.verdicts_after
        search = driven(expert, self.layout) if by_parts else None
        who = expert, self.tokenizer, s.run.batch_size, self.layout
        return Player(*who, search, self.world)

    def distil(
        self, searched: Searched, rngs: Sequence[np.random.Generator]
    ) -> tuple[dict[int, list[StepTree]], int]:
        """What the learner is to keep of searched trees, by the problems' places in the batch, and
        how many steps that teach something have no room in a row.

        rngs: one a problem.
        """
        if not searched.problems:  # as a process may have none of a batch
            return {}, 0
        tokenizer = self.tokenizer
        prompts = [tokenizer.encode_prompt(problem.prompt) for problem in searched.problems]
        lessons = step_trees(searched, prompts, self.steps, self.objectives, rngs)
        for trees, demonstration in zip(
            lessons, self._hindsight.trees(searched, rngs), strict=True
        ):
            trees += [demonstration] if demonstration else []
        columns = columns_of(self.objectives)
        kept = {
            row: [
                part for tree in trees for part in split(tree, self._room, columns) if part.teaches
            ]
            for row, trees in zip(searched.rows.tolist(), lessons, strict=True)
        }
        lost = sum(map(_teaching_steps, lessons)) - sum(map(_teaching_steps, kept.values()))
        return kept, lost

    def evaluator(self) -> Evaluator:
        """The experts of evaluation. They get no verifier, and of the task only its notion of equal
        answers.
        """
        evaluation = self.settings.evaluation
        who = self.network, self.tokenizer, self.steps
        how = evaluation, self._experts(), self.task.answer, self.layout
        return Evaluator(*who, *how, self.world)

    def _experts(self) -> ExpertSettings:
        s = self.settings
        return ExpertSettings(s.search, s.sampler, s.guess)

    @functools.cached_property
    def training(self) -> Training:
        """What would end the run later ends it here.

        Raises UserError naming training texts that are longer than a row, if they are to be
        refused, and a text of training or evaluation that the tokenizer cannot write.
        """
        s, room, tokenizer = self.settings, self._room, self.tokenizer
        self._hindsight  # noqa: B018 (refuses a task that cannot tell)
        problems = self.task.problems("train")
        left_out = long_prompts(problems, tokenizer, room, s.search.max_step_tokens)
        kept = [None if i in left_out else problem for i, problem in enumerate(problems)]
        plays = self.plays([problem for problem in kept if problem])
        overlong = [*left_out.values(), *plays.overlong]
        if overlong and s.learner.overlong == REFUSE:
            raise refusal(overlong, room)
        if len(left_out) == len(problems) or (self._has_plays and not plays.mean_size):
            raise UserError(
                f"learner.overlong={s.learner.overlong} leaves nothing to learn from: raise "
                f"learner.row_tokens ({room.tokens}) or learner.row_steps ({room.steps})"
            )
        for problem in self._asked():
            prompt_tokens(problem, tokenizer)
        return Training(kept, plays, note(overlong, s.learner.overlong))

    def longest_prompt(self) -> int:
        """Tokens of the longest prompt, among those of most characters, that the run searches."""
        problems = [*filter(None, self.training.problems), *self._asked()]
        longest = heapq.nlargest(_LONGEST, (problem.prompt for problem in problems), key=len)
        return max(len(self.tokenizer.encode_prompt(prompt)) for prompt in longest)

    def _asked(self) -> list[Problem]:
        """The problems of all evaluations."""
        e = self.settings.evaluation
        asked = self.task.problems("validation")[: e.round_problems]
        return [*asked, *self.task.problems("test")[: e.problems]]

    def plays(self, problems: Sequence[Problem]) -> WarmStart:
        s = self.settings
        return WarmStart(
            self.task,
            self.tokenizer,
            self.steps,
            problems if self._has_plays else (),
            s.warm_start,
            self._room,
            cut=s.learner.overlong == CUT,
            observer=self.observer,
        )

    @functools.cached_property
    def _hindsight(self) -> Hindsight:
        share = self.settings.learner.hindsight
        return Hindsight(self.task, self.tokenizer, self.steps, share, self.observer)

    @property
    def _has_plays(self) -> bool:
        return self.settings.warm_start.updates > 0 or self.settings.learner.rehearsal > 0

    @property
    def _room(self) -> Room:
        return Room(self.settings.learner.row_tokens, self.settings.learner.row_steps)


def _teaching_steps(trees: Sequence[StepTree]) -> int:
    return sum(np.count_nonzero(tree.teaching) for tree in trees)


def assemble(settings: Settings, workdir: str | Path) -> Parts:
    """Builds the parts; the tokenizer is the workdir's or, at a run's first start, made and put
    there.
    """
    task = load_task(settings.task_name, dataclasses.asdict(settings.task))
    tokenizer = _tokenizer(settings, task, epath.Path(workdir))
    vocab_size = settings.pretrained.vocab_size or tokenizer.vocab_size
    tokenizer.require_rows(vocab_size)
    objectives = make_objectives(settings.learner.objectives, settings.objectives)
    network = Network(settings.model, vocab_size, heads_of(objectives))
    return Parts(settings, task, tokenizer, network, objectives)


def _tokenizer(settings: Settings, task: Task, workdir: epath.Path) -> TextTokenizer:
    for name in workdir_lib.TOKENIZERS:
        if (workdir / name).exists():
            return load_tokenizer(workdir / name)
    if given := settings.tokenizer.model_file or settings.pretrained.directory:
        tokenizer = load_tokenizer(given)
    else:
        texts = task.sample_texts(TOKENIZER_TEXTS, settings.run.seed)
        tokenizer = SentencePieceTokenizer.train(texts, task.symbols(), settings.tokenizer)
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomic(workdir / tokenizer.file_name, tokenizer.file)
    return tokenizer
