"""What a run will need, by its settings alone: memory by part and phase, and FLOPs a round.

It is arithmetic on shapes (`plan_search`, `plan_learn` have the formulas), for as many devices as
one likes, none of which need be there. A phase holds what its own program needs and what waits on
the device meanwhile. Left out: what the runtime keeps for itself, padding of arrays to a device's
tiles, and that CPUs compute bfloat16 in float32. On CPUs a phase is that of the process, with what
it keeps for itself (`plan.cpus`).
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np

from expert_iter.config import Settings
from expert_iter.errors import UserError
from expert_iter.learn.learner import Learner, TrainState
from expert_iter.learn.lessons import columns_of
from expert_iter.learn.objectives import heads_of, make_objectives
from expert_iter.measure.evaluator import evaluated
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.transformer import Network
from expert_iter.plan.cpus import of_process
from expert_iter.plan.learn import update_parts
from expert_iter.plan.parts import WAITING, Part, Phase, held_bytes
from expert_iter.plan.search import SearchMemory
from expert_iter.pod.mesh import GATHERED, TENSOR_PARALLEL, Layout
from expert_iter.search import experts
from expert_iter.search.bill import price
from expert_iter.search.expert import Expert
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.player import padded_length
from expert_iter.tasks import load_task

CONTROLS = 4  # pieces of a trained tokenizer beside its symbols: pad, begin, end, unknown
# Ends of steps, of which shapes do not depend. Observations of worlds are not planned for.
_NO_TEXT = SimpleNamespace(ids=None, answered=False)
_MOST_DEVICES = 4096
_STEP_BYTES = 8  # of a step in a `StepTree`, beside its columns: its length and its parent


class Plan(NamedTuple):
    """parameters, and how many of them are trained; the mesh; phases: memory of one device;
    replay_bytes: at most, on all hosts together; FLOPs of a round, at most: every simulation made,
    every step at its full length, every update made.
    """

    parameters: int
    trained: int
    mesh: dict[str, int]
    phases: tuple[Phase, ...]
    replay_bytes: float
    search_flops: float
    learning_flops: float


def plan(settings: Settings, devices: int, prompt_tokens: int, cpus: int = 0) -> Plan:
    """The needs of a run.

    Args:
      devices: in all.
      prompt_tokens: of the longest prompt.
      cpus: on CPUs, the devices of one process. A phase is then what the process holds.

    Raises:
      UserError: the mesh does not suit the devices, or the batch the mesh.
    """
    s, prompt = settings, padded_length(prompt_tokens)
    layout = Layout(s.mesh, devices)
    objectives = make_objectives(s.learner.objectives, s.objectives)
    network = Network(s.model, vocab_size(s), heads_of(objectives))
    learner = Learner(network, s.learner, objectives, s.optimizer, 1, 1, layout)
    state = learner.abstract_state()
    muon = s.optimizer.name == "muon"
    learning = Phase(
        "learning",
        tuple(update_parts(network, layout, s.learner, state, muon, on_cpu=cpus > 0)),
        ("learner.rows", "learner.row_tokens", "model.param_dtype", "mesh.fsdp"),
    )
    phases = (learning, *_searches(s, network, layout, state, prompt, on_cpu=cpus > 0))
    if cpus:
        phases = tuple(of_process(phase, cpus) for phase in phases)
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))  # noqa: E731
    trained, frozen = size(state.trained), size(state.frozen)
    updates = s.learner.updates_per_round
    return Plan(
        trained + frozen,
        trained,
        dict(layout.mesh.shape),
        phases,
        _replay_bytes(s),
        s.run.problems_per_round * _problem_flops(s, network, prompt),
        # Two forward, two to pass gradients on, two for the gradients of what is trained.
        (6 * trained + 4 * frozen) * updates * s.learner.rows * s.learner.row_tokens,
    )


def vocab_size(s: Settings) -> int:
    """Of the network, as `assemble` makes it; but of a task whose tokenizer is only its symbols,
    without the characters of its texts.
    """
    if known := s.pretrained.vocab_size or s.tokenizer.vocab_size:
        return known
    if s.tokenizer.model_file:
        return load_tokenizer(s.tokenizer.model_file).vocab_size
    symbols = load_task(s.task_name, dataclasses.asdict(s.task)).symbols()
    if not symbols:
        raise UserError(
            f"{s.task_name} has no vocabulary of its own: set tokenizer.vocab_size or "
            "pretrained.vocab_size"
        )
    return CONTROLS + len(dict.fromkeys([*symbols, "\n"]))


def needed_devices(s: Settings) -> int:
    """That the mesh wants, or can do with."""
    return max(s.mesh.data, 1) * s.mesh.fsdp * s.mesh.tensor


def remedies(
    settings: Settings, devices: int, prompt_tokens: int, phase: str, limit: float, cpus: int = 0
) -> list[str]:
    """Single changes with which a phase fits into `limit` bytes: `key=value`."""
    phases = plan(settings, devices, prompt_tokens, cpus).phases
    wanted = next(p for p in phases if p.name == phase)
    return [
        text
        for key in wanted.settings
        if (text := _remedy(settings, devices, prompt_tokens, phase, limit, cpus, key))
    ]


def _remedy(settings, devices, prompt_tokens, phase, limit, cpus, key) -> str:
    def fits(value, devices=devices) -> bool:
        try:
            tried = plan(_with(settings, key, value), devices, prompt_tokens, cpus)
        except UserError:  # such as rows that the mesh cannot cut
            return False
        return next(p for p in tried.phases if p.name == phase).bytes <= limit

    now = _get(settings, key)
    if key == "mesh.fsdp":
        for more in _doubled(_MOST_DEVICES // devices):
            if fits(now * more, devices * more):
                return f"{key}={now * more} on {devices * more} devices"
        return ""
    if key in ("mesh.search", "model.param_dtype"):
        other = {"mesh.search": TENSOR_PARALLEL, "model.param_dtype": "bfloat16"}[key]
        return f"{key}={other}" if other != now and fits(other) else ""
    unit = Layout(settings.mesh, devices).row_shards if key == "learner.rows" else 1
    most = _last(range(1, math.ceil(now / unit)), lambda number: fits(number * unit))
    return f"{key}={most * unit}" if most else ""


def _last(numbers: range, holds) -> int:
    """The last for which something holds that holds for all before it; 0 where it never does."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if holds(numbers[middle]) else (low, middle)
    return numbers[low - 1] if low else 0


