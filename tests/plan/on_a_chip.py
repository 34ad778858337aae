"""Compiles a tiny run's programs for TPUs that are not there, each with a line on stdout.

    python -m tests.plan.on_a_chip v5e:2x2 mcts beam ...

The update learns all objectives. Experts are compiled as they are evaluated, and those of
`SELF_PLAY` also as they search in training.
"""

import sys
from types import SimpleNamespace

import jax

from expert_iter.assembly import Parts
from expert_iter.config import settings
from expert_iter.learn.objectives import OBJECTIVES, heads_of, make_objectives
from expert_iter.model.transformer import Network
from expert_iter.overrides import load_config
from expert_iter.plan import topology
from expert_iter.plan.programs import Pieces

SELF_PLAY = "mcts", "guess"  # the verifier judges within trees, or when all is drawn
PROMPT, VOCABULARY = 16, 64
TINY = {
    "mesh": dict(data=1, fsdp=2, tensor=2, search="tensor"),
    "model": dict(num_layers=2, width=16, num_heads=2, num_kv_heads=2, head_dim=8, mlp_width=32),
    "search": dict(
        num_simulations=3, num_candidates=3, root_candidates=0, max_steps=3, max_step_tokens=6
    ),
    "guess": dict(num_samples=4, max_tokens=12),
    "learner": dict(
        rows=4,
        row_tokens=64,
        row_steps=16,
        objectives=tuple(name for name in OBJECTIVES if name != "imitation"),
    ),
    "run": dict(batch_size=4),
    "evaluation": dict(
        batch_size=4,
        samples=(4,),
        simulations=(3,),
        num_candidates=3,
        root_candidates=0,
        round_samples=4,
        round_simulations=3,
    ),
}


def parts_of(devices, expert: str) -> Parts:
    config = load_config("configs/countdown.py")
    for section, values in TINY.items():
        for key, value in values.items():
            config[section][key] = value
    config.run.expert = expert
    s = settings(config)
    objectives = make_objectives(s.learner.objectives, s.objectives)
    network = Network(s.model, VOCABULARY, heads_of(objectives))
    task = SimpleNamespace(answer=None)
    return Parts(s, task, Pieces(VOCABULARY), network, objectives, devices)


def main(where: str, *experts: str) -> None:
    jax.config.update("jax_enable_compilation_cache", False)  # it is for devices that are there
    devices = topology.devices_of(where)
    parts = parts_of(devices, "mcts")
    learner, evaluator = parts.learner(), parts.evaluator()
    learner.compile()
    for objective in parts.objectives:
        print("objective", objective, flush=True)
    params = learner.abstract_state().params
    for expert in experts:
        evaluator.player(expert).compile(params, PROMPT)
        print("expert", expert, flush=True)
        if expert in SELF_PLAY:
            parts_of(devices, expert).player().compile(params, PROMPT)
            print("self-play", expert, flush=True)


if __name__ == "__main__":
    topology.set_environment()
    main(*sys.argv[1:])
