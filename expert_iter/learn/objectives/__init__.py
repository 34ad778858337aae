"""All objectives by name: what a finished search teaches, and the losses that learn it.

A new objective is a file with a class as `objective.Objective` says, and a line here.
`learner.objectives` names those of a run; demonstrations are always learned, by `imitation`.
"""

from collections.abc import Mapping
from typing import Any

from expert_iter.learn.objectives import (
    imitation,
    improved_policy,
    policy_gradient,
    set_normalised,
    step_preferences,
    value,
    winners,
)
from expert_iter.learn.objectives.objective import Objective, ObjectiveConfig

# The class, and its section of settings.
OBJECTIVES: dict[str, tuple[type, type[ObjectiveConfig]]] = {
    "imitation": (imitation.Imitation, imitation.ImitationConfig),
    "improved": (improved_policy.Improved, improved_policy.ImprovedConfig),
    "winners": (winners.Winners, winners.WinnersConfig),
    "set_normalised": (set_normalised.SetNormalised, set_normalised.SetNormalisedConfig),
    "step_preferences": (step_preferences.StepPreferences, step_preferences.PreferencesConfig),
    "policy_gradient": (policy_gradient.PolicyGradient, policy_gradient.PolicyGradientConfig),
    "value": (value.Value, value.ValueConfig),
}


def make_objectives(names: tuple[str, ...], sections: Mapping[str, Any]) -> dict[str, Objective]:
    """Those of these names, and imitation, from their sections of the settings."""
    wanted = ("imitation", *(name for name in names if name != "imitation"))
    return {name: OBJECTIVES[name][0](sections[name]) for name in wanted}


def heads_of(objectives: Mapping[str, Objective]) -> tuple[str, ...]:
    """The scalar heads that the network needs: the value, and those of the objectives."""
    others = (head for objective in objectives.values() for head in objective.heads)
    return tuple(dict.fromkeys(("value", *others)))
