"""What the compiler says of a run's programs, and the time that its counts bound from below."""

import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from expert_iter.plan.chips import Chip
from expert_iter.plan.counts import Counts, count
from expert_iter.plan.parts import held_bytes
from expert_iter.plan.programs import EVALUATION, ROUND, Program, Use

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_EXHAUSTED = re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?)")


class Memory(NamedTuple):
    """Of a compiled program on one device, in bytes.

    Attributes:
      arguments, outputs, temporaries: as the compiler lays them out, padded to tiles.
      aliased: outputs that take the place of arguments.
      waiting: what lies there while the program runs, and is none of its arguments.
    """

    arguments: float
    outputs: float
    temporaries: float
    aliased: float
    waiting: float

    @property
    def total(self) -> float:
        return self.arguments + self.outputs + self.temporaries - self.aliased + self.waiting


class Compiled(NamedTuple):
    """A program as it was compiled.

    Attributes:
      name: of it.
      seconds: of tracing and compiling.
      memory: of its largest part; None if the compiler found no room.
      texts: optimised HLO of its parts, by name.
      refused: bytes that the compiler would have needed, if it found no room.
    """

    name: str
    seconds: float
    memory: Memory | None
    texts: Mapping[str, str]
    refused: float = 0.0

    @property
    def bytes(self) -> float:
        return self.memory.total if self.memory else self.refused


class Work(NamedTuple):
    """What a use of a program takes.

    Attributes:
      use: which.
      counts: of one device in one call.
      seconds: of one call, at least, by what: the chip's 'FLOPs', its 'memory' or its 'links'.
    """

    use: Use
    counts: Counts
    seconds: Mapping[str, float]

    @property
    def least(self) -> float:
        """Seconds of one call."""
        return max(self.seconds.values(), default=0.0)

    @property
    def bound(self) -> str:
        return max(self.seconds, key=self.seconds.get, default="")


def compile_all(programs: list[Program], say: Callable[[str], None]) -> list[Compiled]:
    """say: prints a line of progress."""
    done = []
    for number, program in enumerate(programs, 1):
        say(f"compiling {program.name} ({number} of {len(programs)})")
        done.append(_compile(program))
        say(f"compiled {program.name} in {done[-1].seconds:.0f} s")
    return done


def _compile(program: Program) -> Compiled:
    begin, texts, memories = time.monotonic(), {}, []
    try:
        for part, (compiled, beside) in program.compile().items():
            shardings = jax.tree.map(lambda x: x.sharding, beside)
            m = compiled.memory_analysis()
            memories.append(
                Memory(
                    m.argument_size_in_bytes,
                    m.output_size_in_bytes,
                    m.temp_size_in_bytes,
                    m.alias_size_in_bytes,
                    program.waiting + held_bytes(beside, shardings),
                )
            )
            texts[part] = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:
        found = _EXHAUSTED.search(str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or not found:
            raise
        needed = float(found[1]) * _UNITS[found[2]] + program.waiting
        return Compiled(program.name, time.monotonic() - begin, None, {}, needed)
    largest = max(memories, key=lambda memory: memory.total)
    return Compiled(program.name, time.monotonic() - begin, largest, texts)


def work_of(use: Use, compiled: Compiled, mesh: Mapping[str, int], chip: Chip | None) -> Work:
    """mesh: sizes of its axes. Without a chip there are no times."""
    counts = sum(
        (
            count(text, mesh, use.trips(part)).times(use.times(part))
            for part, text in compiled.texts.items()
        ),
        Counts(),
    )
    if chip is None:
        return Work(use, counts, {})
    seconds = {
        "FLOPs": counts.flops / chip.flops,
        "memory": counts.bytes / chip.bandwidth,
        "links": counts.collective_bytes / chip.links,
    }
    return Work(use, counts, seconds)


def phase_seconds(works: list[Work]) -> dict[str, float]:
    """Of each phase, at least."""
    phases: dict[str, float] = {}
    for work in works:
        seconds = work.least * work.use.calls
        phases[work.use.phase] = phases.get(work.use.phase, 0.0) + seconds
    return phases


def round_seconds(phases: Mapping[str, float]) -> float:
    return sum(phases[phase] for phase in ROUND)


def run_seconds(phases: Mapping[str, float], rounds: int) -> float:
    """Of a whole run: it is checked once more than it has rounds, and evaluated twice."""
    once = sum(seconds for phase, seconds in phases.items() if phase not in ROUND)
    again = phases[EVALUATION] * (rounds > 0) + phases["check"]
    return once + again + rounds * round_seconds(phases)
