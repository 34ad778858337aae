"""GSM8K from Gemma 2 2B: supervised warm start, then search with a verifier, training adapters alone.

    python -m expert_iter.train --config=configs/gsm8k_gemma2_2b.py --workdir=runs/gsm8k_gemma2_2b \
        --config.task.data_dir=DIR --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published google/gemma-2-2b.
Meant for one GPU of 40 GB. The memory it plans with, by the published shapes (1 GB is 10^9
bytes, bfloat16 where nothing else is said; 104 KiB of keys and values a token: 26 layers · 2 · 4 KV
heads · 256 · 2 bytes):

    weights    2.61B parameters                                                 5.2 GB
    adapters   20.8M in float32, their gradient and Adam's two moments          0.3 GB
    search     pages: 16 problems · 17 pages · 64 tokens                      1.9 GB
               prompts: 16 · 256 tokens                                      0.4 GB
               prefixes side by side: 16 · (256 + 10 · 64) tokens, twice     3.1 GB
               candidates: the same and 4 · 64 tokens, twice                 3.9 GB
    samples    in evaluation, 16 · (256 + 8 · 320) tokens, twice            9.6 GB
    learner    2,048 tokens · 2.9 MB: what each layer keeps for its gradient   6.0 GB
               logits: 2,048 · 256,000 in float32, four at once               8.4 GB

Search, samples and learner follow each other: the most is 20 GB, in learning.
None of this has run on such hardware, and time, memory and accuracy were not measured: a test runs
the same structure with small widths on a CPU. If memory runs out, halve run.batch_size and
evaluation.batch_size, or learner.rows.
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("gsm8k")
    config.model.dtype = "bfloat16"
    config.model.param_dtype = "bfloat16"
    config.model.lora_rank = 16
    config.model.lora_alpha = 32.0

    config.search.max_steps = 10
    config.search.max_step_tokens = 64
    config.search.num_candidates = 4
    config.search.num_simulations = 16
    config.guess.max_tokens = 320
    config.guess.num_samples = 8

    config.warm_start.updates = 1500
    config.learner.rows = 2
    config.learner.row_tokens = 1024
    config.learner.row_steps = 64
    config.learner.updates_per_round = 200
    config.learner.rehearsal = 0.3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-4
    config.optimizer.round_learning_rate = 1e-4
    config.optimizer.weight_decay = 0.0

    config.run.rounds = 4
    config.run.problems_per_round = 1024
    config.run.batch_size = 16

    config.evaluation.problems = 512
    config.evaluation.batch_size = 16
    config.evaluation.num_candidates = 4
    config.evaluation.round_problems = 128
    config.evaluation.round_simulations = 16
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (16,)
    return config
