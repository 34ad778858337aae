"""GSM8K from scratch on two CPU cores: supervised warm start, one round of search, evaluation.

    python -m expert_iter.train --config=configs/gsm8k_small.py --workdir=runs/gsm8k \
        --config.task.data_dir=DIR

DIR holds the published train.jsonl and test.jsonl. For another text task, name it after a colon:
--config=configs/gsm8k_small.py:svamp, or :jsonl for your own files.

This shows a real data set end to end; it does not aim at accuracy. A network of 3.5M parameters
learns the form of solutions but no arithmetic: greedy 1.6%, MCTS 1.6%, pass@8 8.6% after 56
minutes. docs/results.md has the table.
"""

from expert_iter.config import default_config


def get_config(task="gsm8k"):
    config = default_config(task)
    config.tokenizer.vocab_size = 2048
    config.tokenizer.byte_fallback = True

    config.model.num_layers = 4
    config.model.width = 256
    config.model.num_heads = 8
    config.model.num_kv_heads = 2
    config.model.head_dim = 32
    config.model.mlp_width = 768

    config.search.max_steps = 10
    config.search.max_step_tokens = 64
    config.search.num_candidates = 4
    config.search.num_simulations = 12
    config.guess.max_tokens = 256
    config.guess.num_samples = 8

    config.warm_start.updates = 300
    config.improved.value_scale = 0.2
    config.learner.rows = 6
    config.learner.row_tokens = 640  # the longest problem with its solution: 596
    config.learner.row_steps = 64
    config.learner.updates_per_round = 60
    config.learner.rehearsal = 0.5
    config.optimizer.learning_rate = 3e-3
    config.optimizer.round_learning_rate = 5e-4

    config.run.rounds = 1
    config.run.problems_per_round = 256
    config.run.batch_size = 32

    config.evaluation.problems = 256
    config.evaluation.batch_size = 32
    config.evaluation.num_candidates = 4
    config.evaluation.round_problems = 64
    config.evaluation.round_simulations = 12
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (12,)
    return config
