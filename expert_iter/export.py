"""Exports a run's network as a directory in the Hugging Face layout.

    python -m expert_iter.export --workdir=runs/gsm8k_llama3_8b --out=exported

transformers can load it. Adapters are merged into the weights, whose type is model.param_dtype. The
directory also holds the tokenizer's files, and the value head, which transformers ignores. A new
run can start from it: --config.pretrained.directory=exported.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from expert_iter import cli
from expert_iter.errors import UserError

flags.DEFINE_string("checkpoint", "last", cli.CHECKPOINT)
flags.DEFINE_string("out", "", "The directory to write, which must be new or empty.")
flags.DEFINE_string(
    "family",
    "",
    "The architecture in config.json, such as gemma2 or llama; by default that of the pretrained "
    "weights, else the first that has all of the network's options.",
)

# Files of a published checkpoint that describe its tokenizer, chat template and generation.
TEXT_FILES = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.*",
)
# Keys of config.json beside the network's shape.
TOKEN_KEYS = ("max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")


def main(config: ConfigDict, workdir: Path) -> None:
    from expert_iter.config import settings

    checked = settings(config)
    if not flags.FLAGS.out:
        raise UserError("--out is missing: name a directory, as in --out=exported")
    out = Path(flags.FLAGS.out).expanduser()

    import dataclasses

    import jax

    from expert_iter.assembly import assemble
    from expert_iter.load import load_params
    from expert_iter.model import adapters
    from expert_iter.model.weights.export import export, require_free
    from expert_iter.model.weights.pretrained import family_name

    require_free(out)  # before reading gigabytes
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
    """The `TOKEN_KEYS` in the config.json of the pretrained weights in `directory`."""
    from expert_iter.model.json_file import read_json
    from expert_iter.model.weights.family_configs import text_part
    from expert_iter.model.weights.pretrained import CONFIG

    published = text_part(read_json(Path(directory, CONFIG)))
    return {key: published[key] for key in TOKEN_KEYS if key in published}


def own_keys(tokenizer) -> dict:
    """Those of a network trained from scratch; nothing bounds its positions."""
    ids = tokenizer.ids
    return {"bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad}


def text_files(workdir: Path, source: str, name: str) -> list[Path]:
    """The files about the tokenizer to copy. A published file replaces the run's of the same name.

    Args:
      source: the published tokenizer, a file or a directory; '' if there is none.
      name: of the run's tokenizer file in `workdir`.
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
