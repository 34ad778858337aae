"""Searched trees as records to be stored: see `storage.tree_record`."""

import functools
from collections.abc import Callable, Mapping

import numpy as np

from expert_iter.model.tokenizers.tokenizer import TextTokenizer
from expert_iter.search.self_play import Searched
from expert_iter.storage.tree_record import Steps, Summary, TreeRecord, flattened, to_bytes


def tree_records(searched: Searched, tokenizer: TextTokenizer) -> list[bytes]:
    """A record of each problem's tree, with the texts of its prompt and its steps."""
    arrays = flattened(searched.trees)
    decode = functools.cache(lambda tokens: tokenizer.decode(list(tokens)))  # many steps are alike
    return [
        to_bytes(_record(searched, b, {name: x[b] for name, x in arrays.items()}, decode))
        for b in range(len(searched.problems))
    ]


def _record(
    searched: Searched,
    b: int,
    arrays: Mapping[str, np.ndarray],
    decode: Callable[[tuple[int, ...]], str],
) -> TreeRecord:
    fields = {name.rpartition(".")[2]: array for name, array in arrays.items()}
    steps, problem = _steps(fields, decode), searched.problems[b]
    summary = Summary(
        problem=problem.id,
        prompt=problem.prompt,
        expert=searched.expert,
        round=searched.round,
        unit=searched.unit,
        updates=searched.updates,
        solved=bool(steps.won.any()),
        nodes=int(fields["live"].sum()),
        best_value=float(steps.value.max(initial=0.0)),
    )
    return TreeRecord(summary, steps, arrays)


def _steps(fields: Mapping[str, np.ndarray], decode: Callable[[tuple[int, ...]], str]) -> Steps:
    """The steps of one tree: all candidates of nodes that exist, by node and candidate."""
    there = fields["valid"] & fields["live"][:, None]
    number = np.full(there.shape, -1, np.int32)
    number[there] = np.arange(there.sum())
    parent = number[fields["parent"], fields["action"]]  # [N], of each node
    parent[0] = -1
    logits = fields["prior_logit"]
    prior = np.exp(logits - logits.max(axis=-1, keepdims=True))
    prior /= prior.sum(axis=-1, keepdims=True)
    lengths = fields["length"][there].tolist()
    tokens = zip(fields["token"][there].tolist(), lengths, strict=True)
    return Steps(
        text=[decode(tuple(step[:length])) for step, length in tokens],
        parent=np.broadcast_to(parent[:, None], there.shape)[there],
        prior=prior[there],
        value=fields["model_value"][there],
        q=fields["q"][there],
        visits=fields["visits"][there],
        finished=fields["finished"][there],
        won=fields["won"][there],
    )
