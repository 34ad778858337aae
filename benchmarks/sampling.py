"""What it costs to draw the next tokens of a beam, by noise of each token and from the top down.

    python benchmarks/sampling.py [--vocabularies=256,512,1024,49152,151936] [--texts=128]

Both ways draw the same distribution (`search.next_tokens`). `head` is the product of so many hidden
states of --width with the output embedding, which a decode step needs anyway. Milliseconds, medians
of --repeats, in turn in each repeat.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
from floors import machine

from expert_iter import cli
from expert_iter.search import next_tokens
from expert_iter.search.behaviour import SamplerConfig

HEAD = "| vocabulary | texts | candidates | noise | top down | head |"


def arms(vocabulary: int, texts: int, candidates: int, width: int) -> dict:
    """What is measured, by name: functions without arguments."""
    rows = texts // candidates
    keys = jax.random.split(jax.random.key(0), rows)
    hidden = jax.random.normal(jax.random.key(1), (rows, candidates, width))
    embedding = jax.random.normal(jax.random.key(2), (vocabulary, width)) * width**-0.5
    head = jax.jit(lambda hidden, embedding: hidden @ embedding.T)
    logits = 3 * head(hidden, embedding)
    zeros, none = jnp.zeros((rows, candidates)), jnp.zeros((rows, candidates), bool)
    given = SamplerConfig(), keys, 0, zeros, zeros, none
    found = {"head": lambda: head(hidden, embedding)}
    for name, most in (("noise", vocabulary), ("top down", 0)):
        next_tokens.MOST_NOISE = most
        draw = jax.jit(lambda logits: next_tokens.next_tokens(*given, logits))
        jax.block_until_ready(draw(logits))  # compiled while the limit is this one
        found[name] = lambda draw=draw: draw(logits)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabularies", default="256,512,1024,49152,151936")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--candidates", default="4,16")
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cli.quiet()

    print(f"{machine()}\n\n{HEAD}\n{'| --: ' * HEAD.count(' |')}|")
    for vocabulary in map(int, arguments.vocabularies.split(",")):
        for candidates in map(int, arguments.candidates.split(",")):
            measured = arms(vocabulary, arguments.texts, candidates, arguments.width)
            times = {name: [] for name in measured}
            for _ in range(arguments.repeats):
                for name, run in measured.items():
                    start = time.perf_counter()
                    jax.block_until_ready(run())
                    times[name].append(time.perf_counter() - start)
            cells = [
                f"{1e3 * statistics.median(times[name]):.2f}"
                for name in ("noise", "top down", "head")
            ]
            shape = vocabulary, arguments.texts, candidates
            print("| " + " | ".join([*map(str, shape), *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
