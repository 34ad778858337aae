"""Computes the memory and FLOPs that a config needs, before you rent a machine.

    python -m expert_iter.plan --config=configs/pods/gemma2_2b_v5e8.py --device_gigabytes=16

This is arithmetic on shapes: it uses no device and compiles nothing. For each phase it prints the
memory on one device by part, whether it fits, and if not, single settings that make it fit.
With --cpu it prints the memory of the process on this machine's CPU, and what the machine has.

    python -m expert_iter.plan --config=configs/pods/gemma2_2b_v5e8.py --compile --topology=v5e:2x4

This compiles what the run will run, which takes minutes, for TPUs that need not be there (the
compiler comes with `pip install 'expert_iter[tpu]'`), for GPUs such as --topology=h100:8 (with
'expert_iter[cuda12]'), or without --topology for the devices of this machine. It prints the memory
by the compiler, FLOPs, bytes and collectives of each program, and the time that they take at least.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli
from expert_iter.errors import UserError

flags.DEFINE_integer("devices", 0, "Number of devices; by default what the mesh needs.")
flags.DEFINE_float(
    "device_gigabytes",
    16.0,
    "Memory of one device, in 10^9 bytes; with --compile by default the chip's.",
    lower_bound=0.0,
)
flags.DEFINE_bool("cpu", False, "Plan for this machine's CPU, of which the devices share memory.")
flags.DEFINE_integer("prompt_tokens", 256, "Length of the longest prompt.", lower_bound=1)
flags.DEFINE_bool("compile", False, "Compile the run's programs in place of arithmetic.")
flags.DEFINE_string("topology", "", "With --compile: TPUs or GPUs, such as v5e:2x4, h100:8.")
flags.DEFINE_integer("slices", 1, "With --topology: number of slices, or nodes.", lower_bound=1)
flags.DEFINE_string("json", "", "With --compile: a file to write the figures to.")


def main(config: ConfigDict) -> None:
    from expert_iter.config import fill_from_weights, settings

    fill_from_weights(config)
    checked = settings(config)
    f = flags.FLAGS
    if f.compile:
        return _compile(checked)
    if given := [name for name in ("topology", "json") if getattr(f, name)]:
        raise UserError(f"--{given[0]} goes with --compile")

    import jax

    jax.config.update("jax_platforms", "cpu")  # leave accelerators to other processes
    from expert_iter.plan.cpus import available_memory
    from expert_iter.plan.plan import needed_devices, plan, remedies
    from expert_iter.plan.table import table
    from expert_iter.pod.mesh import Layout

    devices, limit = f.devices or needed_devices(checked), f.device_gigabytes * 1e9
    cpus = 0
    if f.cpu:
        devices = cpus = Layout(checked.mesh, f.devices or jax.device_count()).mesh.size
        limit = limit if f["device_gigabytes"].present else available_memory() or limit
    made = plan(checked, devices, f.prompt_tokens, cpus)
    changes = {
        phase.name: remedies(checked, devices, f.prompt_tokens, phase.name, limit, cpus)
        for phase in made.phases
        if phase.bytes > limit
    }
    print(table(made, limit, changes, on_cpu=f.cpu))


def _compile(checked) -> None:
    from expert_iter.plan import topology

    f = flags.FLAGS
    if f.topology:
        topology.set_environment()
    import jax

    if f.topology:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_compilation_cache", False)  # it is for devices that are there
    from expert_iter.assembly import Parts
    from expert_iter.learn.objectives import heads_of, make_objectives
    from expert_iter.model.transformer import Network
    from expert_iter.plan.chips import CHIPS
    from expert_iter.plan.compiled import compile_all, work_of
    from expert_iter.plan.compiled_table import Report
    from expert_iter.plan.plan import vocab_size
    from expert_iter.plan.programs import Pieces, programs

    devices = topology.devices_of(f.topology, f.slices) if f.topology else jax.devices()
    kind = devices[0].device_kind
    chip = CHIPS.get(kind)
    limit = f.device_gigabytes * 1e9
    if chip and not f["device_gigabytes"].present:
        limit = chip.usable

    objectives = make_objectives(checked.learner.objectives, checked.objectives)
    network = Network(checked.model, vocab_size(checked), heads_of(objectives))
    pieces, task = Pieces(network.vocab_size), SimpleNamespace(answer=None)
    parts = Parts(checked, task, pieces, network, objectives, devices)
    mesh = dict(parts.layout.mesh.shape)
    searchers = checked.run.searchers.items()
    players = {f"{phase} by {name}": parts.player(name) for phase, name in searchers}
    who = parts.learner(), parts.evaluator(), players
    todo, uses = programs(checked, *who, f.prompt_tokens)
    done = compile_all(todo, lambda line: print(line, file=sys.stderr, flush=True))
    by_name = {program.name: program for program in done}
    works = [work_of(use, by_name[use.program], mesh, chip) for use in uses]
    where = f"{len(devices)} × {kind}" + f" ({f.topology})" * bool(f.topology)
    report = Report(where, len(devices), mesh, chip, limit, done, works, checked.run.rounds)
    print(report.text())
    if f.json:
        Path(f.json).write_text(json.dumps(report.json(), indent=1) + "\n")


def run() -> None:
    cli.run(main, cli.FROM_FILE_ALONE)


if __name__ == "__main__":
    run()
