"""Where steps end for made-up tokens: at one newline token."""

from types import SimpleNamespace

from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.marks import TokenIds

VOCAB = 128


def steps_of(ids: TokenIds) -> StepEnds:
    def text(token):
        return "\n" if token == ids.newline else "x"

    return StepEnds(SimpleNamespace(vocab_size=VOCAB, token_text=text, ids=ids), "line")


def steps_at(newline: int) -> StepEnds:
    return steps_of(TokenIds(pad=0, bos=1, eos=2, newline=newline))
