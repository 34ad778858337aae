"""Writes a run's report: one HTML page that needs no network.

    python -m expert_iter.report --workdir=runs/countdown

It shows the training curves, the latest comparison of experts (made by `evaluate --methods=all
--budget=...`) with its checkpoint, the calibration of the value head, sample solutions, and the
search trees of a few problems.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli
from expert_iter.errors import UserError

flags.DEFINE_string("checkpoint", "last", cli.CHECKPOINT)
flags.DEFINE_string("problems", "", "A file of problems (JSONL or CSV); by default the test split.")
flags.DEFINE_integer("trees", 8, "Number of problems whose search trees are shown.", lower_bound=1)
flags.DEFINE_string("expert", "mcts", "The expert that grows the trees.")
flags.DEFINE_integer(
    "tokens", 288, "Tokens to generate per problem in these searches.", lower_bound=1
)
flags.DEFINE_string("out", "", "The file to write; by default report.html in the workdir.")


def main(config: ConfigDict, workdir: Path) -> None:
    from expert_iter.assembly import assemble
    from expert_iter.config import settings
    from expert_iter.load import describe, put_params, read_checkpoint
    from expert_iter.measure.comparison.comparison import FOLDER, Comparison
    from expert_iter.measure.report.page import page
    from expert_iter.measure.report.report import report_data
    from expert_iter.storage.files import write_atomic

    checked = settings(config)
    parts = assemble(checked, workdir)
    saved = read_checkpoint(workdir, flags.FLAGS.checkpoint)
    params = put_params(saved, parts)
    path, out = flags.FLAGS.problems, Path(flags.FLAGS.out or workdir / "report.html")
    problems = (parts.task.read(path) if path else parts.task.problems("test"))[: flags.FLAGS.trees]
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out={out} cannot be written: name a file in an existing directory")
    who = parts.evaluator(), parts.verifier, params
    comparison = Comparison(*who, problems, workdir / FOLDER, checkpoint=describe(saved))
    data = report_data(comparison, checked, workdir, flags.FLAGS.expert, flags.FLAGS.tokens)
    command = f"python -m expert_iter.evaluate --workdir={workdir}"
    write_atomic(out, page(data, {"comparison": f"{command} --methods=all --budget=72,288,1152"}))
    print(f"Open {out} in a browser; it needs no network.")


def run() -> None:
    cli.run(main, cli.FROM_WORKDIR)


if __name__ == "__main__":
    run()
