"""The expert at play: it searches problems with the verifier's verdicts at its leaves."""

from collections.abc import Sequence

from expert_iter.search.judge import HostJudge
from expert_iter.search.player import Player
from expert_iter.search.tree import SearchTree
from expert_iter.tasks.task import Problem


class SelfPlay:
    """A player whose search was compiled with `judge`. Only self-play has one."""

    def __init__(self, player: Player, judge: HostJudge, budget: int):
        self._player, self._judge, self._budget = player, judge, budget

    def search(self, params, problems: Sequence[Problem], key) -> SearchTree:
        """Searches one batch; the trees know which of their finished candidates are right."""
        self._judge.problems = problems
        questions = [problem.question for problem in problems]
        return self._player.play(params, questions, key, self._budget)
