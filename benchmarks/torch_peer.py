"""A network of ours in the library transformers: the peer that tree search is measured against."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from expert_iter.model.state import read_prompt  # noqa: E402
from expert_iter.model.transformer import Network, causal_mask  # noqa: E402
from expert_iter.model.weights.pretrained import SCALAR_HEADS  # noqa: E402

PAD = 0


class Peer:
    """A network as transformers loads it, with the value head that lies beside it.

    Shapes: B prefixes of at most T tokens, K candidates each, of L tokens.
    """

    def __init__(self, directory: Path, candidates: int, tokens: int):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
        self.model.generation_config.eos_token_id = None  # nothing ends a text
        self._head = load_file(directory / SCALAR_HEADS)
        self._candidates = candidates
        self._sampling = dict(
            do_sample=True, top_k=0, max_new_tokens=tokens, return_dict_in_generate=True
        )

    def samples(self, prompts: torch.Tensor, tokens: int) -> torch.Tensor:
        """Texts `[B * K, P + tokens]` after prompts `[B, P]` of one length."""
        return self.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            num_return_sequences=self._candidates,
            **self._sampling | {"max_new_tokens": tokens},
        ).sequences

    def _value(self, hidden):
        return torch.sigmoid(hidden @ self._head["value_weight"] + self._head["value_bias"])

    def alone(self, prefix: torch.Tensor):
        """Texts `[K, T + L]` after one prefix `[1, T]`, and their values `[K]`."""
        texts = self.model.generate(
            prefix,
            attention_mask=torch.ones_like(prefix),
            num_return_sequences=self._candidates,
            **self._sampling,
        ).sequences
        return texts, self._value(self.model.model(texts, use_cache=False).last_hidden_state[:, -1])

    def together(self, prefix: torch.Tensor, mask: torch.Tensor):
        """Texts `[B * K, T + L]` after prefixes `[B, T]` padded on the left (mask 0), and their
        values `[B * K]`.
        """
        trunk, cache = self.model.model, transformers.DynamicCache(config=self.model.config)
        position = (mask.cumsum(-1) - 1).clamp(min=0)
        # All but the last token, which `generate` reads itself.
        trunk(
            prefix[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=position[:, :-1],
            past_key_values=cache,
        )
        cache.batch_repeat_interleave(self._candidates)
        mask = mask.repeat_interleave(self._candidates, dim=0)
        written = self.model.generate(
            prefix.repeat_interleave(self._candidates, dim=0),
            attention_mask=mask,
            past_key_values=cache,
            **self._sampling,
        )
        texts = written.sequences
        mask = torch.nn.functional.pad(mask, (0, texts.shape[1] - mask.shape[1]), value=1)
        last = trunk(
            texts[:, -1:],
            attention_mask=mask,
            position_ids=mask.sum(-1, keepdim=True) - 1,
            past_key_values=written.past_key_values,
        )
        return texts, self._value(last.last_hidden_state[:, -1])


def padded(prefixes: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prefixes padded on the left, and which tokens are real."""
    longest = max(map(len, prefixes))
    rows = [np.pad(p, (longest - len(p), 0), constant_values=PAD) for p in prefixes]
    mask = [np.arange(longest) >= longest - len(p) for p in prefixes]
    return torch.tensor(np.stack(rows)).long(), torch.tensor(np.stack(mask)).long()


def differences(network: Network, params, peer: Peer, prompts, prefixes) -> tuple[float, float]:
    """The largest differences, ours against theirs: of logits of the prompts, and of the values of
    texts that the peer wrote, both ways, after `prefixes` of several lengths.
    """
    B, P = prompts.shape
    position = jnp.broadcast_to(jnp.arange(P), (B, P))
    hidden, _ = network.hidden(params, prompts, position, causal_mask(jnp.ones((B, P), bool)))
    theirs = peer.model(torch.tensor(prompts).long()).logits.numpy()
    apart = float(np.abs(np.asarray(network.logits(params, hidden)) - theirs).max())

    ids, mask = padded(prefixes)
    texts, values = peer.together(ids, mask)
    first = len(values) // len(prefixes)
    starts = (ids.shape[1] - mask.sum(-1)).repeat_interleave(first)
    texts = [text[start:].numpy() for text, start in zip(texts, starts, strict=True)]
    values = [values.numpy()]
    for prefix in prefixes:
        more, value = peer.alone(torch.tensor(prefix).long()[None])
        texts += list(more.numpy())
        values.append(value.numpy())
    length = np.array([len(text) for text in texts])
    token = np.stack([np.pad(text, (0, length.max() - len(text))) for text in texts])
    state = read_prompt(network, params, jnp.asarray(token), jnp.asarray(length))
    mine = jax.nn.sigmoid(network.value_logit(params, state.hidden_BxD))
    return apart, float(np.abs(np.asarray(mine) - np.concatenate(values)).max())
