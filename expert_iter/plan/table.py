"""A plan as text for a terminal."""

from expert_iter.plan.plan import Plan

_UNITS = ("", "k", "M", "G", "T", "P", "E")


def table(plan: Plan, limit: float, remedies: dict[str, list[str]], on_cpu: bool = False) -> str:
    """The plan for people.

    Args:
      plan: of the run.
      limit: bytes that there are.
      remedies: of the phases that do not fit.
      on_cpu: they are those of a process on CPUs, not of a device.
    """
    devices = " × ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    trained = (
        ""
        if plan.trained == plan.parameters
        else f", {short(plan.trained).strip()} of them trained"
    )
    where = "In a process that can have" if on_cpu else "On a device of"
    lines = [
        f"{short(plan.parameters).strip()} parameters{trained}; mesh: {devices}",
        "",
        f"{where} {limit / 1e9:.3g} GB (10^9 bytes), at each phase's fullest moment:",
    ]
    for phase in plan.phases:
        fits = phase.bytes <= limit
        verdict = "  fits" if fits else "  DOES NOT FIT"
        if fits and phase.most > limit and not on_cpu:
            verdict = "  may not fit"
        lines += ["", _row(phase.name, phase.bytes) + verdict]
        lines += [_row("  " + part.name, part.bytes) for part in phase.parts if round(part.bytes)]
        if not fits:
            lines.append("  " + _advice(remedies.get(phase.name, [])))
    lines += [
        "",
        f"replay: at most {short(plan.replay_bytes)}B, on all hosts together",
        f"a round, at most: search {short(plan.search_flops)}FLOP, "
        f"learning {short(plan.learning_flops)}FLOP",
    ]
    return "\n".join(lines)


def short(number: float) -> str:
    """2614341888 as '2.61 G'."""
    unit = 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {_UNITS[unit]}"


def _row(name: str, amount: float) -> str:
    return f"{name:<34}{short(amount):>8}B"


def _advice(remedies: list[str]) -> str:
    if not remedies:
        return "no single setting makes it fit: lower several, or cut the network along mesh.tensor"
    return f"with {', or '.join(f'--config.{remedy}' for remedy in remedies)} it would"
