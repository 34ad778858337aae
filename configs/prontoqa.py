"""PrOntoQA of five hops on two CPU cores: proofs found by search, from random legal play.

    python -m expert_iter.train --config=configs/prontoqa.py --workdir=runs/prontoqa

All problems are made from a seed. With --config.task.data_dir=DIR the published problems are the
test; DIR holds prontoqa_dev.json. For other lengths add --config.task.min_hops=1 and
--config.task.max_hops=12; with more than 5 hops also double search.max_steps, learner.row_tokens
and learner.row_steps.

0.58M parameters. It has no score yet.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("prontoqa")
    config.model.num_layers = 4
    config.model.width = 128
    config.warm_start.updates = 600
    config.search.max_steps = 18  # 16 facts can be derived at most
    config.search.max_step_tokens = 6
    config.search.num_simulations = 24
    config.search.num_candidates = 4
    config.guess.max_tokens = 80
    config.improved.value_scale = 0.2
    config.learner.rows = 16
    config.learner.row_tokens = 192  # the longest problem with its solution: about 160
    config.learner.row_steps = 32
    config.learner.updates_per_round = 240
    config.learner.rehearsal = 0.12
    config.optimizer.round_learning_rate = 1.5e-3
    config.optimizer.average = 0.98
    config.run.rounds = 8
    config.run.problems_per_round = 512
    config.evaluation.num_candidates = 4
    config.evaluation.simulations = (8, 24)
    config.evaluation.round_problems = 128
    return config
