"""GSM8K from Llama 3.1 8B: supervised warm start, then search with a verifier, training adapters alone.

    python -m expert_iter.train --config=configs/gsm8k_llama3_8b.py --workdir=runs/gsm8k_llama3_8b \
        --config.task.data_dir=DIR --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published meta-llama/Llama-3.1-8B.
Meant for one GPU of 80 GB. The memory it plans with, by the published shapes (1 GB is 10^9
bytes, bfloat16 where nothing else is said; 128 KiB of keys and values a token: 32 layers · 2 · 8 KV
heads · 128 · 2 bytes):

    weights    8.03B parameters                                                16.1 GB
    adapters   41.9M in float32, their gradient and Adam's two moments          0.7 GB
    search     pages: 32 problems · 17 pages · 64 tokens                      4.6 GB
               prompts: 32 · 256 tokens                                      1.1 GB
               prefixes side by side: 32 · (256 + 10 · 64) tokens, twice     7.5 GB
               candidates: the same and 4 · 64 tokens, twice                 9.7 GB
    samples    in evaluation, 32 · (256 + 8 · 320) tokens, twice           23.6 GB
    learner    4,096 tokens · 5.8 MB: what each layer keeps for its gradient  23.6 GB
               logits: 4,096 · 128,256 in float32, three at once              6.3 GB

Search, samples and learner follow each other: the most is 47 GB, in learning.
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

    config.warm_start.updates = 750
    config.learner.rows = 4
    config.learner.row_tokens = 1024
    config.learner.row_steps = 64
    config.learner.updates_per_round = 100
    config.learner.rehearsal = 0.3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-4
    config.optimizer.round_learning_rate = 1e-4
    config.optimizer.weight_decay = 0.0

    config.run.rounds = 4
    config.run.problems_per_round = 1024
    config.run.batch_size = 32

    config.evaluation.problems = 512
    config.evaluation.batch_size = 32
    config.evaluation.num_candidates = 4
    config.evaluation.round_problems = 128
    config.evaluation.round_simulations = 16
    config.evaluation.samples = (8,)
    config.evaluation.simulations = (16,)
    return config
