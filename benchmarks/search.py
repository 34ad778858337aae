"""How fast the tree search is, and how far from plain sampling by the same network.

    python benchmarks/search.py                          # a table of about ten minutes
    python benchmarks/search.py --models=tiny,small,medium --rows=1,16,128,512 --candidates=4,8 \
        --simulations=16,64                              # all of it, an hour on two cores
    python benchmarks/search.py --workdir=runs/countdown # a trained network on problems of its own

Random networks write steps of --tokens tokens, no fewer; a trained one ends them where it likes,
so that rows and candidates wait for the longest (`useful` tokens, of all that are computed).

* valued/s: candidate steps that were generated and whose value is known; sims/s: nodes after the
  root.
* tokens/s: useful ones, generated for candidates; plain: by whole solutions sampled independently,
  as many at once as the search decodes (B·K), from the same prompts, useful ones, too; ratio:
  search to plain, in turn in each repeat.
* read a node: tokens read in parallel for a node after the root (its step's own, once).
* of matmul: model FLOP/s of what was generated and read, as a share of a plain matrix product's.
* plain of floor: the least time that the samples need, as a share of what they took. A decode
  step needs the longer of its FLOPs at that product's rate and of reading each parameter once at
  the memory's bandwidth; keys and values are not counted.

Medians of --repeats. Below each table: bytes that a node holds, by the compiled programs, which
need so much more for more simulations, and how much of that is its page of keys and values.
"""

import argparse
import dataclasses
import resource
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import host
import jax
import numpy as np
from floors import machine, matmul_flops, memory_bandwidth
from floors import seconds as seconds_of
from shapes import SHAPES, never_ending, parameters

from expert_iter import cli
from expert_iter.model.step_ends import StepEnds
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.guess import Guess, GuessConfig
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.player import by_rows, padded_length
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree

HEAD = (
    "| model | B | K | S | valued/s | sims/s | tokens/s | plain | ratio | useful | read a node | "
    "of matmul | plain of floor | compile |"
)
FLOATS = 4


class Subject(NamedTuple):
    """What is searched: prompts `[B, P]` with their lengths, by a network that knows where steps
    end.
    """

    name: str
    network: object
    params: dict
    steps: StepEnds
    prompts: np.ndarray
    lengths: np.ndarray
    config: SearchConfig


def random_subject(name: str, rows: int, args) -> Subject:
    network = SHAPES[name].network(dtype=args.dtype, param_dtype=args.dtype)
    rng = np.random.default_rng(0)
    prompts = rng.integers(1, network.vocab_size, (rows, args.prompt)).astype(np.int32)
    params = jax.jit(network.init)(jax.random.key(0))
    config = SearchConfig(max_steps=args.max_steps, max_step_tokens=args.tokens)
    lengths = np.full(rows, args.prompt, np.int32)
    steps = never_ending(network.vocab_size)
    return Subject(name, network, params, steps, prompts, lengths, config)


def trained_subject(workdir: Path, rows: int) -> Subject:
    from expert_iter.assembly import assemble
    from expert_iter.config import completed, settings
    from expert_iter.load import load_params
    from expert_iter.storage import workdir as workdir_lib

    checked = settings(completed(workdir_lib.read_config(workdir)))
    parts = assemble(checked, workdir)
    problems = parts.task.problems("test")
    texts = [parts.tokenizer.encode_prompt(problems[i % len(problems)].prompt) for i in range(rows)]
    lengths = np.array(list(map(len, texts)), np.int32)
    prompts = np.full((rows, padded_length(max(lengths))), parts.tokenizer.ids.pad, np.int32)
    for row, text in enumerate(texts):
        prompts[row, : len(text)] = text
    params = load_params(workdir, parts)
    return Subject(
        checked.task_name, parts.network, params, parts.steps, prompts, lengths, checked.search
    )


