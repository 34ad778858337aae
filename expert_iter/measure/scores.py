"""Scores answers by the verifier, after they were given."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from expert_iter.measure.bootstrap import interval
from expert_iter.measure.evaluator import Answers
from expert_iter.pod import collectives
from expert_iter.tasks.task import Problem
from expert_iter.tasks.verifier.pool import Verifier


def legal_share(
    is_legal: Callable[[Problem, str], bool], problems: Sequence[Problem], answers: Answers
) -> float:
    """Share of answers that keep to the rules, whether or not they are right."""
    pairs = zip(problems, answers.texts, strict=True)
    return float(np.mean([text is not None and is_legal(p, text) for p, text in pairs]))


def scored(
    verifier: Verifier, problems: Sequence[Problem], answered: Iterable[Answers]
) -> Iterator[dict]:
    """Rows of the results table, with the verdict on each problem as `correct`.

    The verdicts on one method's answers are given while the next one searches, each process asking
    for its share of them.
    """
    waiting = None
    for answers in answered:
        texts = answers.candidates or [[text] for text in answers.texts]
        texts = [list(dict.fromkeys(of_problem)) for of_problem in texts]
        counts = [len(of_problem) for of_problem in texts]
        asked = [p for p, n in zip(problems, counts, strict=True) for _ in range(n)]
        flat = [text for of_problem in texts for text in of_problem]
        future = verifier.submit(collectives.local_shard(asked), collectives.local_shard(flat))
        if waiting is not None:
            yield _row(*waiting)
        waiting = answers, counts, future
    if waiting is not None:
        yield _row(*waiting)


def _row(answers: Answers, counts: Sequence[int], future: Future[list[bool]]) -> dict:
    given = iter(collectives.gather_shards(future.result()))
    correct = [any([next(given) for _ in range(count)]) for count in counts]
    accuracy, low, high = interval(correct)
    return {
        "method": answers.method,
        "budget": answers.budget,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "tokens": float(np.mean(answers.bill.generated)),
        "prefill_tokens": float(np.mean(answers.bill.prefilled)),
        "flops": float(np.mean(answers.bill.flops)),
        "seconds": answers.seconds,
        "problems": len(correct),
        "correct": "".join(map(str, np.array(correct, int))),
    }
