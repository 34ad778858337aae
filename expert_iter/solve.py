"""Solves a problem as typed, and shows the tree that was searched.

python -m expert_iter.solve --workdir=runs/countdown '3 5 7 -> 15'
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_string("checkpoint", "last", cli.CHECKPOINT)
flags.DEFINE_integer("simulations", 16, "How long to search.", lower_bound=1)
flags.DEFINE_string("expert", "mcts", "Which expert searches; see expert_iter/search/experts.py.")


def main(config: ConfigDict, workdir: Path, problem_text: str) -> None:
    from expert_iter.assembly import assemble
    from expert_iter.config import settings
    from expert_iter.load import load_params
    from expert_iter.measure.report.show import tree_of
    from expert_iter.measure.report.tree_text import render_for

    config.evaluation.simulations = (flags.FLAGS.simulations,)
    config.evaluation.samples = (flags.FLAGS.simulations,)
    config.evaluation.round_simulations = config.evaluation.round_samples = 1
    config.evaluation.batch_size = 1
    if config.mesh.fsdp == config.mesh.tensor == 1:
        config.mesh.data = 1  # there is but one problem to search
    parts = assemble(settings(config), workdir)
    params = load_params(workdir, parts, flags.FLAGS.checkpoint)
    problem = parts.task.parse(problem_text)
    tree, answer = parts.evaluator().search_one(
        params, problem.question, flags.FLAGS.simulations, flags.FLAGS.expert
    )
    print(render_for(sys.stdout.encoding, tree_of(tree, answer, parts.tokenizer, problem.prompt)))
    if answer is None:
        print("\nno finished solution was found; search longer with --simulations")
        return
    text = parts.tokenizer.decode(answer.tokens)
    print(f"\n{text}")
    if problem.answer is None:
        print("\nNo answer is known: nothing was verified.")
        return
    [right] = parts.verifier.verify([problem], [text])
    says = "right" if right else "wrong"
    print(f"\nThe verifier says: {says} (the search did not ask it).")


def run() -> None:
    cli.run(main, cli.FROM_WORKDIR)


if __name__ == "__main__":
    run()
