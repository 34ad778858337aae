"""Published weights in this program and in the library transformers: do both compute the same?

    pip install -e '.[bench,gguf]'
    python benchmarks/parity.py --weights=weights/smollm2 --svamp=data/svamp --gsm8k=data/gsm8k \
        [--out=FILE]

In float32, with prompts by the model's chat template:

* logits of 64 prompts, at every place;
* greedy texts of 200 questions, of at most 128 tokens. Where two differ, the gap between the two
  tokens' logits is shown: a tie is decided by rounding;
* the tokens of 10,000 lines of the data;
* logits of weights that were exported, by transformers.

Prints a JSON object of the figures.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from torch_peer import padded

from expert_iter import cli
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.transformer import Network, causal_mask
from expert_iter.model.weights import pretrained
from expert_iter.model.weights.export import export
from expert_iter.pod.mesh import one_device
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.guess import Guess, GuessConfig
from expert_iter.search.player import Player
from expert_iter.tasks import load_task

PROMPTS, QUESTIONS, LINES, TOKENS = 64, 200, 10_000, 128
BATCH = 25


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def questions_of(arguments) -> list:
    """As many of the test split of SVAMP as of that of GSM8K."""
    found = []
    for name, folder in (("svamp", arguments.svamp), ("gsm8k", arguments.gsm8k)):
        template = str(Path(arguments.weights, "tokenizer_config.json"))
        given = {"data_dir": folder, "prompt": "chat", "chat_template": template}
        problems = load_task(name, given).problems("test")[: QUESTIONS // 2]
        found += [problem.question for problem in problems]
    return found


def lines_of(arguments) -> list[str]:
    """Of the training files, as they are."""
    train = Path(arguments.gsm8k, "train.jsonl").read_text().splitlines()
    texts = [text for line in train for text in json.loads(line).values()]
    for record in json.loads(Path(arguments.svamp, "SVAMP.json").read_text()):
        texts += [str(value) for value in record.values()]
    return [line for text in texts for line in text.splitlines()][:LINES]


@functools.partial(jax.jit, static_argnums=0)
def logits(network: Network, params, token_T):
    T = len(token_T)
    mask = causal_mask(jnp.ones((1, T), bool))
    hidden, _ = network.hidden(params, token_T[None], jnp.arange(T)[None], mask)
    return network.logits(params, hidden)[0]


def apart(network: Network, params, model, prompts: list[list[int]]) -> float:
    """The largest difference of logits, over all places of the prompts and all pieces."""
    size = max(map(len, prompts))
    largest = 0.0
    for n, prompt in enumerate(prompts):
        if n % 16 == 0:
            say(f"logits {n}/{len(prompts)}")
        tokens = np.pad(prompt, (0, size - len(prompt)))
        ours = np.asarray(logits(network, params, tokens))[: len(prompt)]
        theirs = model(torch.tensor([prompt])).logits[0].numpy()
        largest = max(largest, float(np.abs(ours - theirs).max()))
    return largest


def our_texts(network: Network, params, tokenizer, questions) -> list[list[int]]:
    sampler = SamplerConfig(temperature=0.0, replacement=True)
    steps = StepEnds(tokenizer, "line", network.vocab_size)
    guess = Guess(network, GuessConfig(num_samples=1, max_tokens=TOKENS), sampler, steps)
    player, texts = Player(guess, tokenizer, BATCH, one_device()), []
    for i in range(0, len(questions), BATCH):
        say(f"our texts {i}/{len(questions)}")
        drawn = player.play(params, questions[i : i + BATCH], jax.random.key(0), 1).candidates
        pairs = zip(drawn.token[:, 0, 0].tolist(), drawn.length[:, 0, 0].tolist(), strict=True)
        texts += [token[:length] for token, length in pairs]
    return texts


def their_texts(model, prompts: list[list[int]], ends: set[int]) -> list[list[int]]:
    model.generation_config.eos_token_id = sorted(ends)
    texts = []
    for i in range(0, len(prompts), BATCH):
        say(f"their texts {i}/{len(prompts)}")
        ids, mask = padded([np.array(prompt) for prompt in prompts[i : i + BATCH]])
        written = model.generate(
            ids, attention_mask=mask, do_sample=False, max_new_tokens=TOKENS, pad_token_id=0
        )
        for row in written[:, ids.shape[1] :].tolist():
            end = next((n + 1 for n, token in enumerate(row) if token in ends), len(row))
            texts.append(row[:end])
    return texts


def gap(network: Network, params, prompt: list[int], ours: list[int], theirs: list[int]) -> dict:
    """Where two texts part: the place, both tokens, and by how much the logits differ."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    tokens = np.pad([*prompt, *ours[:at]], (0, len(prompt) + TOKENS))[: len(prompt) + TOKENS]
    here = np.asarray(logits(network, params, tokens))[len(prompt) + at - 1]
    first, second = np.sort(here)[::-1][:2]
    return {"place": at, "gap of logits": float(first - second)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--svamp", required=True)
    parser.add_argument("--gsm8k", required=True)
    parser.add_argument("--out", default="")
    arguments = parser.parse_args()
    cli.quiet()
    torch.set_grad_enabled(False)

    folder = Path(arguments.weights)
    tokenizer = load_tokenizer(folder)
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    config = pretrained.transformer_config(folder, "float32")
    network = Network(config, pretrained.vocab_size(folder))
    params = pretrained.load_params(folder, network)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    questions = questions_of(arguments)
    prompts = [tokenizer.encode_prompt(question.prompt) for question in questions]
    say("tokens of lines")
    lines = lines_of(arguments)
    same = [tokenizer.encode(x) == peer(x, add_special_tokens=False).input_ids for x in lines]
    figures = {
        "weights": folder.name,
        "logits, largest difference": apart(network, params, model, prompts[:PROMPTS]),
        "lines": len(lines),
        "lines with the same tokens": sum(same),
    }

    ours = our_texts(network, params, tokenizer, questions)
    theirs = their_texts(model, prompts, set(tokenizer.ids.ends))
    differ = [i for i in range(len(questions)) if ours[i] != theirs[i]]
    figures |= {
        "texts": len(questions),
        "equal texts": len(questions) - len(differ),
        "tokens": sum(map(len, ours)),
        "where the others differ": [
            gap(network, params, prompts[i], ours[i], theirs[i]) for i in differ
        ],
    }

    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "exported")
        export(params, config, network.vocab_size, out)
        exported = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
        text = torch.tensor([prompts[0]])
        difference = (exported.eval()(text).logits - model(text).logits).abs().max()
        figures["exported, largest difference"] = float(difference)

    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
