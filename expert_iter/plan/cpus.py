"""The memory of a run on CPUs: that of a process, whose devices share what the machine has."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from expert_iter.plan.parts import Part, Phase

# Bytes of a process beside arrays and buffers: libraries, compiled programs, and what compiling
# and saving leave behind. Measured at 67M and 135M parameters.
PROCESS = 1.25e9

# Files of a control group, by the version of the kernel's interface: its limit, what it uses, and
# the line of memory.stat with what of that is files that the kernel can drop.
_GROUP_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def of_process(phase: Phase, devices: int) -> Phase:
    """A phase of one device as that of a process with so many."""
    parts = [part._replace(bytes=devices * part.bytes) for part in phase.parts]
    parts.append(Part("the process itself", PROCESS))
    # Another mesh moves bytes from device to device, and products are computed in float32 anyhow.
    settings = [key for key in phase.settings if not key.startswith(("mesh.", "model."))]
    return Phase(phase.name, tuple(parts), tuple(settings))


def available_memory(root: Path = Path("/")) -> float | None:
    """Bytes that a process can have now: what neither other processes use nor its control groups
    deny. None where the system does not tell; Linux does.

    root: of the file system that has /proc and /sys.
    """
    return min((*_of_machine(root), *_of_groups(root)), default=None)


def _of_machine(root: Path) -> Iterator[float]:
    with contextlib.suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield float(line.split()[1]) * 1024


def _of_groups(root: Path) -> Iterator[float]:
    """What the process's control group leaves, and each group that holds that one."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            version, top = (1, "sys/fs/cgroup/memory") if controllers else (2, "sys/fs/cgroup")
            inside = Path(path.strip("/"))
            for group in (inside, *inside.parents):
                yield from _of_group(root / top / group, version)


def _of_group(directory: Path, version: int) -> Iterator[float]:
    limit, used, droppable = _GROUP_FILES[version]
    # The top group has no such files, and a group without a limit says 'max'.
    with contextlib.suppress(OSError, ValueError):
        left = float((directory / limit).read_text()) - float((directory / used).read_text())
        stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        yield left + float(stat.get(droppable, 0))
