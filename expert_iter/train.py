"""Trains a network by expert iteration: search, verify, distil, repeat.

    python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown

Prints its progress, then a table of accuracies on held-out problems before and after. Run the same
command to resume. On SIGTERM it finishes its current unit of work, saves, and exits with code 0.
On TPUs and GPUs it first prints the devices, the mesh and the memory that each phase will need, and
refuses what will not fit, before it reads data or weights. On CPUs it refuses what the memory that
is free will not hold, before it reads weights.
"""

import contextlib
import shlex
import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_bool(
    "distributed", False, "Join the other processes of a TPU pod, or of a Slurm or Open MPI job."
)
flags.DEFINE_bool(
    "skip_memory_check", False, "Start even if the plan says that memory is too small."
)
flags.DEFINE_string(
    "profile", "", "Trace this phase into WORKDIR/profile: search, learn, 'round 3: search', …"
)
flags.DEFINE_string("profile_units", "1-3", "First and last unit of work to trace in that phase.")

# Settings that may change when a run resumes: hardware, memory and learning rates. Any other change
# would make the run's data inconsistent.
MAY_DIFFER = (
    "mesh",
    "verifier",
    "run.batch_size",
    "run.save_seconds",
    "run.keep_checkpoints",
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
    from expert_iter.pod import collectives, processes

    processes.start(flags.FLAGS.distributed)

    # Here, so that a mistyped flag fails before JAX is imported.
    from expert_iter.config import completed, fill_from_weights, settings

    fill_from_weights(config)
    checked = settings(config)

    from expert_iter.plan.preflight import check_cpus, preflight

    skip = flags.FLAGS.skip_memory_check
    collectives.primary_first(lambda: preflight(checked, skip))

    from expert_iter import loop
    from expert_iter.assembly import assemble
    from expert_iter.pod.compile_time import CompileTime
    from expert_iter.pod.profile import Profile
    from expert_iter.run import Run
    from expert_iter.storage import workdir as workdir_lib

    phase, folder = flags.FLAGS.profile, workdir / "profile"
    profile = Profile(folder, phase, flags.FLAGS.profile_units) if phase else None
    begin, compiling = time.monotonic(), CompileTime()

    def claim():
        workdir_lib.claim(workdir, config.to_dict(), may_differ=MAY_DIFFER, complete=completed)

    def prepare():
        parts = assemble(checked, workdir)
        parts.training  # noqa: B018 (raises its errors before parameters are made)
        return parts

    collectives.primary_first(claim)
    with workdir_lib.lock(workdir) if processes.is_primary() else contextlib.nullcontext():
        parts = collectives.primary_first(prepare)
        if processes.is_primary() and parts.training.note:
            print(parts.training.note, flush=True)
        check_cpus(checked, parts.longest_prompt(), skip)
        run = Run(parts, workdir, profile=profile)
        if processes.is_primary():
            print(run.describe(), flush=True)
        results = loop.train(run)
        run.close()
        if processes.is_primary():
            costs = {
                "compile_seconds_of_last_process": compiling.seconds,
                "wall_seconds_of_last_process": time.monotonic() - begin,
            }
            close(run, workdir, results, costs)
            if phase:
                where = folder if profile.done else f"none: no phase '{phase}'"
                print(f"Trace: {where}")
    processes.shutdown()


def close(run, workdir: Path, results: list[dict], costs: dict) -> None:
    """Writes the summary and the plots of a finished run, and prints its table.

    Args:
      results: rows of `evaluation.judged`; see `summary.summarise`.
      costs: more figures for the summary, by name.
    """
    from expert_iter.measure import summary
    from expert_iter.storage import metrics

    phases = metrics.read(workdir)

    def total(figure: str) -> float:
        return sum(line.get(figure, 0) for line in phases)

    costs = {
        "seconds": sum(v for line in phases for k, v in line.items() if k.endswith("/seconds")),
        "search_tokens": total("search/tokens") + total("first search/tokens"),
        "search_flops": total("search/flops") + total("first search/flops"),
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
