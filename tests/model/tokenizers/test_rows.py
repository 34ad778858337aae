"""Tokens for which a network's embedding has no row."""

import pytest

from expert_iter.errors import UserError
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from tests.model.tokenizers.test_added_tokens import FOLDERS, OWN, THINK, write

TEXT = "How many clips?"


@pytest.fixture
def tokenizer(tmp_path):
    """Ends texts with OWN, marks turns with OWN + 1, and writes THINK, which is OWN + 2."""
    write(tmp_path, FOLDERS["added_tokens"])
    return load_tokenizer(tmp_path)


def test_texts_are_encoded_as_before_where_every_token_has_a_row(tokenizer):
    before = tokenizer.encode(TEXT), tokenizer.encode_prompt(TEXT + "<think>")
    tokenizer.require_rows(THINK + 1)
    assert (tokenizer.encode(TEXT), tokenizer.encode_prompt(TEXT + "<think>")) == before
    assert THINK in before[1]


def test_a_token_that_every_run_needs_must_have_a_row(tokenizer):
    with pytest.raises(UserError, match=rf"the token {OWN} \(end of a text\) .* has {OWN}: use"):
        tokenizer.require_rows(OWN)


def test_a_text_with_a_token_that_has_no_row_is_refused(tokenizer):
    tokenizer.require_rows(THINK)
    for encode in (tokenizer.encode, tokenizer.encode_prompt):
        assert max(encode(TEXT)) < THINK
        with pytest.raises(UserError, match=f"the token {THINK} of this text has no row"):
            encode(TEXT + "<think>")
