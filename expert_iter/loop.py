"""Expert iteration: search, verify, distil, repeat.

warm start     the apprentice learns from demonstrations: random legal play, or solutions
self-play      the expert searches problems; the verifier says what is right
               (if there is a first expert, it tries them before, and solves the easy ones)
learn          the policy moves towards what the search found better, the value to what came of it
check          greedy answers and the expert's on validation problems, scored by the verifier
evaluate       greedy, samples and MCTS on test problems, each with its bill

Each `run.phase` yields the units of work that are still to be done: a run can be killed anywhere.
"""

from functools import partial

import numpy as np

from expert_iter.config import SEARCH
from expert_iter.measure.scores import legal_share, scored
from expert_iter.measure.search_figures import search_facts, search_means, search_sums
from expert_iter.pod.collectives import gather_arrays
from expert_iter.run import Run
from expert_iter.search.to_tree_record import tree_records


def train(run: Run) -> list[dict]:
    """Trains to the end from wherever the run stands; returns the rows of all evaluations."""
    problems, plays, _ = run.parts.training
    experts = {phase: run.parts.expert(name) for phase, name in run.searchers.items()}
    evaluator = run.parts.evaluator()

    warm_start(run, plays)
    check(run, evaluator, round=0)
    evaluate(run, evaluator, "before")
    for round in range(1, run.settings.run.rounds + 1):
        for phase, expert in experts.items():
            self_play(run, expert, problems, round, phase)
        learn(run, plays, round)
        check(run, evaluator, round)
    if run.settings.run.rounds:
        evaluate(run, evaluator, "after")
    return run.place.results


def warm_start(run: Run, plays) -> None:
    _update(run, plays, run.settings.warm_start.updates, "warm start")


def self_play(run: Run, expert, problems, round: int, phase: str = SEARCH) -> None:
    """problems: those of the training split, None for one that is left out."""
    batches = run.problem_batches(problems, round, phase)
    again = run.searched_again(problems, phase)
    searches = [
        ([problem for problem in batch if problem], run.key(phase, round, unit))
        for unit, batch in enumerate(batches)
    ]
    # Those that are done already, of a phase that is resumed, are empty.
    results = expert.searches(run.params, (search for search in searches if search[0]))
    for unit in run.phase(phase, len(batches), "batch", round):
        if run.tokens_are_spent():
            continue
        found = next(results)._replace(
            expert=run.searchers[phase],
            round=round,
            unit=run.place.searches,
            updates=int(run.train.updates),
        )
        run.trees.start_writing(
            round, found.unit, partial(tree_records, found, run.parts.tokenizer)
        )
        rngs = [run.rng("targets", round, found.unit, row) for row in found.rows]
        lessons, lost = run.parts.distil(found, rngs)
        replaced = again & {problem.id for problem in searches[unit][0]}
        run.replay.add(lessons, replaced)
        if again:
            run.count(searched_again=len(replaced))
        facts = gather_arrays(
            search_facts(found.trees) | {"lost": np.array([lost]), "row": found.rows}
        )
        run.note(**search_means(facts))
        run.count(**search_sums(facts), steps_left_out=facts["lost"].sum())
        run.count(problems_left_out=len(batches[unit]) - len(searches[unit][0]))
        unsolved = [searches[unit][0][row] for row in sorted(facts["row"][~facts["solved"]])]
        run.searched(phase, facts["generated"].sum(), unsolved)


def learn(run: Run, plays, round: int) -> None:
    _update(run, plays, run.updates_worth_making(), "learn", round)


def _update(run: Run, plays, updates: int, phase: str, *round: int) -> None:
    batches = run.learner.batches(run.replay, plays, updates, partial(run.rng, phase, *round))
    for update in run.phase(phase, updates, "update", *round):
        run.update(batches.make(update))


def check(run: Run, evaluator, round: int) -> None:
    """The run's expert and greedy answers, on validation problems."""
    config, task = run.settings.evaluation, run.parts.task
    problems = task.problems("validation")[: config.round_problems]
    questions = [problem.question for problem in problems]  # no answers in them
    # The figures of the run's own expert bear no name: they say which parameters are best.
    methods = ("greedy", "greedy_"), (run.settings.run.expert, "")
    for unit in run.phase("check", len(methods), "method", round):
        method, figure = methods[unit]
        budget = evaluator.round_budget(method)
        [answers] = evaluator.answer(run.params, questions, method, [budget], ("best",))
        [row] = scored(run.parts.verifier, problems, [answers])
        run.place.results.append({"when": "round", "round": round, **row})
        accuracy, legal = row["accuracy"], legal_share(task.is_legal, problems, answers)
        run.note(**{f"{figure}accuracy": accuracy, f"{figure}legal": legal})


def evaluate(run: Run, evaluator, when: str) -> None:
    config, task = run.settings.evaluation, run.parts.task
    problems = task.problems("test")[: config.problems]
    questions = [problem.question for problem in problems]  # no answers in them
    methods = "greedy", "samples", "mcts"
    for unit in run.phase(f"evaluation {when} training", len(methods), "method"):
        method = methods[unit]
        answered = evaluator.answer(run.params, questions, method, evaluator.budgets(method))
        for row in scored(run.parts.verifier, problems, answered):
            run.place.results.append({"when": when, **row})
