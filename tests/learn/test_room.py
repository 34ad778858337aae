import numpy as np

from expert_iter.learn.room import Overlong, Room, note, refusal
from expert_iter.learn.step_tree import IMITATED, StepTreeBuilder


def test_a_beginning_has_as_many_tokens_and_steps_as_there_is_room_for():
    rng = np.random.default_rng(0)
    for _ in range(200):
        texts, token = [], 0
        for size in rng.integers(1, 5, rng.integers(1, 7)):
            texts.append(tuple(range(token, token + size)))
            token += size
        builder = StepTreeBuilder(list(texts[0]))
        for parent, text in enumerate(texts[1:]):
            builder.give([builder.add(parent, text)], IMITATED, parent + 1.0)
        room = Room(int(rng.integers(1, token + 3)), int(rng.integers(1, 9)))
        found = room.beginning(builder.build())
        kept = [text[: max(0, room.tokens - text[0])] for text in texts[: room.steps]]
        kept = [text for text in kept if text]
        assert found.token.tolist() == [token for text in kept for token in text]
        assert found.length.tolist() == [len(text) for text in kept]
        assert found.parent.tolist() == list(range(-1, len(kept) - 1))
        assert found.columns[IMITATED].tolist() == list(range(len(kept)))
        assert room.holds(found.size, len(found.length))


LONG = [Overlong(f"a.jsonl, line {i}", 300 + i, 4, in_prompt=i == 3) for i in range(12)]


def test_a_refusal_names_ten_texts_and_what_to_set():
    text = str(refusal(LONG, Room(256, 48)))
    assert "longer than a row of the learner (256 tokens in 48 steps), 12 in all: " in text
    assert ": a.jsonl, line 0 (300 tokens in 4 steps), a.jsonl, line 1 (301 tokens" in text
    assert "line 3 (303 tokens with its prompt and one step)" in text
    assert "line 9 (309 tokens in 4 steps), …. " in text and "line 10" not in text
    assert "…. Raise learner.row_tokens to at least 311, or set learner.overlong=drop" in text
    assert "\n" not in text
    both = str(refusal(LONG[:1], Room(256, 3)))
    assert "row_tokens to at least 300 and learner.row_steps to at least 4, or" in both
    assert "1 in all" in both and "…" not in both
    assert "Raise learner.row_steps to at least 4, or" in str(refusal(LONG[:1], Room(300, 3)))


def test_a_note_counts_what_is_left_out_and_what_is_cut():
    assert note([], "drop") == ""
    start = "learner.overlong=drop: training texts are left out, 12 in all: a.jsonl, line 0 (300"
    assert note(LONG, "drop").startswith(start)
    left_out, cut = note(LONG[2:5], "cut").split("\n")
    assert "training texts are left out, 1 in all: a.jsonl, line 3 (" in left_out
    assert "training texts are cut to a row, 2 in all: a.jsonl, line 2 (" in cut
