"""Imports a GGUF file, llama.cpp's format, as a directory in the Hugging Face layout.

    python -m expert_iter.import_gguf --gguf=SmolLM2-135M-Instruct.Q4_1.gguf --out=weights/smollm2

Quantised weights are dequantised. The directory holds the weights, the config, and the tokenizer
with its special tokens and chat template. A run can start from it with
--config.pretrained.directory=weights/smollm2, and transformers can load it.
"""

from pathlib import Path

from absl import flags

from expert_iter import cli
from expert_iter.errors import UserError

flags.DEFINE_string("gguf", "", "The file.")
flags.DEFINE_string("out", "", "The directory to write, which must be new or empty.")
flags.DEFINE_enum(
    "dtype",
    "float32",
    ("float32", "bfloat16"),
    "The type of the weights: float32 is exact, bfloat16 takes half of the space.",
)


def main() -> None:
    given = flags.FLAGS
    for flag, example in (("gguf", "model.gguf"), ("out", "weights/smollm2")):
        if not given[flag].value:
            raise UserError(f"--{flag} is missing: name one, as in --{flag}={example}")

    from expert_iter.model.weights.gguf_import import import_gguf
    from expert_iter.model.weights.pretrained import family_name

    out = Path(given.out).expanduser()
    config = import_gguf(Path(given.gguf).expanduser(), out, given.dtype)
    layers = f"{config.num_layers} layers of width {config.width}"
    print(f"{out} holds a {family_name(out)} model of {layers} in {given.dtype}, and its tokenizer")


def run() -> None:
    cli.run(main, None)


if __name__ == "__main__":
    run()
