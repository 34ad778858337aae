"""GSM8K from Llama 3.1 8B: supervised warm start, then search. Trains LoRA adapters only.

    python -m expert_iter.train --config=configs/gsm8k_llama3_8b.py --workdir=runs/gsm8k_llama3_8b \
        --config.task.data_dir=DIR --config.pretrained.directory=WEIGHTS

DIR holds the published train.jsonl and test.jsonl, WEIGHTS the published meta-llama/Llama-3.1-8B.

For one GPU of 80 GB. Memory by the published shapes, in GB of 10^9 bytes. Numbers are bfloat16
unless noted. A token has 128 KiB of keys and values
(32 layers · 2 · 8 heads · 128 · 2 bytes):

    weights  8.03B parameters                                                            16.1
    adapters 41.9M, in float32 with their gradient and Adam's two moments                 0.7
    learning 4,096 tokens · 5.8 MB that layers keep for the gradient                     23.6
             logits, 4,096 · 128,256, in float32                                          2.1
    search   pages, 32 problems · 17 pages · 64 tokens                                    4.6
             prompts, 32 · 256 tokens                                                     1.1
             prefix and candidates side by side, 32 · (256 + 10 · 64 + 4 · 64) tokens     4.8
    samples  in evaluation, 32 · (256 + 8 · 320) tokens                                  11.8

Learning, search and samples alternate. Learning needs the most, so the total with weights and
adapters is 42 GB. XLA's buffer assignment, compiled for a CPU in float32, agrees within 8%. If
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

    config.warm_start.updates = 750
    config.improved.value_scale = 0.2
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
