"""Batched tree search against the library transformers on the same weights, in one run.

    pip install -e '.[bench]'
    python benchmarks/search_peer.py [--models=tiny,small] [--out=FILE]

Counts valued steps a second: candidate steps that were generated and whose value is known. Three
arms, measured in turn in each repeat, all on the CPU with all its cores, in float32:

* ours: `TreeSearch`, everything it does included (prompts, tree, pages);
* (a) one tree at a time, as TS-LLM (Feng et al. 2023) goes about it: for a node `generate` on its
  whole prefix, then a forward over the whole texts for their values; a sample of the nodes is
  expanded. (TS-LLM's own code samples by CTranslate2, which is faster than `generate`.)
* (b) all trees in lock step: for a simulation one batched `generate` for a node of every tree.
  The prefixes are read once and their keys and values repeated for the candidates; the value comes
  from one further token on the same cache.

And sampled tokens a second, of K whole solutions for each of the B prompts:

* (c) `generate` with K sequences returned, against our `Guess` with independent draws.

The peers expand the very nodes that our trees hold, so that depths are alike, and are charged for
no tree. Texts are of one length on all sides: nothing ends a step but its limit on tokens. Weights
are random, exported by `expert_iter.model.weights.export` and loaded by transformers; logits and
values are compared before anything is measured. Prints a Markdown table.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import host
import jax
import numpy as np
import torch
import transformers
from shapes import SHAPES, never_ending, parameters
from torch_peer import Peer, differences, padded

from expert_iter import cli
from expert_iter.model.transformer import Network
from expert_iter.model.weights.export import export
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.guess import Guess, GuessConfig
from expert_iter.search.mcts import TreeSearch
from expert_iter.search.player import by_rows
from expert_iter.search.search_config import SearchConfig
from expert_iter.search.tree import SearchTree

ROWS = {"tiny": 128, "small": 32, "medium": 8, "smollm2": 4}
TOLERANCE = 1e-3  # of logits and values, ours against theirs
ARMS = "ours", "(a) one tree", "(b) lock step", "our samples", "(c) samples"
HEAD = (
    f"| model | parameters | B | K | L | S | {' | '.join(ARMS)} | ours / (a) | ours / (b) | "
    "samples / (c) |"
)


def random_params(network: Network, seed: int) -> dict:
    """The value head is random, too: a fresh one says one half of everything."""
    key, head_key = jax.random.split(jax.random.key(seed))
    width = network.config.width
    head = jax.random.normal(head_key, (width,)) * width**-0.5
    return network.init(key) | {"value_weight": head}


def prefixes_of(tree: SearchTree, prompts: np.ndarray) -> list[list[np.ndarray]]:
    """The tokens `[T]` that lead to each node, by row."""
    found = []
    for b, prompt in enumerate(prompts):
        row = [prompt]
        for parent, action in zip(tree.parent[b, 1:], tree.action[b, 1:], strict=True):
            row.append(np.concatenate([row[parent], tree.candidates.token[b, parent, action]]))
        found.append(row)
    return found


def valued_steps(tree: SearchTree, tokens: int) -> int:
    """How many candidates the trees drew, by their own record and by their bill."""
    found = int(np.sum(tree.candidates.count * tree.live[..., None]))
    billed = int(np.sum(tree.bill.generated))
    if not np.all(tree.live) or billed != found * tokens:
        raise SystemExit("a tree or a step ended early: the arms would not do the same work")
    return found


def evenly(prefixes: list[np.ndarray], count: int) -> list[torch.Tensor]:
    """So many of the prefixes, short and long ones in their true shares."""
    ordered = sorted(prefixes, key=len)
    index = (np.arange(count) + 0.5) * len(ordered) / count
    return [torch.tensor(ordered[int(i)]).long()[None] for i in index]


class Arm(NamedTuple):
    """run: makes so many valued steps, or tokens."""

    run: Callable[[], None]
    steps: int

    def rate(self) -> float:
        start = time.perf_counter()
        self.run()
        return self.steps / (time.perf_counter() - start)


def arms_of(name: str, args) -> tuple[list[Arm], str]:
    """The arms in the order of `ARMS`, each having run once, and what is to be said of them."""
    network, rows = SHAPES[name].network(), args.rows or ROWS[name]
    params = random_params(network, args.seed)
    config = SearchConfig(
        num_simulations=args.simulations,
        num_candidates=args.candidates,
        max_steps=args.max_steps,
        max_step_tokens=args.tokens,
    )
    steps = never_ending(network.vocab_size)
    search = TreeSearch(network, config, SamplerConfig(replacement=args.replacement), steps)
    rng = np.random.default_rng(args.seed)
    prompts = rng.integers(1, network.vocab_size, (rows, args.prompt)).astype(np.int32)
    keys = jax.random.split(jax.random.key(args.seed), rows)
    layout = host.layout_for(rows)
    of_rows = prompts, np.full(rows, args.prompt), np.arange(rows), keys
    on_all = jax.device_put(params, layout.everywhere)
    given = on_all, *jax.device_put(of_rows, layout.search_rows), args.simulations
    start = time.perf_counter()
    compiled = jax.jit(by_rows(search.run, layout)).lower(*given).compile()
    compile_seconds = time.perf_counter() - start
    tree = jax.device_get(compiled(*given))
    prefixes = prefixes_of(tree, prompts)

    with tempfile.TemporaryDirectory() as folder:
        family = export(params, network.config, network.vocab_size, Path(folder, name))
        peer = Peer(Path(folder, name), args.candidates, args.tokens)
    apart = differences(network, params, peer, prompts, prefixes[0][: 1 + args.simulations])
    if max(apart) > TOLERANCE:
        raise SystemExit(f"{name}: logits, values differ by {apart[0]:.1e}, {apart[1]:.1e}")
    every = [prefix for row in prefixes for prefix in row]
    sample = evenly(every, min(args.expansions, len(every)))
    lockstep = [padded(list(nodes)) for nodes in zip(*prefixes, strict=True)]

    def one_by_one():
        for prefix in sample:
            texts, _ = peer.alone(prefix)
            assert texts.shape == (args.candidates, prefix.shape[1] + args.tokens)

    def in_lock_step():
        for ids, mask in lockstep:
            texts, _ = peer.together(ids, mask)
            assert texts.shape == (rows * args.candidates, ids.shape[1] + args.tokens)

    arms = [
        Arm(lambda: jax.block_until_ready(compiled(*given)), valued_steps(tree, args.tokens)),
        Arm(one_by_one, len(sample) * args.candidates),
        Arm(in_lock_step, len(lockstep) * rows * args.candidates),
        *sampling(network, peer, given, args),
    ]
    for ids, mask in lockstep[:: max(len(lockstep) // 4, 1)]:  # (a) has run in `differences`
        peer.together(ids, mask)
    depth = (np.array([len(prefix) for prefix in every]) - args.prompt) / args.tokens
    said = (
        f"{name} ({family}): logits agree within {apart[0]:.0e}, values within {apart[1]:.0e}; "
        f"nodes lie {depth.mean():.1f} steps deep on average, {depth.max():.0f} at most, those of "
        f"(a)'s sample {np.mean([(p.shape[1] - args.prompt) / args.tokens for p in sample]):.1f}; "
        f"our compilation took {compile_seconds:.1f} s"
    )
    return arms, said


def sampling(network: Network, peer: Peer, given: tuple, args) -> list[Arm]:
    """Our samples of whole solutions and the peer's, each drawn once.

    given: what the search is given.
    """
    token_BxP, rows = given[1], len(given[1])
    config = GuessConfig(num_samples=args.candidates, max_tokens=args.max_steps * args.tokens)
    guess = Guess(
        network, config, SamplerConfig(replacement=True), never_ending(network.vocab_size)
    )
    given = *given[:-1], config.num_samples
    compiled = jax.jit(by_rows(guess.run, host.layout_for(rows))).lower(*given).compile()
    prompts = torch.tensor(np.asarray(token_BxP)).long()
    tokens = rows * config.num_samples * config.max_tokens

    def ours():
        assert int(np.sum(compiled(*given).bill.generated)) == tokens

    def theirs():
        texts = peer.samples(prompts, config.max_tokens)
        assert texts.numel() - len(texts) * prompts.shape[1] == tokens

    for run in (ours, theirs):
        run()
    return [Arm(ours, tokens), Arm(theirs, tokens)]


@torch.inference_mode()
def measure(name: str, args) -> tuple[str, str]:
    """The table's line of one network, and the remark to it."""
    log(f"{name}: compiling, exporting, comparing")
    arms, said = arms_of(name, args)
    log(said)
    rates = []
    for repeat in range(args.repeats):
        rates.append([arm.rate() for arm in arms])
        shown = ", ".join(f"{arm} {rate:,.0f}" for arm, rate in zip(ARMS, rates[-1], strict=True))
        log(f"{name}: repeat {repeat + 1} of {args.repeats}: {shown} a second")
    by_arm = list(zip(*rates, strict=True))
    cells = [f"{statistics.median(rate):,.1f}" for rate in by_arm]
    tree, one, lockstep, samples, peer_samples = by_arm
    for ours, theirs in ((tree, one), (tree, lockstep), (samples, peer_samples)):
        ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
        cells.append(f"{statistics.median(ratio):.2f} ({min(ratio):.2f}–{max(ratio):.2f})")
    size = parameters(SHAPES[name].network())
    sizes = args.rows or ROWS[name], args.candidates, args.tokens, args.simulations
    return (
        f"| {name} | {size / 1e6:.2f}M | {' | '.join(map(str, sizes))} | {' | '.join(cells)} |",
        said,
    )


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,small", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--rows", type=int, default=0, help=f"trees (B); 0: {ROWS}")
    parser.add_argument("--candidates", type=int, default=6, help="a node (K)")
    parser.add_argument("--tokens", type=int, default=8, help="a step (L)")
    parser.add_argument("--simulations", type=int, default=16, help="a tree (S)")
    parser.add_argument("--max_steps", type=int, default=8, help="how deep our trees may be")
    parser.add_argument("--prompt", type=int, default=16, help="tokens")
    parser.add_argument("--replacement", action="store_true", help="our draws are independent")
    parser.add_argument("--expansions", type=int, default=48, help="nodes that (a) expands")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: one a core")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file to append the table to")
    args = parser.parse_args()
    names = args.models.split(",")
    if unknown := set(names) - set(SHAPES):
        parser.error(f"--models: there is no {', '.join(sorted(unknown))}")
    if args.prompt < 2:
        parser.error("--prompt: must be at least 2 tokens, as (b) reads the last one apart")
    cli.quiet()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    jax.config.update("jax_platforms", "cpu")
    host.prepare(parameters=max(parameters(SHAPES[name].network()) for name in names))
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(args.threads or cores)
    torch.manual_seed(args.seed)

    lines, remarks = zip(*(measure(name, args) for name in names), strict=True)
    draws = "independent" if args.replacement else "without replacement"
    table = [
        f"Valued steps a second on the CPU (cores: {cores}; threads of torch: "
        f"{torch.get_num_threads()}), medians of {args.repeats} repeats; ratios: medians (range) "
        f"over the repeats. Prompts of {args.prompt} tokens; our draws {draws}, our trees with "
        f"room for {args.max_steps} steps. jax {jax.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}.\n",
        HEAD,
        "|---" * HEAD.count(" | ") + "|---|",
        *lines,
        "",
        *(f"* {remark}." for remark in remarks),
    ]
    print("\n".join(table))
    if args.out:
        with args.out.open("a", encoding="utf-8") as file:
            file.write("\n".join(table) + "\n\n")


if __name__ == "__main__":
    main()
