"""A task whose verdicts on training problems depend on the process that is asked, as where a
verifier's time runs out in one of them.
"""

import zlib

from expert_iter.pod import processes
from expert_iter.tasks import TASKS
from expert_iter.tasks.numbers.countdown import Countdown, CountdownConfig


class Disagreeing(Countdown):
    """A text is right by either of two processes in three cases of four. One process alone answers
    for both.
    """

    name = "disagreeing"

    def verdict(self, problem, solution):
        if not problem.id.startswith("train"):
            return super().verdict(problem, solution)
        hashed = zlib.crc32(f"{problem.id} {solution}".encode())
        said = hashed % 4 != 0, hashed // 4 % 4 != 0
        return all(said) if processes.count() == 1 else said[processes.index()]


TASKS["disagreeing"] = (Disagreeing, CountdownConfig)
