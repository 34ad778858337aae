"""Expert iteration: search, verify, distil, repeat.

    warm start      the apprentice learns rules and format from random legal play
    each round      self-play   the expert searches problems; the verifier judges what it finishes
                    learn       policy towards what the search found better, value towards what came
                    of it check       greedy and search on validation problems, without the verifier
    before, after   every method on test problems, each with its bill

Every `run.phase` loop is resumable: see `run`.
"""

import numpy as np

from expert_iter.learn.splitting import split
from expert_iter.learn.targets import step_trees
from expert_iter.measure.calibration import auc
from expert_iter.measure.evaluation import judge
from expert_iter.run import Run


def train(run: Run) -> list[dict]:
    """Trains to the end, from wherever the run stands; returns the rows of the evaluation before
    and after.
    """
    task, rounds = run.parts.task, run.settings.run.rounds
    problems = task.problems("train")
    plays = run.parts.warm_start(problems)
    expert, verifier = run.parts.expert()
    contest = run.parts.contest()

    warm_start(run, plays)
    check(run, contest, 0)
    evaluate(run, contest, "before")
    for number in range(1, rounds + 1):
        self_play(run, expert, verifier, problems, number)
        learn(run, plays, number)
        check(run, contest, number)
    if rounds:
        evaluate(run, contest, "after")
    return run.results


def warm_start(run: Run, plays) -> None:
    """Teaches the format: no solutions, only legal moves (or a file of demonstrations)."""
    config = run.settings
    for update in run.phase("warm start", config.warm_start.updates, "update"):
        batch, _ = run.learner.batch([], plays, run.rng("warm start", update))
        run.train, figures = run.learner.update(run.train, batch)
        run.note(policy_loss=figures["policy_loss"])


def self_play(run: Run, expert, verifier, problems, number: int) -> None:
    """The expert searches fresh problems with verdicts at its leaves; replay keeps what is to be
    learned from that.
    """
    config, ids = run.settings, run.parts.tokenizer.ids
    size = config.run.batch_size
    chosen = run.rng("problems", number).permutation(len(problems))[: config.run.problems_per_round]
    batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    for unit in run.phase("search", len(batches), "batch", number):
        spent = run.counted("tokens")
        if (
            config.run.tokens_per_round
            and spent * (1 + 0.5 / max(unit, 1)) > config.run.tokens_per_round
        ):
            continue
        verifier.problems = [problems[i] for i in batches[unit]]
        questions = [problem.question for problem in verifier.problems]
        tree = expert.play(
            run.params, questions, run.key("search", number, unit), config.search.num_simulations
        )
        prompts = [run.parts.tokenizer.encode_prompt(question.prompt) for question in questions]
        trees = step_trees(
            tree,
            prompts,
            ids.newline,
            config.targets,
            run.rng("targets", number, unit),
            config.loss.policy == "set",
        )
        row = (config.learner.row_tokens, config.learner.row_steps)
        run.replay.add(
            [part for step_tree in trees for part in split(step_tree, *row) if part.teaches]
        )

        solved = tree.won.any(axis=(1, 2))
        judged = tree.finished & tree.valid
        run.note(len(questions), solved=solved.mean(), nodes=tree.live.sum(axis=1).mean())
        run.note(
            value_auc=auc(tree.model_value[judged], tree.won[judged]),
            utilisation=tree.bill.generated.sum() / tree.bill.lockstep.sum(),
            duplicates=1
            - (tree.valid & tree.live[..., None]).sum() / (tree.live.sum() * tree.valid.shape[-1]),
        )
        run.count(
            problems=len(questions), tokens=tree.bill.generated.sum(), flops=tree.bill.flops.sum()
        )


def learn(run: Run, plays, number: int) -> None:
    """Moves the parameters towards what replay holds, with the warm start rehearsed beside it."""
    config = run.settings.learner
    trees = run.replay.trees
    batch_tokens = config.rows * config.row_tokens * (1 - config.rehearsal)
    passes = config.max_passes * sum(tree.size for tree in trees) / batch_tokens
    for update in run.phase("learn", min(config.updates_per_round, int(passes)), "update", number):
        batch, used = run.learner.batch(trees, plays, run.rng("learn", number, update))
        run.train, figures = run.learner.update(run.train, batch)
        run.note(**{name: float(figure) for name, figure in figures.items()})
        run.count(trees=used)


def check(run: Run, contest, number: int) -> None:
    """Greedy and tree search on validation problems: the curve of the run."""
    config, task = run.settings.evaluation, run.parts.task
    problems = task.problems("validation")[: config.round_problems]
    for unit in run.phase("check", 2, "method", number):
        method = ("greedy", "mcts")[unit]
        budgets = (1,) if method == "greedy" else (config.round_simulations,)
        for entry in contest.answer(run.params, [p.question for p in problems], method, budgets):
            row = judge(task.verdict, problems, entry)
            run.results.append({"when": "round", "round": number, **row})
            run.note(**{f"{method}_accuracy": row["accuracy"]})
            if method == "greedy":
                run.note(
                    legal=np.mean(
                        [
                            t is not None and task.is_legal(p, t)
                            for p, t in zip(problems, entry.texts, strict=True)
                        ]
                    )
                )


def evaluate(run: Run, contest, when: str) -> None:
    """Every method at every budget on test problems."""
    config, task = run.settings.evaluation, run.parts.task
    problems = task.problems("test")[: config.problems]
    for unit in run.phase(f"evaluation {when} training", 3, "method"):
        method = ("greedy", "samples", "mcts")[unit]
        for entry in contest.answer(
            run.params, [p.question for p in problems], method, contest.budgets(method)
        ):
            run.results.append({"when": when, **judge(task.verdict, problems, entry)})
