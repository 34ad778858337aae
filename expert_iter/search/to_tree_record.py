"""Searched trees as records to be stored: see `storage.tree_record`."""

import itertools

import numpy as np

from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.self_play import Searched
from expert_iter.search.tree import SearchTree
from expert_iter.storage.tree_record import Steps, Summary, TreeRecord, flattened, to_bytes


def tree_records(searched: Searched, tokenizer: TextTokenizer) -> list[bytes]:
    """A record of each problem's tree, with the texts of its prompt and its steps."""
    if not searched.problems:  # as a process may have none of a batch
        return []
    arrays = flattened(searched.trees)
    steps = steps_of(searched.trees, tokenizer)
    nodes = searched.trees.live.sum(axis=1).tolist()
    records = []
    for b, problem in enumerate(searched.problems):
        summary = Summary(
            problem=problem.id,
            prompt=problem.prompt,
            expert=searched.expert,
            round=searched.round,
            unit=searched.unit,
            updates=searched.updates,
            solved=bool(steps[b].won.any()),
            nodes=nodes[b],
            best_value=float(steps[b].value.max(initial=0.0)),
        )
        own = {name: array[b] for name, array in arrays.items()}
        records.append(to_bytes(TreeRecord(summary, steps[b], own)))
    return records


def steps_of(trees: SearchTree, tokenizer: TextTokenizer) -> list[Steps]:
    """The steps of each tree (host arrays): all candidates of nodes that exist, by node and
    candidate.
    """
    c = trees.candidates
    there = c.valid & trees.live[..., None]  # [B, N, K]
    number = np.cumsum(there.reshape(len(there), -1), axis=1).reshape(there.shape) - 1
    rows = np.arange(len(there))[:, None]
    parent = number[rows, trees.parent, trees.action].astype(np.int32)  # [B, N]
    parent[:, 0] = -1
    prior = np.exp(c.prior_logit - c.prior_logit.max(axis=-1, keepdims=True))
    prior /= prior.sum(axis=-1, keepdims=True)
    columns = {
        "parent": np.broadcast_to(parent[..., None], there.shape),
        "prior": prior,
        "value": c.model_value,
        "q": trees.q,
        "visits": trees.visits,
        "finished": c.finished,
        "won": trees.won,
    }
    ends = np.cumsum(there.sum(axis=(1, 2)))[:-1]
    parts = {name: np.split(column[there], ends) for name, column in columns.items()}
    texts = _texts(c.token[there], c.length[there], tokenizer)
    starts = [0, *ends.tolist()]
    return [
        Steps(texts[a:b], **{name: part[row] for name, part in parts.items()})
        for row, (a, b) in enumerate(itertools.pairwise([*starts, len(texts)]))
    ]


def _texts(tokens: np.ndarray, lengths: np.ndarray, tokenizer: TextTokenizer) -> list[str]:
    """Each step's text; tokens: [S, L], lengths: [S]. Steps that are alike are decoded once."""
    steps = zip(tokens.tolist(), lengths.tolist(), strict=True)
    written = [tuple(step[:length]) for step, length in steps]
    distinct = list(dict.fromkeys(written))
    texts = dict(zip(distinct, tokenizer.decode_all(distinct), strict=True))
    return [texts[step] for step in written]
