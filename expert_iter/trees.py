"""Lists, shows and exports the searched trees that a run kept.

    python -m expert_iter.trees --workdir=runs/countdown --unsolved --round=3

Prints one line for each tree, the oldest first. --show draws the newest of those selected, and
--export=FILE writes them as JSON lines. A run keeps its newest trees, up to `store.gigabytes`.
"""

import json
import sys
from collections.abc import Iterator

from absl import flags

from expert_iter import cli
from expert_iter.errors import UserError
from expert_iter.storage import files, tree_store
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.tree_record import Summary, from_bytes, summary_of

flags.DEFINE_string("workdir", "", "Where the training run is kept.")
flags.DEFINE_bool("solved", False, "Only trees with a right solution.")
flags.DEFINE_bool("unsolved", False, "Only trees without one.")
flags.DEFINE_integer("round", 0, "Only trees of this round; 0 for all.", lower_bound=0)
flags.DEFINE_string("problem", "", "Only trees of the problem with this id.")
flags.DEFINE_bool("show", False, "Draw the newest of these trees.")
flags.DEFINE_string("export", "", "Write these trees to this file, one a line (JSON).")


def main() -> None:
    options = flags.FLAGS
    if not options.workdir:
        raise UserError("--workdir is missing: say where the run is kept, as in --workdir=runs/1")
    if options.solved and options.unsolved:
        raise UserError("--solved and --unsolved leave no tree; give one of them")
    if options.show and options.export:
        raise UserError("--show and --export are two things to do; give one of them")
    folder = files.path(options.workdir) / workdir_lib.TREES
    if not tree_store.stored(folder):
        workdir_lib.read_config(options.workdir)  # says what is wrong where there is no run
        raise UserError(
            f"{folder} holds no trees: none has been searched yet, or store.gigabytes is 0"
        )
    if options.export:
        export(folder, options.export)
    elif options.show:
        show(folder)
    else:
        print("round  unit  solved  nodes  best value  problem")
        for summary, _ in selected(folder):
            print(line(summary))


def selected(folder, newest_first: bool = False) -> Iterator[tuple[Summary, bytes]]:
    """The trees that the flags ask for, with their records."""
    options = flags.FLAGS
    found = [file for file in tree_store.stored(folder) if options.round in (0, file.round)]
    for file in reversed(found) if newest_first else found:
        for record in tree_store.read(folder, file):
            summary = summary_of(record)
            left_out = options.unsolved if summary.solved else options.solved
            if options.problem in ("", summary.problem) and not left_out:
                yield summary, record


def line(summary: Summary) -> str:
    solved = "yes" if summary.solved else "no"
    return (
        f"{summary.round:5}  {summary.unit:4}  {solved:6}  {summary.nodes:5}  "
        f"{summary.best_value:10.2f}  {summary.problem}"
    )


def show(folder) -> None:
    from expert_iter.measure.report.stored_tree import drawn
    from expert_iter.measure.report.tree_text import render_for

    found = next(selected(folder, newest_first=True), None)
    if found is None:
        raise UserError("no stored tree is as --solved, --unsolved, --round and --problem ask")
    summary, record = found
    print(render_for(sys.stdout.encoding, drawn(from_bytes(record))))
    print(
        f"\nproblem {summary.problem}, searched by {summary.expert} in round {summary.round} "
        f"after {summary.updates} updates"
    )


def export(folder, name: str) -> None:
    from expert_iter.measure.report.stored_tree import as_json

    path, count = files.path(name), 0
    try:
        with path.open("w") as file:
            for _, record in selected(folder):
                file.write(json.dumps(as_json(from_bytes(record))) + "\n")
                count += 1
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"--export={name} cannot be written: name a file in a folder") from None
    print(f"{path}: {count} trees")


def run() -> None:
    cli.run(main, config=None)


if __name__ == "__main__":
    run()
