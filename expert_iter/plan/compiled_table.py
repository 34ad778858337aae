"""Compiled programs and the time that they bound, as text for a terminal and as JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from expert_iter.plan.chips import Chip
from expert_iter.plan.compiled import (
    Compiled,
    Work,
    phase_seconds,
    round_seconds,
    run_seconds,
)
from expert_iter.plan.table import short


class Report(NamedTuple):
    """All that is known of a run's programs.

    Attributes:
      where: the devices, for people.
      devices: that are rented; the mesh may use fewer.
      mesh: sizes of its axes.
      chip: what one can do at most; None where that is not known.
      limit: memory of a device, in bytes.
      compiled, works: the programs, and their uses.
      rounds: of the run.
    """

    where: str
    devices: int
    mesh: Mapping[str, int]
    chip: Chip | None
    limit: float
    compiled: Sequence[Compiled]
    works: Sequence[Work]
    rounds: int

    @property
    def fits(self) -> bool:
        return all(program.bytes <= self.limit for program in self.compiled)

    @property
    def _mesh_size(self) -> int:
        return math.prod(self.mesh.values())

    def text(self) -> str:
        mesh = " × ".join(f"{axis} {size}" for axis, size in self.mesh.items())
        lines = [f"{self.where}, {short(self.limit)}B each; mesh: {mesh}", ""]
        lines += self._programs()
        lines += ["", "One call, on one device. Every loop runs to its end."]
        lines += self._works()
        lines += ["", "Bytes that one device receives from others in a call, and in how many turns"]
        lines += self._collectives()
        return "\n".join(lines + (self._times() if self.chip else []))

    def _programs(self) -> list[str]:
        head = "memory", "", "arguments", "outputs", "aliased", "temporaries", "waiting", "compiled"
        lines = [f"{'program':<28}" + "".join(f"{name:>13}" for name in head)]
        for program in self.compiled:
            free = 1 - program.bytes / self.limit
            fits = f"{100 * free:.0f}% free" if free >= 0 else "DOES NOT FIT"
            cells = [f"{short(program.bytes)}B", fits]
            memory = program.memory or ()
            parts = [memory[i] for i in (0, 1, 3, 2, 4)] if memory else [None] * 5
            cells += ["" if part is None else f"{short(part)}B" for part in parts]
            cells.append(f"{program.seconds:.0f} s")
            lines.append(f"{program.name:<28}" + "".join(f"{cell:>13}" for cell in cells))
        return lines

    def _works(self) -> list[str]:
        head = (
            "calls",
            "FLOPs",
            "a token",
            "memory",
            "a token",
            "links",
            "at least",
            "by",
            "tokens/s",
        )
        lines = [f"{'phase':<40}" + "".join(f"{name:>11}" for name in head)]
        for work in self.works:
            use, counts = work.use, work.counts
            tokens = use.tokens / self._mesh_size  # of one device
            cells = [f"{use.calls}", short(counts.flops), short(counts.flops / tokens)]
            cells += [f"{short(counts.bytes)}B", f"{short(counts.bytes / tokens)}B"]
            cells.append(f"{short(counts.collective_bytes)}B")
            if work.seconds:
                cells += [duration(work.least), work.bound, short(use.tokens / work.least)]
            name = use.program if use.phase in use.program else f"{use.phase}: {use.program}"
            name += f", {use.budget}" if use.budget > 1 else ""
            lines.append(f"{name:<40}" + "".join(f"{cell:>11}" for cell in cells))
        return lines

    def _collectives(self) -> list[str]:
        lines, seen = [], set()
        for work in self.works:
            key = work.use.program, work.use.budget
            if key in seen:
                continue
            seen.add(key)
            lines.append(
                f"{work.use.program}, {work.use.budget}" if work.use.budget > 1 else key[0]
            )
            for (kind, axes), moved in sorted(
                work.counts.collectives.items(), key=lambda item: -item[1].bytes
            ):
                lines.append(
                    f"  {kind} along {axes}"[:44].ljust(44)
                    + f"{short(moved.bytes):>9}B in {moved.count:,.0f}"
                )
        return lines

    def _times(self) -> list[str]:
        phases = phase_seconds(self.works)
        a_round, all_rounds = round_seconds(phases), run_seconds(phases, self.rounds)
        lines = [
            "",
            f"At least, by the peaks of {self.chip.name}, without the host and its verifier:",
        ]
        lines += [f"  {phase:<14}{duration(seconds):>10}" for phase, seconds in phases.items()]
        for name, seconds in (("a round", a_round), (f"{self.rounds} rounds, all", all_rounds)):
            hours = seconds / 3600
            lines.append(f"  {name:<14}{hours:>8.3g} h{hours * self.devices:>9.3g} chip-hours")
        return lines

    def json(self) -> dict[str, Any]:
        """All figures; bytes, seconds and counts are of one device."""
        phases = phase_seconds(self.works) if self.chip else {}
        a_round = round_seconds(phases) if phases else None
        return {
            "where": self.where,
            "devices": self.devices,
            "mesh": dict(self.mesh),
            "chip": self.chip and self.chip._asdict(),
            "device_bytes": self.limit,
            "fits": self.fits,
            "programs": [
                {
                    "name": program.name,
                    "bytes": program.bytes,
                    "memory": program.memory and program.memory._asdict(),
                    "compile_seconds": round(program.seconds, 1),
                }
                for program in self.compiled
            ],
            "uses": [
                {
                    **work.use._asdict(),
                    "flops": work.counts.flops,
                    "bytes": work.counts.bytes,
                    "assumed_loops": work.counts.assumed,
                    "collectives": [
                        {"kind": kind, "axes": axes, **moved._asdict()}
                        for (kind, axes), moved in work.counts.collectives.items()
                    ],
                    "seconds_at_least": dict(work.seconds),
                }
                for work in self.works
            ],
            "phase_seconds_at_least": phases,
            "round_hours_at_least": a_round and a_round / 3600,
            "round_chip_hours_at_least": a_round and a_round / 3600 * self.devices,
        }


def duration(seconds: float) -> str:
    """0.0123 as '12.3 ms'."""
    for unit, size in (("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.3g} {unit}"
    return ""
