"""The learner: jitted updates of the parameters."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from expert_iter.errors import UserError
from expert_iter.learn.batches import Batches
from expert_iter.learn.lessons import columns_of
from expert_iter.learn.loss import loss
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.learn.objectives.objective import Objective
from expert_iter.learn.optimizer import OptimizerConfig, make_optimizer
from expert_iter.learn.packing import Batch, Packer
from expert_iter.learn.replay import Replay
from expert_iter.learn.room import OVERLONG, REFUSE
from expert_iter.learn.warm_start import WarmStart
from expert_iter.model import adapters
from expert_iter.model.transformer import Network
from expert_iter.pod import compiler
from expert_iter.pod.mesh import Layout
from expert_iter.range_checks import Checks

_SMALL = 1 << 20  # numbers; copies of larger arrays would take memory worth having


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """Batches of `rows` rows, and how many updates they make.

    Attributes:
      rows: rows of a batch.
      row_tokens: tokens of a row.
      row_steps: most steps of a row.
      updates_per_round: most updates of a round; see max_passes.
      max_passes: a round makes no more passes over the replay.
      rehearsal: share of each batch's tokens that are warm-start demonstrations.
      hindsight: share of the searches that solve nothing of which a finished text is learned as the
        solution of the problem that it does solve, in [0, 1]. For tasks that can tell.
      overlong: what becomes of training texts that are longer than a row: a problem's prompt with a
        step of search.max_step_tokens after it, and the prompt with its demonstration. 'refuse'
        names them before anything is computed. 'drop' leaves out such demonstrations and problems.
        'cut' learns such a demonstration up to where the row is full, and not that it ends there.
        Prompts are never cut, so it leaves out problems as 'drop' does. What a search finds is
        always learned as far as it fits; the metric `search/steps_left_out` counts the rest.
      objectives: what searches teach, by names of `learn.objectives`. Each has a section of
        settings under its name.
    """

    rows: int = 32
    row_tokens: int = 256
    row_steps: int = 48
    updates_per_round: int = 100
    max_passes: float = 4.0
    rehearsal: float = 0.15
    hindsight: float = 0.0
    overlong: str = REFUSE
    objectives: tuple = ("improved", "value")

    def __post_init__(self):
        check = Checks("learner", self)
        check.at_least(1, "rows", "row_tokens", "row_steps", "updates_per_round")
        check.positive("max_passes")
        check.below_one("rehearsal")
        check.share("hindsight")
        check.one_of("overlong", *OVERLONG)
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise UserError(
                    f"learner.objectives: there is no objective {name!r}; there are "
                    f"{', '.join(OBJECTIVES)}"
                )


class TrainState(NamedTuple):
    """What training changes.

    Attributes:
      trained: parameters that are optimised.
      averaged: their EMA; {} if none is kept.
      frozen: parameters left as they were loaded (see `model.adapters`).
      optimizer: optax's state.
      updates: [] int32. Updates made.
    """

    trained: dict
    averaged: dict
    frozen: dict
    optimizer: optax.OptState
    updates: jax.Array

    @property
    def searching(self) -> str:
        """The field with the parameters that search."""
        return "averaged" if self.averaged else "trained"

    @property
    def params(self) -> dict:
        """All of the network's, as it searches."""
        return adapters.join(getattr(self, self.searching), self.frozen)

    def arrays(self) -> dict:
        """What is saved of it, the parameters that search by themselves. What is frozen is not the
        run's own: it can be had again from where it came.
        """
        others = jax.tree.leaves(self._replace(**{self.searching: {}}, frozen={}))
        return {
            "params": getattr(self, self.searching),
            "optimizer": {f"{i:04d}": leaf for i, leaf in enumerate(others)},
        }

    @classmethod
    def from_arrays(cls, arrays: dict, like: "TrainState", frozen: dict) -> "TrainState":
        """The inverse of `arrays`."""
        leaves = [leaf for _, leaf in sorted(arrays["optimizer"].items())]
        shape = jax.tree.structure(like._replace(**{like.searching: {}}, frozen={}))
        others = jax.tree.unflatten(shape, leaves)
        return others._replace(**{like.searching: arrays["params"]}, frozen=frozen)


