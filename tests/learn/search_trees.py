"""Searched trees made by hand, and what objectives make of them.

The tree that most tests use: candidates as text, with what the search knows of them.

    root   a  visited once, continued by node 1, below which d wins
           b  visited once, continued by node 2, below which nothing wins
           c  finished and wrong
    node 1 d  finished and right     e  finished and wrong     f  open
    node 2 g  finished and wrong     a duplicate               h  open
"""

import jax
import numpy as np

from expert_iter.learn.lessons import step_trees
from expert_iter.search.bill import Bill
from expert_iter.search.candidates import Candidates
from expert_iter.search.self_play import Searched
from expert_iter.search.tree import SearchTree
from expert_iter.tasks import Problem
from tests.learn.trees import paths
from tests.objectives import objectives
from tests.steps import steps_at

PAD, BOS, EOS, NEWLINE = range(4)
STEPS = steps_at(NEWLINE)
A, B, C, D, E, F, G, H = range(4, 12)
PROMPT = [BOS, 20, NEWLINE]
LN2 = float(np.log(2))
# σ(q) = (1 + max N) · ln 2 · q: a factor of 4^q at the root, of 2^q below it.
SCALE = dict(maxvisit_init=1.0, value_scale=LN2)


def search_tree(candidates, **others):
    """One search as a batch of one: `candidates` gives per field an array `[N, K, ...]`."""
    token = np.asarray(candidates["token"])
    N, K = token.shape[:2]
    nodes, pairs = (1, N), (1, N, K)
    zeros = np.zeros(pairs, np.float32)
    drawn = dict(
        length=(token != PAD).sum(-1)[None],
        log_pi=zeros,
        log_beta=zeros,
        prior_logit=zeros,
        count=np.ones(pairs, int),
        valid=np.ones(pairs, bool),
        finished=np.zeros(pairs, bool),
        model_value=zeros,
        token_value=np.zeros(token.shape, np.float32)[None],
    )
    fields = dict(
        live=np.ones(nodes, bool),
        parent=np.full(nodes, -1),
        action=np.full(nodes, -1),
        path_log_pi=np.zeros(nodes),
        value=zeros,
        won=np.zeros(pairs, bool),
        child=np.full(pairs, -1),
        visits=np.zeros(pairs, int),
        q=zeros,
        answerable=np.ones(pairs, bool),
        bill=Bill(*np.zeros((4, 1))),
    )
    given = {name: np.asarray(x)[None] for name, x in (candidates | others).items()}
    drawn |= {name: given.pop(name) for name in Candidates._fields if name in given}
    return SearchTree(**fields | given, candidates=Candidates(**drawn))


def redrawn(tree, **change):
    """The tree with other fields of its candidates."""
    return tree._replace(candidates=tree.candidates._replace(**change))


def small():
    """The tree above."""
    return search_tree(
        dict(
            token=[
                [[A, NEWLINE], [B, NEWLINE], [C, EOS]],
                [[D, EOS], [E, EOS], [F, NEWLINE]],
                [[G, EOS], [G, EOS], [H, NEWLINE]],
            ],
            valid=np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1]], bool),
            finished=np.array([[0, 0, 1], [1, 1, 0], [1, 0, 0]], bool),
            won=np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], bool),
            child=[[1, 2, -1], [-1, -1, -1], [-1, -1, -1]],
            visits=[[1, 1, 0], [0, 0, 0], [0, 0, 0]],
            q=[[0.25, 0.5, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]],
            prior_logit=[
                [np.log(1), np.log(2), np.log(1)],
                [np.log(1), np.log(1), np.log(0.5)],
                [np.log(1), np.log(5), np.log(3)],
            ],
            log_pi=[[-1.0, -2.0, -3.0], [-0.5, -1.5, -2.5], [-1.0, -1.0, -4.0]],
            log_beta=[[-1.1, -1.9, -3.1], [-0.6, -1.4, -2.6], [-1.2, -1.2, -3.8]],
            count=[[1, 2, 1], [1, 3, 1], [2, 0, 1]],
        ),
        parent=[-1, 0, 0],
        action=[-1, 0, 1],
    )


def lost():
    """The same, but nothing wins."""
    tree = small()
    return tree._replace(won=np.zeros_like(tree.won))


def guesses():
    """Guess-and-check's tree: one node, whole solutions for candidates."""
    return search_tree(
        dict(
            token=[
                [
                    [A, NEWLINE, D, EOS],
                    [A, NEWLINE, E, EOS],
                    [A, NEWLINE, D, EOS],  # drawn twice
                    [B, NEWLINE, D, EOS],
                    [B, NEWLINE, F, EOS],
                    [C, EOS, PAD, PAD],
                ]
            ],
            valid=np.array([[1, 1, 0, 1, 1, 1]], bool),
            count=[[2, 1, 0, 1, 1, 1]],
            finished=np.ones((1, 6), bool),
            won=np.array([[1, 0, 0, 1, 0, 0]], bool),
            q=np.array([[1, 0, 0, 1, 0, 0]], np.float32),
        )
    )


def both(*trees):
    """A batch of two."""
    return jax.tree.map(lambda *pair: np.concatenate(pair), *trees)


def rngs(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def searched(trees):
    rows = np.arange(len(trees.live))
    problems = [Problem(f"train-{row}", "", None) for row in rows]
    return Searched(rows, problems, trees, "mcts", round=2, unit=1, updates=40)


def lesson(trees, *names, seed=0, **sections):
    """The step tree that objectives of these names make of one search."""
    made = objectives(*names, **sections)
    ((tree,),) = step_trees(searched(trees), [PROMPT], STEPS, made, rngs(seed))
    return tree


def by_path(tree):
    """The columns of each step that are not 0, by the letters on its way."""
    found = {}
    for g, path in enumerate(paths(tree)):
        prompt, *steps = path
        assert list(prompt) == PROMPT and all(step[-1] in (NEWLINE, EOS) for step in steps)
        letters = tuple(letter for step in steps for letter in step[:-1])
        assert letters not in found
        found[letters] = {name: x[g].item() for name, x in tree.columns.items() if x[g]}
    return found


def assert_columns(tree, expected):
    """That the steps are these, by their letters, with these columns and all others 0."""
    found = by_path(tree)
    assert set(found) == set(expected)
    for path, columns in expected.items():
        wanted = {name: x for name, x in columns.items() if x}
        assert set(found[path]) == set(wanted), path
        for name, x in wanted.items():
            np.testing.assert_allclose(found[path][name], x, rtol=1e-5, err_msg=f"{path} {name}")