def _doubled(most: int) -> Iterator[int]:
    factor = 2
    while factor <= most:
        yield factor
        factor *= 2


def _get(settings: Settings, key: str):
    section, name = key.split(".")
    return getattr(getattr(settings, section), name)


def _with(settings: Settings, key: str, value) -> Settings:
    section, name = key.split(".")
    changed = dataclasses.replace(getattr(settings, section), **{name: value})
    return dataclasses.replace(settings, **{section: changed})


def _expert(s: Settings, network: Network, name: str):
    return experts.build(name, network, ExpertSettings(s.search, s.sampler, s.guess), _NO_TEXT)


def _searches(
    s: Settings, network: Network, layout: Layout, state: TrainState, prompt: int, on_cpu: bool
) -> Iterable[Phase]:
    """Of self-play and of the evaluation, with the learner's state waiting."""
    rest = {"optimizer": state.optimizer}
    waiting = Part(WAITING, held_bytes(rest, layout.learning(rest)))
    anyhow = ("mesh.search",) * (s.mesh.search == GATHERED and s.mesh.tensor > 1)
    anyhow += ("model.param_dtype", "mesh.fsdp")

    def phase(
        name: str, expert: str, batch_size: int, given: Settings, settings, in_flight: int = 0
    ) -> Phase:
        made = _expert(given, network, expert)
        rows = -(-batch_size // layout.search_shards)
        memory = SearchMemory(network, layout, rows, prompt, on_cpu)
        if made.shares_draws:
            parts = memory.guesses(made.config, made.sampler.replacement)
        else:
            parts = memory.tree_search(made.config, in_flight)
        return Phase(f"{name} by {expert}", (waiting, *parts), (*settings, *anyhow))

    for name, expert in s.run.searchers.items():
        shares_draws = _expert(s, network, expert).shares_draws
        budget = "guess.num_samples" if shares_draws else "search.num_simulations"
        smaller = ("run.batches_in_flight",) * (not shares_draws) + ("run.batch_size", budget)
        yield phase(name, expert, s.run.batch_size, s, smaller, s.run.batches_in_flight)
    e = s.evaluation
    own = evaluated(ExpertSettings(s.search, s.sampler, s.guess), e)
    given = dataclasses.replace(s, search=own.search, guess=own.guess)
    for expert in dict.fromkeys(("mcts", "samples", s.run.expert)):
        yield phase("evaluation", expert, e.batch_size, given, ("evaluation.batch_size",))


def _problem_flops(s: Settings, network: Network, prompt: int) -> float:
    """Of the search of one problem, at most: nothing is solved before the last expert has tried."""
    return sum(_expert_flops(s, network, prompt, name) for name in s.run.searchers.values())


def _expert_flops(s: Settings, network: Network, prompt: int, name: str) -> float:
    expert = _expert(s, network, name)
    c, read = expert.config, prompt
    generated = generated_tokens(expert, expert.most)
    if expert.shares_draws:
        longest = c.max_tokens
    else:
        longest = c.max_steps * c.max_step_tokens
        read += c.num_simulations * c.max_step_tokens
        if c.rollouts:
            read += (c.width + c.num_simulations * c.num_candidates) * c.max_step_tokens
    context = prompt + longest / 2
    return float(price(network.config, network.vocab_size, generated, read, 0, context).flops)


def generated_tokens(expert: Expert, budget: int) -> int:
    """That an expert draws for a problem, if every step and every solution has its full length."""
    c = expert.config
    if expert.shares_draws:
        return c.num_samples * c.max_tokens
    candidates = c.width + budget * c.num_candidates
    rollouts = c.rollouts * (c.max_steps - 1) * c.max_step_tokens
    return candidates * (c.max_step_tokens + rollouts)


def _replay_bytes(s: Settings) -> float:
    """Of the window at the run's end: a problem leaves a tree of each expert, which fits a row of
    the learner.
    """
    problems = s.run.rounds * s.run.problems_per_round
    trees = min(s.replay.max_trees, problems * len(s.run.searchers))
    columns = columns_of(make_objectives(s.learner.objectives, s.objectives))
    step = _STEP_BYTES + sum(np.dtype(column.dtype).itemsize for column in columns)
    return trees * (s.learner.row_tokens * 4 + s.learner.row_steps * step)
