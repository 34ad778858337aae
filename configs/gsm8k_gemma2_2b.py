"""GSM8K from Gemma 2 2B: supervised warm start, then search. Trains LoRA adapters only.

    python -m expert_iter.train --config=configs/gsm8k_gemma2_2b.py --workdir=runs/gsm8k_gemma2_2b \
        --config.task.data_dir=DIR --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published google/gemma-2-2b.

For one GPU of 40 GB. Memory by the published shapes, in GB of 10^9 bytes. Numbers are bfloat16
unless noted. A token has 104 KiB of keys and values
(26 layers · 2 · 4 heads · 256 · 2 bytes):

    weights  2.61B parameters                                                             5.2
    adapters 20.8M, in float32 with their gradient and Adam's two moments                 0.3
    learning 3,072 tokens · 2.9 MB that layers keep for the gradient                      9.0
             logits, 3,072 · 256,000, three at once, in float32                           9.4
    search   pages, 32 problems · 17 pages · 64 tokens                                    3.7
             prompts, 32 · 256 tokens                                                     0.9
             prefix and candidates side by side, 32 · (256 + 10 · 64 + 4 · 64) tokens     3.9
    samples  in evaluation, 32 · (256 + 8 · 320) tokens                                   9.6

Learning, search and samples alternate. Learning needs the most, so the total with weights and
adapters is 24 GB. XLA's buffer assignment, compiled for a CPU in float32, agrees within 8%. If
memory runs out, halve learner.rows, or run.batch_size and evaluation.batch_size.

Not run on such a GPU: time and accuracy are unknown. A test runs the same structure at a small
width.
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

    config.warm_start.updates = 1000
    config.improved.value_scale = 0.2
    config.learner.rows = 3
    config.learner.row_tokens = 1024
    config.learner.row_steps = 64
    config.learner.updates_per_round = 130
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
