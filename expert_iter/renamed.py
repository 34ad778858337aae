"""Settings that have another name now: the error for the old one, and how old runs are read."""

from typing import Any

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


def hint(name: str) -> str:
    return f"config.{name} has another name now: {SETTINGS[name]}"


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A stored config in today's names."""
    if "targets" not in config or "loss" not in config:
        return config
    config = dict(config)
    targets, loss = config.pop("targets"), config.pop("loss")
    policy = "set_normalised" if loss["policy"] == "set" else targets["policy"]
    own = {key: targets[key] for key in ("min_visits", "value_scale", "maxvisit_init")}
    nodes = targets["nodes"]
    learner = config["learner"] | {"objectives": (policy, "value")}
    return config | {
        "learner": learner,
        "improved": own | {"nodes": nodes},
        "winners": {
            "nodes": "root" if nodes == "root" else "won",
            "min_visits": targets["min_visits"],
        },
        "set_normalised": own | {"nodes": nodes, "towards": targets["policy"]},
        "value": {
            "weight": loss["value_weight"],
            "mix": targets["value_mix"],
            "max_lost": targets["max_lost"],
        },
    }
