"""The optimizer: AdamW behind a warm-up, a decay over the whole run, and a bound on the gradient's norm."""

import dataclasses

import jax
import optax

from expert_iter.errors import UserError


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """learning_rate rises over warmup_updates and falls as a cosine to final_fraction of itself at the run's end."""

    learning_rate: float = 2e-3
    warmup_updates: int = 50
    final_fraction: float = 0.1
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise UserError(f"optimizer.learning_rate must be positive, got {self.learning_rate}")
        if self.warmup_updates < 0 or self.weight_decay < 0 or self.clip_norm <= 0:
            raise UserError(
                "optimizer.warmup_updates and weight_decay must not be negative, clip_norm must be positive; got "
                f"{self.warmup_updates}, {self.weight_decay}, {self.clip_norm}"
            )
        for key in ("final_fraction", "beta1", "beta2"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"optimizer.{key} must be between 0 and 1, got {getattr(self, key)}")


def make_optimizer(config: OptimizerConfig, total_updates: int) -> optax.GradientTransformation:
    """Matrices are decayed; norms' scales and the value head are not (layers are stacked, so rank does not tell)."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_updates else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_updates,
        decay_steps=max(total_updates, config.warmup_updates + 1),
        end_value=config.learning_rate * config.final_fraction,
    )


    def decayed(params):
        names = ("scale", "value_weight", "value_bias")
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in names, params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, config.beta1, config.beta2, weight_decay=config.weight_decay, mask=decayed),
    )
