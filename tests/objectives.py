"""Objectives by name, with their default settings or others."""

from expert_iter.learn.objectives import OBJECTIVES, make_objectives
from expert_iter.learn.objectives.objective import Objective


def objectives(*names: str, **sections: dict) -> dict[str, Objective]:
    """Those of these names, and imitation; sections: settings by objective."""
    made = {name: config(**sections.get(name, {})) for name, (_, config) in OBJECTIVES.items()}
    return make_objectives(names, made)
