"""The blocks world with four blocks: plans of up to 12 moves, and a world that answers each.

    python -m expert_iter.train --config=configs/blocksworld.py --workdir=runs/blocksworld

0.42M parameters, 12 rounds of 1,024 problems. Every problem has a plan of at most 12 moves.

--config.task.problems_file=FILE.jsonl tests on PlanBench's instances, and keeps them out of
training.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("blocksworld")
    config.task.train_size = 3500
    config.model.rope_base = 100.0

    # A move is 5 tokens, the state behind it at most 9. The longest shortest plan has 12 moves.
    config.search.max_steps = 12
    config.search.max_step_tokens = 8
    # At most 4 moves are legal in a state.
    config.search.num_candidates = 4
    config.search.num_simulations = 32
    config.guess.max_tokens = 176

    config.warm_start.updates = 600
    config.improved.value_scale = 0.2
    config.learner.rows = 16
    config.learner.row_tokens = 256
    config.learner.row_steps = 64
    config.learner.updates_per_round = 240
    config.optimizer.round_learning_rate = 1.5e-3
    config.run.rounds = 12

    config.evaluation.simulations = (8, 16, 32, 64)
    config.evaluation.round_problems = 128
    return config