def measured(
    subject: Subject, candidates: int, simulations: int, args, matmul: float, bandwidth: float
) -> tuple[str, int]:
    """A line of the table, and the bytes that the program needs beside what it is given and hands
    out.
    """
    rows = len(subject.prompts)
    layout = host.layout_for(rows)
    config = dataclasses.replace(
        subject.config, num_candidates=candidates, root_candidates=0, num_simulations=simulations
    )
    network, sampler = subject.network, SamplerConfig(replacement=args.replacement)
    search = TreeSearch(network, config, sampler, subject.steps)
    whole = GuessConfig(
        num_samples=candidates, max_tokens=config.max_steps * config.max_step_tokens
    )
    plain = Guess(network, whole, dataclasses.replace(sampler, replacement=True), subject.steps)
    keys = jax.random.split(jax.random.key(1), rows)
    params = jax.device_put(subject.params, layout.everywhere)
    of_rows = subject.prompts, subject.lengths, np.arange(rows), keys
    questions = params, *jax.device_put(of_rows, layout.search_rows)
    given, sampled_by = (*questions, simulations), (*questions, candidates)

    start = time.perf_counter()
    run = jax.jit(by_rows(search.run, layout)).lower(*given).compile()
    compile_seconds = time.perf_counter() - start
    sample = jax.jit(by_rows(plain.run, layout)).lower(*sampled_by).compile()
    tree, samples = jax.device_get((run(*given), sample(*sampled_by)))

    taken, plainly = [], []
    for _ in range(args.repeats):
        taken += seconds_of(lambda: run(*given), 1)
        plainly += seconds_of(lambda: sample(*sampled_by), 1)

    generated, sampled = float(np.sum(tree.bill.generated)), float(np.sum(samples.bill.generated))
    nodes = int(np.sum(tree.live)) - rows
    seconds = statistics.median(taken)
    ratio = statistics.median(
        generated / a / (sampled / b) for a, b in zip(taken, plainly, strict=True)
    )
    read = (float(np.sum(tree.bill.prefilled)) - float(np.sum(subject.lengths))) / max(nodes, 1)
    cells = [
        subject.name,
        rows,
        candidates,
        simulations,
        f"{np.sum(tree.candidates.count * tree.live[..., None]) / seconds:,.0f}",
        f"{nodes / seconds:,.0f}",
        f"{generated / seconds:,.0f}",
        f"{sampled / statistics.median(plainly):,.0f}",
        f"{ratio:.2f}",
        f"{generated / np.sum(tree.bill.lockstep):.0%}",
        f"{read:.1f}",
        f"{float(np.sum(tree.bill.flops)) / seconds / matmul:.0%}",
        f"{floor(subject, samples, matmul, bandwidth) / statistics.median(plainly):.0%}",
        f"{compile_seconds:.1f} s",
    ]
    needs = layout.search_shards * run.memory_analysis().temp_size_in_bytes
    return f"| {' | '.join(map(str, cells))} |", needs


def floor(subject: Subject, samples: SearchTree, matmul: float, bandwidth: float) -> float:
    """Seconds that the samples need at least.

    matmul: FLOP/s; bandwidth: bytes/s.
    """
    bill, draws = samples.bill, samples.candidates.token.shape[2]
    decode_steps = float(np.max(bill.lockstep)) / draws
    numbers = sum(x.nbytes for x in jax.tree.leaves(subject.params))
    return max(float(np.sum(bill.flops)) / matmul, decode_steps * numbers / bandwidth)


def page_bytes(subject: Subject) -> int:
    c = subject.network.config
    page = 2 * c.num_layers * c.num_kv_heads * c.head_dim * subject.config.max_step_tokens
    return page * np.dtype(c.dtype).itemsize


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,small", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--workdir", type=Path, help="a trained network in place of random ones")
    parser.add_argument("--rows", type=numbers, default=[16, 128], help="trees (B)")
    parser.add_argument("--candidates", type=numbers, default=[8], help="a node (K)")
    parser.add_argument("--simulations", type=numbers, default=[16, 64], help="a tree (S)")
    parser.add_argument("--tokens", type=int, default=8, help="a step of random networks")
    parser.add_argument("--max_steps", type=int, default=4, help="of random networks")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of random networks")
    parser.add_argument("--replacement", action="store_true", help="the search's draws, too")
    parser.add_argument("--dtype", default="float32", help="of random networks")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    cli.quiet()
    names = ["trained"] if args.workdir else args.models.split(",")
    sizes = [0] if args.workdir else [parameters(SHAPES[name].network()) for name in names]
    host.prepare(parameters=max(sizes))
    matmul, bandwidth = matmul_flops(args.dtype), memory_bandwidth()
    print(
        f"{machine()}; {args.dtype} matrix product {matmul / 1e9:,.0f} GFLOP/s, memory "
        f"{bandwidth / 1e9:,.1f} GB/s; medians of {args.repeats}\n"
    )
    held = []
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|", flush=True)
    for name in names:
        for rows in args.rows:
            subject = (
                trained_subject(args.workdir, rows)
                if args.workdir
                else random_subject(name, rows, args)
            )
            for candidates in args.candidates:
                needs = {}
                for simulations in args.simulations:
                    line, needs[simulations] = measured(
                        subject, candidates, simulations, args, matmul, bandwidth
                    )
                    print(line, flush=True)
                few, many = min(needs), max(needs)
                if few < many:
                    node = (needs[many] - needs[few]) / (rows * (many - few))
                    held.append(
                        f"{name}, B = {rows}, K = {candidates}: a node {node:,.0f} bytes, its "
                        f"page {page_bytes(subject):,}; {needs[many] / 2**20:,.0f} MiB in all for "
                        f"{many} simulations"
                    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held.append(f"this process, with all that it compiled: {peak:,.0f} MiB at most")
    print("\n" + "\n".join(f"* {line}" for line in held))


if __name__ == "__main__":
    main()