class Learner:
    """Makes updates, on all devices of the layout; all state is in `TrainState`."""

    def __init__(
        self,
        network: Network,
        config: LearnerConfig,
        objectives: Mapping[str, Objective],
        optimizer_config: OptimizerConfig,
        warm_updates: int,
        round_updates: int,
        layout: Layout,
    ):
        if config.rows % layout.row_shards:
            raise UserError(
                f"learner.rows ({config.rows}) must be a multiple of the {layout.row_shards} parts "
                "that mesh.data and mesh.fsdp cut a batch into"
            )
        if optimizer_config.average and network.config.param_dtype != "float32":
            raise UserError(
                "optimizer.average keeps a mean that moves by small parts of its numbers, which "
                f"needs model.param_dtype=float32, not {network.config.param_dtype}; "
                "optimizer.average=0.0 goes without"
            )
        self.network, self.config, self._layout = network, config, layout
        self._average = optimizer_config.average
        size = config.rows, config.row_tokens, config.row_steps
        self.packer = Packer(*size, columns_of(objectives))
        self.optimizer = make_optimizer(optimizer_config, warm_updates, round_updates, layout)
        self._loss = functools.partial(loss, network, objectives=objectives)
        self._abstract = jax.eval_shape(self._init, network.abstract_params())
        self._shardings = layout.learning(self._abstract)
        self.update = jax.jit(
            self._update,
            donate_argnums=0,
            out_shardings=(self._shardings, layout.everywhere),
            compiler_options=compiler.options(layout.mesh),
        )

    def init(self, params: dict) -> TrainState:
        return jax.jit(self._init, out_shardings=self._shardings)(params)

    def abstract_state(self) -> TrainState:
        """Shapes of the state, and where its parts lie."""
        put = lambda x, sharding: x.update(sharding=sharding)  # noqa: E731
        return jax.tree.map(put, self._abstract, self._shardings)

    def compile(self) -> jax.stages.Compiled:
        """`update` by shapes alone, for devices that need not be there."""
        batch, _ = self.packer.pack(())
        shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._layout.rows)  # noqa: E731
        return self.update.lower(self.abstract_state(), jax.tree.map(shape, batch)).compile()

    def _init(self, params: dict) -> TrainState:
        trained, frozen = adapters.split(params, self.network.config)
        averaged = jax.tree.map(jnp.copy, trained) if self._average else {}
        return TrainState(trained, averaged, frozen, self.optimizer.init(trained), np.int32(0))

    def _update(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict]:
        """`update`: one update; returns the new state and the loss's parts with the gradient's
        norm. The old state's arrays are gone.
        """
        gradient, parts = self._gradient(state.trained, state.frozen, batch)
        changes, optimizer = self.optimizer.update(gradient, state.optimizer, state.trained)
        figures = {
            name: total / jnp.maximum(weight, 1e-6) for name, (total, weight) in parts.items()
        }
        figures["gradient_norm"] = optax.tree.norm(gradient)
        trained = optax.apply_updates(state.trained, changes)
        averaged = state.averaged
        if self._average:
            newest = jnp.maximum(1 - self._average, 1 / (state.updates + 1.0))
            averaged = optax.incremental_update(trained, averaged, newest)
        return TrainState(trained, averaged, state.frozen, optimizer, state.updates + 1), figures

    def _gradient(self, trained: dict, frozen: dict, batch: Batch) -> tuple[dict, dict]:
        """Of the loss, by what is trained; and the loss's parts."""
        layout = self._layout

        def gradient(trained, frozen, batch, where=None):
            def loss_of(trained):
                return self._loss(adapters.join(trained, frozen), batch, where=where)

            (_, parts), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
            return gradient, parts

        if layout.row_shards == 1 or not layout.weights_lie_whole:
            return gradient(trained, frozen, batch, where=layout.rows)  # XLA cuts the work
        everywhere, rows = layout.everywhere.spec, layout.rows.spec
        return jax.shard_map(
            lambda *own: _mean(gradient(*own), axes=rows[0]),
            mesh=layout.mesh,
            in_specs=(everywhere, everywhere, rows),
            out_specs=everywhere,
            check_vma=False,
        )(trained, frozen, batch)

    def batches(
        self,
        replay: Replay,
        plays: WarmStart,
        updates: int,
        rng: Callable[[int], np.random.Generator],
    ) -> Batches:
        """Of a phase of so many updates; `rng` is the randomness of one (see `Batches`)."""
        rehearsal = self.config.rehearsal
        return Batches(self.packer, self._layout, replay, plays, rehearsal, updates, rng)


def _mean(tree: Any, axes: tuple[str, ...]) -> Any:
    """Over the devices along these axes of the mesh. All small arrays are told at once: processes
    on CPUs tell each other one after the other, and each waits for the slower one.
    """
    leaves, structure = jax.tree.flatten(tree)
    small = [leaf for leaf in leaves if leaf.size <= _SMALL]
    together, parted = ravel_pytree(small)
    small_means = iter(parted(jax.lax.pmean(together, axes)))
    means = [
        next(small_means) if leaf.size <= _SMALL else jax.lax.pmean(leaf, axes) for leaf in leaves
    ]
    return jax.tree.unflatten(structure, means)
