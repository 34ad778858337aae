"""What has another name now: the error for an old setting, and how old runs are read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

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
}
# Keys that a stored config may lack came up after its run was made.
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
# Of a stored replay. A run has one of the policy's objectives, and the others' columns are ignored.
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
    return f"config.{name} has another name now: {SETTINGS[name]}"


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A stored config in today's names; objectives that its run did not have are left out."""
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
    """A stored replay's trees (see `step_tree.flat`) with today's columns, from nowhere."""
    if "policy_weight" not in arrays:
        return arrays
    trees = len(arrays["steps"])
    return {
        **{name: x for name, x in arrays.items() if name not in _COLUMNS.values()},
        **{f"column.{name}": arrays[old] for name, old in _COLUMNS.items()},
        "origin.problem": np.zeros(trees, str),
        **{f"origin.{name}": np.zeros(trees, int) for name in ("round", "unit", "updates")},
    }
