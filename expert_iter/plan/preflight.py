"""What a run will lie on, and whether it fits, before weights are read.

This is the arithmetic of `plan`, which takes a second and compiles nothing. What will not fit is
refused. On accelerators it comes before data are read, and is printed.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from expert_iter.config import Settings
from expert_iter.errors import UserError
from expert_iter.plan.chips import CHIPS
from expert_iter.plan.cpus import available_memory
from expert_iter.plan.parts import Phase
from expert_iter.plan.plan import plan, remedies, vocab_size
from expert_iter.plan.table import short
from expert_iter.pod import processes
from expert_iter.pod.mesh import Layout
from expert_iter.pod.torus import slice_of

# A plan that is larger than a device by more is refused. Others may need less than TPUs.
ERROR = 0.3
CPU_ERROR = 0.1  # the same of a process on CPUs: tests/plan/test_cpus.py
SKIP = "skip_memory_check"  # the flag of `train`
_PROMPT_TOKENS = 256  # as `plan` takes it: before data are read no prompt is known
_FLAT = ("v5e", "v6e")  # their topologies have two sides, those of other chips three


def preflight(
    settings: Settings, skip: bool = False, devices: Sequence[jax.Device] | None = None
) -> None:
    """Prints what the run will lie on, and refuses what will not fit. On CPUs only the mesh is
    checked, and nothing printed; `check_cpus` does the rest.

    Args:
      skip: go on where memory does not suffice.
      devices: of the run, by default all.

    Raises:
      UserError: the mesh does not suit the devices, the batch does not suit the mesh, or a phase
        needs more memory than a device has, by more than the arithmetic errs.
    """
    devices = jax.devices() if devices is None else devices
    mesh = Layout(settings.mesh, devices).mesh
    if devices[0].platform == "cpu":
        return  # the prompts' length matters more there: see `check_cpus`
    axes = " × ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    _print(f"{machine(devices)}; mesh: {axes}")
    try:
        settings = _with_vocabulary(settings)
    except UserError as error:
        return _print(f"memory cannot be planned: {error}")
    prompt = min(_PROMPT_TOKENS, settings.learner.row_tokens)
    made = plan(settings, len(devices), prompt)
    limit = memory(devices)
    room = f" of {short(limit)}B" * bool(limit)
    _print(
        f"{short(made.parameters).strip()} parameters; memory planned for a device{room} "
        f"(prompts of {prompt} tokens):"
    )
    for phase in made.phases:
        share = f"{phase.bytes / limit:6.0%}{_verdict(phase, limit)}" if limit else ""
        _print(f"  {phase.name:<28}{short(phase.bytes):>8}B{share}")
    too_large = [phase for phase in made.phases if limit and phase.bytes > limit * (1 + ERROR)]
    if not too_large:
        if any(limit and phase.most > limit for phase in made.phases):
            _print("warning: memory may not suffice; python -m expert_iter.plan --compile knows")
        return
    changes = lambda phase: remedies(settings, len(devices), prompt, phase.name, limit)  # noqa: E731
    needs = ", ".join(_need(phase, limit, changes(phase)) for phase in too_large)
    _refuse(f"a device has {short(limit)}B, and {needs}", skip)


def check_cpus(
    settings: Settings,
    prompt_tokens: int,
    skip: bool = False,
    devices: Sequence[jax.Device] | None = None,
    available: float | None = None,
) -> None:
    """Refuses what this machine's memory cannot hold. Does nothing on accelerators, nor where the
    vocabulary is not known or the system does not tell its memory.

    Args:
      settings: of the run.
      prompt_tokens: of the longest prompt.
      skip: go on where memory does not suffice.
      devices: of the run, by default all.
      available: bytes that the process can have, by default what it can have now.

    Raises:
      UserError: a phase needs more, by more than the arithmetic errs.
    """
    devices = jax.devices() if devices is None else devices
    limit = available_memory() if available is None else available
    if devices[0].platform != "cpu" or limit is None:
        return
    try:
        settings = _with_vocabulary(settings)
    except UserError:
        return
    used = Layout(settings.mesh, devices).mesh.devices.flat
    own = sum(device.process_index == jax.process_index() for device in used)
    given = settings, len(devices), prompt_tokens
    too_large = [p for p in plan(*given, own).phases if p.bytes > limit * (1 + CPU_ERROR)]
    if too_large:
        changes = lambda phase: remedies(*given, phase.name, limit, own)  # noqa: E731
        needs = ", ".join(_need(phase, limit, changes(phase)) for phase in too_large)
        _refuse(f"this machine has {short(limit)}B to spare, and {needs}", skip)


def _with_vocabulary(settings: Settings) -> Settings:
    """With the size of the vocabulary filled in: each plan would read a tokenizer's file again.
    Raises UserError where it is not known.
    """
    given = dataclasses.replace(settings.pretrained, vocab_size=vocab_size(settings))
    return dataclasses.replace(settings, pretrained=given)


def _refuse(why: str, skip: bool) -> None:
    text = f"the run does not fit: {why}"
    if not skip:
        raise UserError(f"{text}; --{SKIP} starts it nevertheless")
    _print(f"warning: {text}; it starts nevertheless, by --{SKIP}")


def machine(devices: Sequence[jax.Device]) -> str:
    """Devices for people: '8 × TPU v5 lite (v5e:2x4), 2 processes'."""
    kind = devices[0].device_kind
    count = len({device.process_index for device in devices})
    where = f" ({_topology(devices)})" if devices[0].platform == "tpu" else ""
    return f"{len(devices)} × {kind}{where}, {count} process{'es' * (count > 1)}"


def _topology(devices: Sequence[jax.Device]) -> str:
    """As `plan --compile --topology` takes it, after the number of slices."""
    slices = {slice_of(device) for device in devices}
    first = [device.coords for device in devices if slice_of(device) == min(slices)]
    sides = np.ptp(first, axis=0) + 1
    chip = CHIPS.get(devices[0].device_kind)
    name = chip.name if chip else ""
    text = "x".join(map(str, sides[:2] if name in _FLAT else sides))
    return f"{len(slices)} slices of " * (len(slices) > 1) + (f"{name}:{text}" if name else text)


def memory(devices: Sequence[jax.Device]) -> float | None:
    """Bytes of one device: what the backend says, else what the maker publishes, else None."""
    own = next(device for device in devices if device.process_index == jax.process_index())
    try:
        stats = own.memory_stats() or {}
    except RuntimeError:  # some backends do not tell
        stats = {}
    chip = CHIPS.get(own.device_kind)
    return stats.get("bytes_limit") or (chip.usable if chip else None)


def _verdict(phase: Phase, limit: float) -> str:
    if phase.bytes > limit * (1 + ERROR):
        return "  DOES NOT FIT"
    if phase.most > limit:
        return "  may not fit"
    return ""


def _need(phase: Phase, limit: float, changes: list[str]) -> str:
    advice = " or ".join(f"--config.{change}" for change in changes)
    mended = f"fits with {advice}" if changes else "no single setting is enough, so lower several"
    over = f"{short(phase.bytes - limit)}B too much"
    return f"{phase.name} needs {short(phase.bytes)}B ({over}; {mended})"


def _print(line: str) -> None:
    if processes.is_primary():
        print(line, flush=True)
