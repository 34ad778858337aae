"""How fast the learner is: tokens a second, and model FLOP/s as a share of a matrix product's.

    python benchmarks/training.py [--models=tiny,small]

A batch holds made-up search trees: a prompt, K candidate steps at each of so many nodes. Two ways
of laying them out are compared: packed, as the learner does (a tree once, each step attending to
its own path, several trees a row), and unpacked (each path from the prompt on in a row of its own,
padded to the longest). Tokens/s count each step of a tree once, whichever way.

`of matmul` is the model's FLOPs: six for each parameter and token, and attention. The optimizer's
time is in the update's; its own products, Muon's, are counted under `with Muon's`. Medians of
--repeats.
"""

import argparse
import statistics

import host
import jax
import numpy as np
from floors import machine, matmul_flops, seconds
from shapes import SHAPES, parameters

from expert_iter import cli
from expert_iter.learn.learner import Learner, LearnerConfig
from expert_iter.learn.lessons import columns_of
from expert_iter.learn.objectives import OBJECTIVES, make_objectives
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.learn.packing import Batch, Packer
from expert_iter.learn.step_tree import StepTree
from expert_iter.model.parameters import parameter_at
from expert_iter.search.bill import flops_per_token

HEAD = (
    "| model | optimizer | layout | tokens/s | update | batch's tokens | used | of matmul | "
    "with Muon's |"
)
PROMPT, STEP, CANDIDATES = 16, 8, 6
ROWS = {
    "tiny": (16, 128),
    "small": (16, 256),
    "medium": (4, 256),
    "smollm2": (8, 256),
}  # and tokens of each


def tree(rng: np.random.Generator, vocab_size: int) -> StepTree:
    """A node with candidates, one of which is a node with candidates."""
    steps = 1 + 2 * CANDIDATES
    length = np.array([PROMPT] + [STEP] * (steps - 1))
    parent = np.array([-1] + [0] * CANDIDATES + [1] * CANDIDATES)
    learned = (parent >= 0).astype(np.float32)
    columns = {
        "improved.weight": learned * rng.random(steps),
        "value.target": rng.random(steps),
        "value.weight": learned,
    }
    return StepTree(rng.integers(1, vocab_size, length.sum()), length, parent, columns)


def paths(whole: StepTree) -> list[StepTree]:
    """The tree's leaves, each with all that leads there as its prompt."""
    starts = np.cumsum(whole.length) - whole.length
    texts = {-1: np.zeros(0, int)}
    for g, parent in enumerate(whole.parent):
        own = whole.token[starts[g] : starts[g] + whole.length[g]]
        texts[g] = np.concatenate([texts[parent], own])
    found = []
    for g in set(range(len(whole.length))) - set(whole.parent.tolist()):
        before = texts[whole.parent[g]]
        found.append(
            StepTree(
                token=texts[g],
                length=np.array([len(before), whole.length[g]]),
                parent=np.array([-1, 0]),
                columns={name: np.array([0, x[g]]) for name, x in whole.columns.items()},
            )
        )
    return found


def model_flops(network, batch: Batch) -> float:
    """Of an update, three times those of the forward pass; attention to a row's own tokens is
    counted where the mask lets it be, as if no more were computed.
    """
    real = batch.step_RxT >= 0
    length = np.sum(batch.ancestor_RxGxG, axis=2) * STEP  # about what a step's tokens attend to
    context = float(np.mean(length[length > 0])) if length.any() else 0.0
    trunk, heads = flops_per_token(network.config, network.vocab_size, context)
    return 3 * float(np.sum(real)) * (trunk + heads)


def muon_flops(params: dict, steps: int = 5) -> float:
    """Of an update's Newton-Schulz steps (Jordan et al. 2024), each X Xᵀ, its square, and their
    sum's product with X, for each matrix of the layers.
    """
    total = 0
    for path, leaf in jax.tree.leaves_with_path(params):
        if parameter_at(path).is_matrix:
            layers, *sides = leaf.shape
            short, long = sorted(sides)
            total += layers * steps * (4 * short**2 * long + 2 * short**3)
    return float(total)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,small", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--optimizers", default="muon,adamw")
    parser.add_argument("--layouts", default="packed,unpacked")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    cli.quiet()
    names = args.models.split(",")
    host.prepare(parameters=max(parameters(SHAPES[name].network()) for name in names))
    matmul = matmul_flops(args.dtype)
    print(
        f"{machine()}; {args.dtype} matrix product {matmul / 1e9:,.0f} GFLOP/s; medians of "
        f"{args.repeats}\n\n{HEAD}\n" + "|---" * HEAD.count(" | ") + "|---|",
        flush=True,
    )
    for name in names:
        for optimizer in args.optimizers.split(","):
            for line in lines(name, optimizer, args, matmul):
                print(line, flush=True)


def lines(name: str, optimizer: str, args, matmul: float) -> list[str]:
    network, (rows, row_tokens) = SHAPES[name].network(dtype=args.dtype), ROWS[name]
    rng = np.random.default_rng(0)
    trees = [tree(rng, network.vocab_size) for _ in range(rows * row_tokens // tree(rng, 9).size)]
    single = [path for whole in trees for path in paths(whole)]
    longest = max(path.size for path in single)
    steps = (1 + 2 * CANDIDATES) * (row_tokens // trees[0].size)
    settings = {name: config() for name, (_, config) in OBJECTIVES.items()}
    objectives = make_objectives(("improved", "value"), settings)
    columns = columns_of(objectives)
    layouts = {
        "packed": (Packer(rows, row_tokens, steps, columns), trees),
        "unpacked": (Packer(len(single), longest, 2, columns), single),
    }
    layouts = {layout: layouts[layout] for layout in args.layouts.split(",")}
    found, useful = [], 0
    for layout, (packer, given) in layouts.items():
        batch, taken = packer.pack(given)
        if layout == "packed":
            useful = sum(given[i].size for i in taken)
        learner = Learner(
            network,
            LearnerConfig(rows=packer.rows, row_tokens=packer.row_tokens),
            objectives,
            OptimizerConfig(name=optimizer),
            100,
            100,
            host.layout_for(packer.rows),
        )
        state = learner.init(jax.jit(network.init)(jax.random.key(0)))

        products = muon_flops(state.trained) if optimizer == "muon" else 0.0

        def update(learner=learner, batch=batch, state=[state]):  # noqa: B006
            state[0], losses = learner.update(state[0], batch)
            return losses

        seconds_each = statistics.median(seconds(update, args.repeats))
        tokens = packer.rows * packer.row_tokens
        flops = model_flops(network, batch)
        shares = [x / seconds_each / matmul for x in (flops, flops + products)]
        found.append(
            f"| {name} | {optimizer} | {layout} | {useful / seconds_each:,.0f} | "
            f"{seconds_each * 1e3:,.0f} ms | {tokens:,} | "
            f"{np.mean(batch.step_RxT >= 0):.0%} | {shares[0]:.0%} | {shares[1]:.0%} |"
        )
    return found


if __name__ == "__main__":
    main()
