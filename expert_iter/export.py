"""Writes a run's network as a directory in the Hugging Face layout.

    python -m expert_iter.export --workdir=runs/gsm8k_llama3_8b --out=exported

transformers loads it. Adapters are merged into the weights, which are written in model.param_dtype;
beside them are the tokenizer's files, and the value head, which transformers does not read. A later
run can start from the directory: --config.pretrained.directory=exported.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli

flags.DEFINE_string("checkpoint", "last", cli.CHECKPOINT)
flags.DEFINE_string("out", "", "The directory to write; it must be new, or empty.")
flags.DEFINE_string(
    "family",
    "",
    "What config.json calls the architecture, such as gemma2 or llama; by default that of the "
    "weights that the run began with, else the first that has all of the network's options.",
)

# What a checkpoint's folder says of its tokenizer and of how texts are written.
TEXT_FILES = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.*",
)
# What config.json says beside the network's shape.
KEPT_KEYS = ("max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")


def main(config: ConfigDict, workdir: Path) -> None:
    from expert_iter.config import settings
    from expert_iter.errors import UserError

    checked = settings(config)
    if not flags.FLAGS.out:
        raise UserError("--out is missing: say where to write, as in --out=exported")
    out = Path(flags.FLAGS.out).expanduser()

    import dataclasses

    import jax

    from expert_iter.assembly import assemble
    from expert_iter.load import load_params
    from expert_iter.model import adapters
    from expert_iter.model.weights.export import export, require_free
    from expert_iter.model.weights.pretrained import family_name

    require_free(out)  # before gigabytes are read
    parts = assemble(checked, workdir)
    params = load_params(workdir, parts, flags.FLAGS.checkpoint)
    began = checked.pretrained.directory
    if checked.model.lora_rank:
        params = jax.jit(adapters.merge, static_argnums=1, donate_argnums=0)(params, checked.model)
    family = export(
        params,
        dataclasses.replace(checked.model, lora_rank=0),
        parts.network.vocab_size,
        out,
        flags.FLAGS.family or (family_name(began) if began else ""),
        published_keys(began) if began else own_keys(parts.tokenizer),
        text_files(workdir, checked.tokenizer.model_file or began, parts.tokenizer.file_name),
    )
    size = sum(x.size for x in jax.tree.leaves(params))
    merged = ", adapters merged" if checked.model.lora_rank else ""
    print(
        f"{out} holds a {family} model of {size / 1e6:.2f}M parameters in "
        f"{checked.model.param_dtype}{merged}, its tokenizer and its value head"
    )


def published_keys(directory: str) -> dict:
    """What the config.json that the run began with says beside the network's shape."""
    from expert_iter.model.weights.family_configs import text_part
    from expert_iter.model.weights.pretrained import CONFIG
    from expert_iter.model.weights.tensor_files import read_json

    their = text_part(read_json(Path(directory, CONFIG)))
    return {key: their[key] for key in KEPT_KEYS if key in their}


def own_keys(tokenizer) -> dict:
    """The same of a network from scratch: there is no bound on its positions to tell."""
    ids = tokenizer.ids
    return {"bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad}


def text_files(workdir: Path, source: str, name: str) -> list[Path]:
    """The run's tokenizer file `name`, and those beside the published tokenizer `source` ('': there
    is none), which are as published where both have one.
    """
    files = {name: workdir / name}
    if source:
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        files |= {file.name: file for names in TEXT_FILES for file in sorted(folder.glob(names))}
    return list(files.values())


def run() -> None:
    cli.run(main, cli.FROM_WORKDIR)


if __name__ == "__main__":
    run()
