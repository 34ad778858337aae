"""Puts a run's parts together from its settings, the same way for every command."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expert_iter.config import Settings
from expert_iter.learn.learner import Learner
from expert_iter.learn.splitting import split
from expert_iter.learn.step_tree import StepTree
from expert_iter.learn.targets import step_trees
from expert_iter.learn.warm_start import WarmStart
from expert_iter.measure.evaluation import Contest
from expert_iter.model.tokenizer import Tokenizer
from expert_iter.model.transformer import Network
from expert_iter.pod import workdir as workdir_lib
from expert_iter.search import experts
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.guess import Guess
from expert_iter.search.judge import HostJudge
from expert_iter.search.player import Player
from expert_iter.search.self_play import SelfPlay
from expert_iter.search.tree import SearchTree
from expert_iter.tasks import Problem, Task, load_task

TOKENIZER_TEXTS = 2000  # random plays to learn the tokenizer's pieces from


@dataclasses.dataclass(frozen=True)
class Parts:
    """Everything that does not change while a run goes on."""

    settings: Settings
    task: Task
    tokenizer: Tokenizer
    network: Network

    def learner(self) -> Learner:
        s = self.settings
        updates = s.warm_start.updates, s.run.rounds * s.learner.updates_per_round
        return Learner(self.network, s.learner, s.loss, s.optimizer, *updates)

    def expert(self) -> SelfPlay:
        """The expert of self-play, with the verifier's verdicts at its leaves."""
        s, judge = self.settings, HostJudge(self.task, self.tokenizer)
        ids = self.tokenizer.ids
        expert = experts.build(s.run.expert, self.network, self._experts(), ids, judge)
        player = Player(expert, self.tokenizer, s.run.batch_size)
        budget = s.guess.num_samples if isinstance(expert, Guess) else s.search.num_simulations
        return SelfPlay(player, judge, budget)

    def distil(
        self, trees: SearchTree, problems: Sequence[Problem], rng: np.random.Generator
    ) -> list[StepTree]:
        """What the learner is to keep of a batch of searched trees."""
        s, tokenizer = self.settings, self.tokenizer
        prompts = [tokenizer.encode_prompt(problem.prompt) for problem in problems]
        siblings = s.loss.policy == "set"
        lessons = step_trees(trees, prompts, tokenizer.ids.newline, s.targets, rng, siblings)
        row = s.learner.row_tokens, s.learner.row_steps
        return [part for lesson in lessons for part in split(lesson, *row) if part.teaches]

    def contest(self) -> Contest:
        """The methods of evaluation. They get no judge, and of the task only its notion of equal
        answers.
        """
        evaluation = self.settings.evaluation
        return Contest(self.network, self.tokenizer, evaluation, self._experts(), self.task.answer)

    def _experts(self) -> ExpertSettings:
        s = self.settings
        return ExpertSettings(s.search, s.sampler, s.guess)

    def plays(self, problems: Sequence[Problem]) -> WarmStart:
        return WarmStart(self.task, self.tokenizer, problems, self.settings.warm_start)


def assemble(settings: Settings, workdir: str | Path) -> Parts:
    """Builds the parts; the tokenizer is the workdir's or, at a run's first start, made and put
    there.
    """
    task = load_task(settings.task_name, dataclasses.asdict(settings.task))
    path = Path(workdir, workdir_lib.TOKENIZER)
    if path.exists():
        tokenizer = Tokenizer.load(path)
    elif settings.tokenizer.model_file:
        tokenizer = Tokenizer.load(settings.tokenizer.model_file)
        tokenizer.save(path)
    else:
        texts = task.sample_texts(TOKENIZER_TEXTS, settings.run.seed)
        tokenizer = Tokenizer.train(texts, task.symbols(), settings.tokenizer, path)
    return Parts(settings, task, tokenizer, Network(settings.model, tokenizer.vocab_size))
