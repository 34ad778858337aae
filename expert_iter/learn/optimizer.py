"""The optimizer: Muon for the layers' matrices and Adam for the rest, or Adam for all.

Two cosines follow each other: the warm start's, and that of all rounds together.
"""

import dataclasses
import functools

import jax
import optax

from expert_iter.learn.muon import muon
from expert_iter.model.parameters import parameter_at
from expert_iter.pod.mesh import Layout
from expert_iter.range_checks import Checks


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and the learning rate's schedule: up linearly, down as a cosine.

    Attributes:
      name: 'muon' (Jordan et al. 2024: orthogonalised momentum) or 'adamw'.
      learning_rate: peak of the warm start.
      round_learning_rate: peak of the rounds.
      muon_scale: Muon's learning rate is so many times the learning rate.
      warmup_updates: updates over which the learning rate rises.
      final_fraction: the learning rate at the end, as a share of its peak.
      weight_decay: what an update takes from a weight, as a share of learning rate times weight.
      beta1: decay of the momentum.
      beta2: decay of AdamW's second moment.
      clip_norm: gradients of a larger norm are scaled to it.
      average: EMA decay of the parameters; 0: no EMA. The EMA searches and is evaluated (Polyak and
        Juditsky 1992; KataGo, Wu 2019): the newest parameters are noisy, and what they find is
        learned from. It takes the memory of the parameters once more.
    """

    name: str = "muon"
    learning_rate: float = 4e-3
    round_learning_rate: float = 2e-3
    muon_scale: float = 5.0
    warmup_updates: int = 30
    final_fraction: float = 0.1
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    average: float = 0.0

    def __post_init__(self):
        check = Checks("optimizer", self)
        check.one_of("name", "muon", "adamw")
        check.positive("learning_rate", "round_learning_rate", "muon_scale", "clip_norm")
        check.not_negative("warmup_updates", "weight_decay")
        check.share("final_fraction")
        check.below_one("beta1", "beta2", "average")


def schedule(config: OptimizerConfig, warm_updates: int, round_updates: int) -> optax.Schedule:
    """The learning rate by update: `warm_updates` of the warm start, then `round_updates`."""

    def cosine(peak: float, updates: int):
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0 if config.warmup_updates else peak,
            peak_value=peak,
            warmup_steps=config.warmup_updates,
            decay_steps=max(updates, config.warmup_updates + 1),
            end_value=peak * config.final_fraction,
        )

    warm_start = cosine(config.learning_rate, warm_updates)
    rounds = cosine(config.round_learning_rate, round_updates)
    return optax.join_schedules([warm_start, rounds], [warm_updates])


def make_optimizer(
    config: OptimizerConfig, warm_updates: int, round_updates: int, layout: Layout
) -> optax.GradientTransformation:
    """The optimizer for parameters with the names of `model.parameters`.

    The learning rate is that of `schedule`. The devices of the layout share Muon's work.
    """
    rate = schedule(config, warm_updates, round_updates)

    def by_parameter(choose):
        return lambda params: jax.tree_util.tree_map_with_path(
            lambda path, _: choose(parameter_at(path)), params
        )

    adamw = functools.partial(optax.adamw, rate, config.beta1, config.beta2)
    if config.name == "muon":
        scale = config.muon_scale
        matrices = muon(lambda step: scale * rate(step), config.weight_decay / scale, layout)
        update = optax.partition(
            {"muon": matrices, "adam": adamw(weight_decay=0.0, nesterov=True)},
            by_parameter(lambda parameter: "muon" if parameter.is_matrix else "adam"),
        )
    else:
        decayed = by_parameter(lambda parameter: parameter.is_decayed)
        update = adamw(weight_decay=config.weight_decay, mask=decayed)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
