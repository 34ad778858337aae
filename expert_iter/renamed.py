"""What has another name now, or is gone: the error for an old setting, how old runs are read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Old settings, and what took their place; "" for what is gone.
SETTINGS = {
    "targets": "the sections improved, winners, set_normalised and value",
    "loss": "learner.objectives, and the weight in each objective's section",
    "targets.policy": "learner.objectives, as in learner.objectives=('winners','value')",
    "targets.nodes": "improved.nodes",
    "targets.min_visits": "improved.min_visits",
    "targets.value_scale": "improved.value_scale",
    "targets.maxvisit_init": "improved.maxvisit_init",
    "targets.value_mix": "value.mix",
    "targets.max_lost": "value.max_lost",
    "loss.policy": "learner.objectives; its value 'set' is the objective set_normalised",
    "loss.value_weight": "value.weight",
    "search.halvings": "",
}
# Defaults for keys that were added after a stored config's run was made.
_TARGETS = {
    "policy": "improved",
    "nodes": "won",
    "min_visits": 1,
    "value_scale": 0.2,
    "maxvisit_init": 50.0,
    "value_mix": 0.0,
    "max_lost": 4,
}
_LOSS = {"policy": "steps", "value_weight": 0.5}
# New columns of a stored replay, by the old column that each is read from. A run uses one policy
# objective; the columns of the others are ignored.
_COLUMNS = {
    "improved.weight": "policy_weight",
    "winners.weight": "policy_weight",
    "set_normalised.weight": "policy_weight",
    "set_normalised.correction": "correction",
    "set_normalised.in_set": "in_set",
    "value.target": "value_target",
    "value.weight": "value_weight",
}


def hint(name: str) -> str:
    if not SETTINGS[name]:
        return f"config.{name} is gone, and nothing took its place"
    return f"config.{name} has another name now: {SETTINGS[name]}"


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A stored config in today's names."""
    return _with_objectives(_with_own_evaluation(_without_halvings(config)))


def _without_halvings(config: dict[str, Any]) -> dict[str, Any]:
    search = config.get("search")
    if not isinstance(search, dict) or "halvings" not in search:
        return config
    return config | {"search": {key: x for key, x in search.items() if key != "halvings"}}


def _with_own_evaluation(config: dict[str, Any]) -> dict[str, Any]:
    """Before there was `round_samples`, evaluation searched with 8 candidates, and with as many at
    the root, unless it was set otherwise, whatever `search` had.
    """
    evaluation, search = config.get("evaluation"), config.get("search", {})
    if not isinstance(evaluation, dict) or "round_samples" in evaluation:
        return config
    own = {"num_candidates": 8, "root_candidates": 0} | evaluation
    if not own["root_candidates"] and isinstance(search, dict) and search.get("root_candidates"):
        own["root_candidates"] = own["num_candidates"]
    return config | {"evaluation": own}


def _with_objectives(config: dict[str, Any]) -> dict[str, Any]:
    """Objectives that its run did not have are left out."""
    old = [config.get(section, {}) for section in ("targets", "loss", "learner")]
    if not {"targets", "loss"} & config.keys() or not all(isinstance(part, dict) for part in old):
        return config
    targets, loss, learner = _TARGETS | old[0], _LOSS | old[1], old[2]
    policy = "set_normalised" if loss["policy"] == "set" else targets["policy"]
    own = {key: targets[key] for key in ("nodes", "min_visits", "value_scale", "maxvisit_init")}
    nodes = "root" if targets["nodes"] == "root" else "won"
    policies = {
        "improved": own,
        "winners": {"nodes": nodes, "min_visits": targets["min_visits"]},
        "set_normalised": own | {"towards": targets["policy"]},
    }
    return {
        **{name: section for name, section in config.items() if name not in ("targets", "loss")},
        **{name: section for name, section in policies.items() if name == policy},
        "learner": learner | {"objectives": (policy, "value")},
        "value": {
            "weight": loss["value_weight"],
            "mix": targets["value_mix"],
            "max_lost": targets["max_lost"],
        },
    }


def translated_trees(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """A stored replay's trees (see `step_tree.flat`) with the current columns.

    Their origin was not stored and becomes empty.
    """
    if "policy_weight" not in arrays:
        return arrays
    trees = len(arrays["steps"])
    return {
        **{name: x for name, x in arrays.items() if name not in _COLUMNS.values()},
        **{f"column.{name}": arrays[old] for name, old in _COLUMNS.items()},
        "origin.problem": np.zeros(trees, str),
        **{f"origin.{name}": np.zeros(trees, int) for name in ("round", "unit", "updates")},
    }
