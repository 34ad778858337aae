"""Trains a network by expert iteration: search, verify, distil, repeat.

    python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown

Prints its progress, and at the end a table of accuracies on held-out problems before and after. Run
again on the same workdir it goes on where it stopped. Told to leave (SIGTERM), it saves and ends
with code 0.
"""

import contextlib
import shlex
import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_bool(
    "distributed", False, "One of several processes: of a TPU pod, under Slurm or Open MPI."
)
flags.DEFINE_string(
    "profile", "", "Trace this phase into WORKDIR/profile: search, learn, 'round 3: search', …"
)
flags.DEFINE_string("profile_units", "1-3", "The phase's first and last unit of work to trace.")

# What a later process of the same run may have otherwise: where and how it runs, how much memory it
# takes, and how fast it learns.
MAY_DIFFER = (
    "mesh",
    "verifier",
    "run.batch_size",
    "run.save_seconds",
    "run.keep_checkpoints",
    "search.halvings",
    "learner.rows",
    "learner.row_tokens",
    "learner.row_steps",
    "learner.overlong",
    "replay.max_trees",
    "store",
    "evaluation.batch_size",
    "optimizer.learning_rate",
    "optimizer.round_learning_rate",
    "optimizer.clip_norm",
)


def main(config: ConfigDict, workdir: Path) -> None:
    from expert_iter.pod import processes

    processes.start(flags.FLAGS.distributed)

    from expert_iter.config import (  # after the flags: a mistyped one need not wait for JAX
        completed,
        fill_from_weights,
        settings,
    )

    fill_from_weights(config)
    checked = settings(config)

    from expert_iter import loop
    from expert_iter.assembly import assemble
    from expert_iter.pod.compile_time import CompileTime
    from expert_iter.pod.profile import Profile
    from expert_iter.run import Run
    from expert_iter.storage import workdir as workdir_lib

    profile, asked = None, flags.FLAGS.profile
    if asked:
        profile = Profile(workdir / "profile", asked, flags.FLAGS.profile_units)
    begin, compiling = time.monotonic(), CompileTime()

    def claim():
        workdir_lib.claim(workdir, config.to_dict(), may_differ=MAY_DIFFER, complete=completed)

    def prepare():
        parts = assemble(checked, workdir)
        parts.training  # noqa: B018 (checked before the parameters are made)
        return parts

    processes.primary_first(claim)
    with workdir_lib.lock(workdir) if processes.is_primary() else contextlib.nullcontext():
        parts = processes.primary_first(prepare)
        if processes.is_primary() and parts.training.note:
            print(parts.training.note, flush=True)
        run = Run(parts, workdir, profile=profile)
        if processes.is_primary():
            print(run.describe(), flush=True)
        results = loop.train(run)
        run.close()
        if processes.is_primary():
            now = {
                "compile_seconds_of_last_process": compiling.seconds,
                "wall_seconds_of_last_process": time.monotonic() - begin,
            }
            close(run, workdir, results, now)
            if asked:
                say = f"in {workdir / 'profile'}" if profile.done else f"none: no '{asked}' was run"
                print(f"Trace: {say}")
    processes.shutdown()


def close(run, workdir: Path, results: list[dict], costs: dict) -> None:
    """Leaves the summary, the pictures and the table."""
    from expert_iter.measure import summary
    from expert_iter.storage import metrics

    phases = metrics.read(workdir)
    costs = {
        "seconds": sum(v for line in phases for k, v in line.items() if k.endswith("/seconds")),
        "search_tokens": sum(line.get("search/tokens", 0) for line in phases),
        "search_flops": sum(line.get("search/flops", 0) for line in phases),
        **costs,
    }
    print("\n" + summary.summarise(workdir, results, costs))
    example, where = (shlex.quote(text) for text in (run.parts.task.example(), str(workdir)))
    print(
        f"\n{workdir} holds the checkpoint, {summary.BY_ROUND}, {summary.BY_COMPUTE}, summary.json "
        f"and metrics.\nNext: python -m expert_iter.solve --workdir={where} {example}"
    )


def run() -> None:
    cli.run(main, cli.FROM_FILE)


if __name__ == "__main__":
    run()
