"""What a finished search teaches: weights on steps and labels for values, as step trees.

Policy, at each node that qualifies: 'improved' is the search's own distribution over candidates,
π'(a) ∝ c · π/β · exp σ(q) (Danihelka et al. 2022); 'winners' is uniform over candidates below which
a verified solution was found (STaR, ReST-EM). A node's weights sum to one. Value: whether a
verified solution was found below, mixed with what the search thought (λ). Both need the verdicts of
self-play's judge.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from expert_iter.checks import Checks
from expert_iter.learn.step_tree import StepTree, StepTreeBuilder
from expert_iter.model.step_ends import StepEnds
from expert_iter.search.tree import SearchTree

NEGLIGIBLE = (
    1e-2  # policy weights below this are dropped: a step costs its tokens, whatever its weight
)


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """policy: 'improved' or 'winners'. nodes: which nodes teach the policy: 'root', 'won' (a
    solution was found below) or 'all'; of those, only nodes visited at least min_visits times.
    value_mix: λ, the share of the search's own estimate in value targets. max_lost: of the finished
    wrong candidates of a tree, how many teach the value.
    """

    policy: str = "improved"
    nodes: str = "won"
    min_visits: int = 1
    value_scale: float = 0.2
    maxvisit_init: float = 50.0
    value_mix: float = 0.0
    max_lost: int = 4

    def __post_init__(self):
        check = Checks("targets", self)
        check.one_of("policy", "improved", "winners")
        check.one_of("nodes", "root", "won", "all")
        check.at_least(1, "min_visits")
        check.not_negative("max_lost", "value_scale", "maxvisit_init")
        check.share("value_mix")


def won_below(tree: SearchTree) -> np.ndarray:
    """Which candidates `[B, N, K]` are, or lead to, a verified solution that the search found."""
    won = np.array(tree.won)
    rows = np.arange(won.shape[0])
    for node in range(won.shape[1] - 1, 0, -1):  # a parent's number is below its children's
        there = tree.live[:, node] & won[:, node].any(axis=-1)
        b = rows[there]
        won[b, tree.parent[b, node], tree.action[b, node]] = True
    return won


def policy_targets(tree: SearchTree, won: np.ndarray, config: TargetConfig) -> np.ndarray:
    """Weights `[B, N, K]` of the policy loss: each node's sum to one, or to zero where it does not
    qualify.
    """
    if config.policy == "winners":
        weight = won.astype(np.float64)
    else:
        scale = (
            config.maxvisit_init + tree.visits.max(axis=-1, keepdims=True)
        ) * config.value_scale
        # A finished candidate's q is its verdict; what leads to a verified solution is solved, so
        # it is worth one.
        logit = tree.prior_logit + scale * np.where(won, 1.0, tree.q)
        logit = np.where(tree.valid, logit, -np.inf)
        weight = np.exp(logit - logit.max(axis=-1, keepdims=True, initial=-1e30))
    weight = weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1e-30)
    visits = 1 + tree.visits.sum(axis=-1)
    qualifies = tree.live & (visits >= config.min_visits)
    if config.nodes == "won" or config.policy == "winners":
        qualifies &= won.any(axis=-1)
    if config.nodes == "root":
        qualifies &= np.arange(weight.shape[1]) == 0
    return weight * qualifies[..., None]


def step_trees(
    tree: SearchTree,
    prompts: list[list[int]],
    steps: StepEnds,
    config: TargetConfig,
    rngs: Sequence[np.random.Generator],
    siblings: bool = False,
) -> list[StepTree]:
    """Turns a batch of searched trees (host arrays) into what the learner keeps, one step tree a
    problem.

    rngs: one a problem. siblings: keep all candidates of a node that teaches the policy, as the
    set-normalised loss needs.
    """
    won = won_below(tree)
    policy = policy_targets(tree, won, config)
    continued = tree.child >= 0
    value = np.where(tree.finished, tree.won, won).astype(np.float32)
    value = np.where(
        continued & ~tree.finished,
        (1 - config.value_mix) * value + config.value_mix * tree.q,
        value,
    )
    lost = tree.valid & tree.finished & ~tree.won
    lots = np.zeros(lost.shape)
    for own, rng in zip(lots, rngs, strict=True):
        own[:] = rng.random(own.shape)
    lottery = np.where(lost, lots, np.inf).reshape(len(lost), -1)
    drawn = np.zeros(lottery.shape, bool)
    np.put_along_axis(drawn, np.argsort(lottery, axis=-1)[:, : config.max_lost], True, axis=-1)
    labelled = (
        (tree.valid & tree.finished & tree.won) | (drawn.reshape(lost.shape) & lost) | continued
    )
    teaches = policy > NEGLIGIBLE
    return [
        _one(b, tree, prompt, steps, policy, value, labelled, teaches, won, siblings)
        for b, prompt in enumerate(prompts)
    ]


def _one(b, tree, prompt, steps, policy, value, labelled, teaches, won, siblings) -> StepTree:
    builder = StepTreeBuilder(prompt)
    builder.learn_value(0, float(won[b, 0].any()))
    step_of_node = {0: 0}
    compared = teaches[b].any(axis=-1) & siblings
    wanted = labelled[b] | teaches[b] | (tree.valid[b] & compared[:, None])
    for node, k in zip(*np.nonzero(wanted & tree.live[b][:, None]), strict=True):
        tokens = tuple(tree.token[b, node, k, : tree.length[b, node, k]].tolist())
        path = builder.add_text(step_of_node[node], tokens, steps)
        step = path[-1]
        if teaches[b, node, k]:
            for line in path:
                builder.learn_policy(line, float(policy[b, node, k]))
        if compared[node] and len(path) == 1:
            builder.compare(step, float(tree.prior_logit[b, node, k] - tree.log_pi[b, node, k]))
        if labelled[b, node, k]:
            for line in path:
                builder.learn_value(line, float(value[b, node, k]))
        if tree.child[b, node, k] >= 0:
            step_of_node[tree.child[b, node, k]] = step
    return builder.build()
