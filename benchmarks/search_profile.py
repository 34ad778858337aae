"""Where the time of a search goes, by XLA's own account of its operations.

    python benchmarks/search_profile.py --workdir=runs/countdown

Searches a batch of the run's training problems as self-play does, with the verifier at the leaves,
and sums the operations' times by the part of the search that they belong to (`jax.named_scope`).
On CPUs, where XLA tells them one by one. Where an operation runs on several threads, its time is
that until the last is done. Then prints how long the host, beside the devices, took for verdicts.
"""

import argparse
import re
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import host
import jax
import numpy as np

from expert_iter import cli
from expert_iter.assembly import assemble
from expert_iter.config import completed, settings
from expert_iter.load import load_params
from expert_iter.search.host_verifier import HostVerifier
from expert_iter.search.player import padded_length
from expert_iter.storage import workdir as workdir_lib

# The innermost scope of an operation's name says what it is part of.
PARTS = {
    "decode": "drawing candidates",
    "read": "reading prompts and steps",
    "pages": "pages: gathering, writing",
}
REST = "tree: selection, back-up, bookkeeping"


def parts_of(program: str) -> dict[str, str]:
    """Which part each instruction of a compiled program belongs to. One without a name, as XLA
    makes them when it fuses, belongs where most around it do.
    """
    found, around = {}, defaultdict(Counter)
    for line in program.splitlines():
        if line[:1].strip():  # a computation begins
            inside = line
        made = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = ", line)
        if made:
            scope = re.search(r'op_name="([^"]*)"', line)
            own = part_of(scope[1]) if scope else None
            found[made[1]] = own, inside
            around[inside][own] += own is not None
    return {
        name: own or around[inside].most_common(1)[0][0] for name, (own, inside) in found.items()
    }


def part_of(scope: str) -> str:
    inside = [part for part in scope.split("/") if part in PARTS]
    return PARTS[inside[-1]] if inside else REST


def times(directory: Path) -> Counter:
    """Nanoseconds by program and instruction. Loops and calls are left out: their bodies count."""
    [trace] = directory.rglob("*.xplane.pb")
    found: Counter = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                operation = stats.get("hlo_op")
                if operation and not re.match(r"(while|call|conditional)[.\d]*$", operation):
                    found[stats["hlo_module"], operation] += event.duration_ns
    return found


class Timed:
    """A verifier of the host that knows how many seconds its callers waited for it."""

    def __init__(self, verifier: HostVerifier):
        self.verifier, self.seconds = verifier, 0.0

    def ask(self, *given):
        answer = self._timed(self.verifier.ask, *given)
        return lambda: self._timed(answer)

    def _timed(self, run, *given):
        begin = time.perf_counter()
        try:
            return run(*given)
        finally:
            self.seconds += time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cli.quiet()
    checked = settings(completed(workdir_lib.read_config(args.workdir)))
    host.prepare(checked.learner.rows)
    parts = assemble(checked, args.workdir)
    params, expert = load_params(args.workdir, parts), parts.expert()
    problems = parts.task.problems("train")[: checked.run.batch_size]
    batch, player = (problems, jax.random.key(0)), expert._player
    timed = expert._verifier = Timed(expert._verifier)
    found = next(expert.searches(params, [batch]))  # compiles
    longest = max(len(parts.tokenizer.encode_prompt(problem.prompt)) for problem in problems)
    part = {}  # by program and instruction
    for compiled, _ in player.compile(params, padded_length(longest)).values():
        text = compiled.as_text()
        module = re.match(r"HloModule ([\w.-]+)", text)[1]
        part |= {(module, name): of for name, of in parts_of(text).items()}
    timed.seconds = 0.0
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            for _ in range(args.repeats):
                next(expert.searches(params, [batch]))
        spent = times(Path(directory))
    by_part: Counter = Counter()
    for operation, nanoseconds in spent.items():
        by_part[part.get(operation) or REST] += nanoseconds / args.repeats / 1e6
    whole = sum(by_part.values())
    print("| part of the search | ms | share |\n|---|---|---|")
    for name, milliseconds in by_part.most_common():
        print(f"| {name} | {milliseconds:,.0f} | {milliseconds / whole:.1%} |")
    print(f"\nThe host waited {timed.seconds / args.repeats * 1e3:,.0f} ms for verdicts.")
    bill = found.trees.bill
    use = float(np.sum(bill.generated) / np.sum(bill.lockstep))
    print(f"Of what is drawn, {1 - use:.0%} pads steps along until the longest ends.")


if __name__ == "__main__":
    main()
