"""Writes what the TPU's compiler says of the pod configs into docs and docstrings.

    python benchmarks/plans.py

Reads benchmarks/compiled/*.json, each the file of one config that

    python -m expert_iter.plan --compile --topology=TOPOLOGY --config=configs/pods/NAME.py \
        --json=benchmarks/compiled/NAME.json

writes. The topologies are in `TOPOLOGIES`. Compares them with the arithmetic of the plan. Writes
benchmarks/results/18_plans.json and the table in each docstring; after it, run
benchmarks/results.py.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

from expert_iter.config import settings
from expert_iter.overrides import load_config
from expert_iter.plan.parts import Phase
from expert_iter.plan.plan import plan
from expert_iter.plan.table import short

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "compiled"
RECORD = ROOT / "benchmarks" / "results" / "18_plans.json"
TOPOLOGIES = {
    "gemma2_2b_v5e8": "v5e:2x4",
    "llama3_8b_v6e8": "v6e:2x4",
    "qwen3_4b_v6e8": "v6e:2x4",
    "gemma2_9b_v5p16": "v5p:2x2x2",
    "gemma3_27b_v5p64": "v5p:2x4x4",
}
PROMPT_TOKENS = 256
_UNKNOWN = "–"
_TABLE = re.compile(r"(?:    .* GB\b.*\n)+")
_ROUND = re.compile(r"takes at least .* hours")


class Row(NamedTuple):
    """A phase of a config, as far as it is known.

    Attributes:
      phase: its name in the plan.
      planned: by arithmetic; None where the plan does not list it.
      compiled: bytes on one device by the compiler; 0: not compiled.
      limit: bytes of the device.
      flops: of a token that is learned or generated.
      bound: what takes longest by the chip's peaks.
    """

    phase: str
    planned: Phase | None
    compiled: float
    limit: float
    flops: float
    bound: str

    @property
    def cells(self) -> list[str]:
        """Memory by the compiler, by the plan, what is free, FLOPs a token, and the bound."""
        planned = f"{short(self.planned.bytes)}B" if self.planned else _UNKNOWN
        if not self.compiled:
            return [_UNKNOWN, planned, *[_UNKNOWN] * 3]
        free = f"{100 * (1 - self.compiled / self.limit):.0f}%"
        return [f"{short(self.compiled)}B", planned, free, f"{short(self.flops)}FLOP", self.bound]


def config_path(name: str) -> Path:
    return ROOT / "configs" / "pods" / f"{name}.py"


def figures(name: str) -> dict:
    return json.loads((FIGURES / f"{name}.json").read_text())


def rows(name: str) -> list[Row]:
    """Of the config of this name, in the order of a run."""
    found = figures(name)
    made = plan(settings(load_config(str(config_path(name)))), found["devices"], PROMPT_TOKENS)
    planned = {phase.name: phase for phase in made.phases}
    compiled = {_phase(program["name"]): program["bytes"] for program in found["programs"]}
    uses = {_phase(use["program"]): use for use in found["uses"]}  # of each its largest budget
    listed = []
    for phase in dict.fromkeys([*planned, *compiled]):
        flops, bound = 0.0, ""
        if use := uses.get(phase):
            seconds = use["seconds_at_least"]
            flops = use["flops"] / (use["tokens"] / found["devices"])
            bound = max(seconds, key=seconds.get)
        amount = compiled.get(phase, 0.0)
        listed.append(Row(phase, planned.get(phase), amount, found["device_bytes"], flops, bound))
    return listed


def _phase(program: str) -> str:
    return "learning" if program == "update" else program


def _hours(name: str) -> str:
    hours = figures(name)["round_hours_at_least"]
    return f"{hours:.2g}" if hours else _UNKNOWN


def docstring_table(name: str) -> str:
    """Of the config's docstring: its phases, by the plan, by the compiler, and what is free."""
    lines = []
    for row in rows(name):
        compiled, planned, free, *_ = row.cells
        lines.append(f"    {row.phase:<22} {planned:>8} {compiled:>8} {free:>5}\n")
    return "".join(lines)


def documented(name: str, text: str) -> str:
    """The config's text with these figures in its docstring."""
    text = _TABLE.sub(lambda _: docstring_table(name), text, 1)
    return _ROUND.sub(f"takes at least {_hours(name)} hours", text, 1)


def record() -> dict:
    """As benchmarks/results.py reads it."""
    table = [
        [name, topology, row.phase, *row.cells, _hours(name)]
        for name, topology in TOPOLOGIES.items()
        for row in rows(name)
    ]
    columns = "config", "topology", "phase", "by compiler", "by plan", "free", "a token", "bound"
    return {
        "title": "Pods by the TPU's compiler",
        "what": "Every program of the pod configs, compiled for TPUs that were not there. Memory "
        "is of one device, with what waits beside the program; `by plan` is the arithmetic that "
        "`plan` prints without `--compile`. FLOPs are of matrix products, with bodies of loops "
        "counted as often as they run. `bound` is what takes longest by the chip's published "
        "peaks, and a round takes at least the hours in the last column.",
        "command": "python -m expert_iter.plan --compile --topology=$TOPOLOGY "
        "--config=configs/pods/$CONFIG.py --json=benchmarks/compiled/$CONFIG.json\n"
        "python benchmarks/plans.py",
        "date": "2026-11-30",
        "machine": "Two CPU cores; jax 0.10.2, libtpu 0.0.42.1",
        "tables": [{"caption": "", "columns": [*columns, "hours a round"], "rows": table}],
        "caveats": [
            "Nothing was run: memory is the compiler's, times are bounds and no forecasts.",
            "Every step and tree counts at its full length, and every prompt has 256 tokens.",
            "– is what the plan does not list.",
        ],
    }


def main() -> None:
    RECORD.write_text(json.dumps(record(), indent=1, ensure_ascii=False) + "\n")
    for name in TOPOLOGIES:
        path = config_path(name)
        path.write_text(documented(name, path.read_text()))


if __name__ == "__main__":
    main()
