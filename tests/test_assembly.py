"""What a run is about to learn from, checked before anything is computed."""

import json
import re

import numpy as np
import pytest

from expert_iter.assembly import assemble
from expert_iter.config import default_config, settings
from expert_iter.errors import UserError
from expert_iter.pod.mesh import Layout
from expert_iter.tasks.verifier.observer import ObserverPool
from tests.tasks.verdicts import contained

SHORT = "He has 3 + 4 = 7 pens."


@pytest.fixture
def assembled(tmp_path):
    """Makes parts of a run on 64 problems in a file, of which `long` have these fields instead."""

    def make(long, **changes):
        rows = [
            {"question": f"Tom has {i} pens. How many?", "answer": f"{i}", "solution": SHORT}
            for i in range(64)
        ]
        for line, fields in long.items():
            rows[line - 1] |= fields
        text = "".join(json.dumps(row) + "\n" for row in rows)
        for name in ("train", "validation", "test"):
            (tmp_path / f"{name}.jsonl").write_text(text)
        config = default_config("jsonl")
        files = {f"task.{x}_file": str(tmp_path / f"{x}.jsonl") for x in ("train", "validation")}
        config.update_from_flattened_dict(
            {
                **files,
                "task.test_file": str(tmp_path / "test.jsonl"),
                "tokenizer.vocab_size": 320,
                "tokenizer.byte_fallback": True,
                "learner.row_tokens": 96,
                "learner.row_steps": 8,
            }
            | changes
        )
        return assemble(settings(config), tmp_path / "run")

    return make


LONG_SOLUTION = {"solution": "\n".join(f"{i} and 1 are {i + 1}." for i in range(40))}
LONG_QUESTION = {"question": "Tom has pens. " * 60 + "How many?"}
MANY_STEPS = {"solution": "\n".join("1234567890")}
LONG = {9: LONG_SOLUTION, 20: LONG_QUESTION, 40: MANY_STEPS}


def refused(parts):
    with pytest.raises(UserError) as error:
        parts.training  # noqa: B018
    assert "\n" not in str(error.value)
    return str(error.value)


def test_problems_that_fit_are_all_there(assembled):
    parts = assembled({})
    problems, plays, note = parts.training
    assert problems == parts.task.problems("train") and len(problems) == 64
    assert plays.overlong == [] and note == ""


def test_long_texts_are_refused_by_file_and_line(assembled, tmp_path):
    text = refused(assembled(LONG))
    assert "(96 tokens in 8 steps), 3 in all: " in text
    for line in LONG:
        assert f"{tmp_path}/train.jsonl, line {line} (" in text
    assert "learner.row_tokens to at least" in text and "row_steps to at least 42, or set" in text


def test_what_a_refusal_asks_for_is_enough(assembled):
    text = refused(assembled(LONG))
    size = int(text.partition("learner.row_tokens to at least ")[2].split()[0])
    enough = {"learner.row_tokens": size, "learner.row_steps": 64}
    assert assembled(LONG, **enough).training.note == ""
    too_few = assembled(LONG, **enough | {"learner.row_tokens": size - 1})
    assert "1 in all: " in refused(too_few)


@pytest.mark.parametrize("policy", ["drop", "cut"])
def test_by_a_setting_they_are_left_out_or_cut(assembled, policy):
    problems, plays, note = assembled(LONG, **{"learner.overlong": policy}).training
    assert [line for line, problem in enumerate(problems, 1) if problem is None] == [20]
    drawn = plays.draw(400, np.random.default_rng(0))
    assert len(drawn) == 400
    assert all(tree.size <= 96 and len(tree.length) <= 8 for tree in drawn.values())
    eos = plays._tokenizer.ids.eos
    cut = {tuple(tree.token) for tree in drawn.values() if eos not in tree.token}
    assert len(cut) == (2 if policy == "cut" else 0)
    counts = re.findall("texts are (.*?) in all", note)
    assert counts == (["left out, 3"] if policy == "drop" else ["left out, 1", "cut to a row, 2"])


def test_a_file_of_demonstrations_is_checked_in_place_of_the_solutions(assembled, tmp_path):
    path = tmp_path / "shown.jsonl"
    prompt, long = {"prompt": "Tom?\n"}, LONG_SOLUTION["solution"]
    lines = [prompt | {"solution": SHORT}, prompt | {"solution": long}]
    path.write_text("\n".join(map(json.dumps, lines)))
    text = refused(assembled({9: LONG_SOLUTION}, **{"warm_start.demonstrations": str(path)}))
    assert f"1 in all: {path}, line 2 (" in text


def test_nothing_that_is_never_shown_is_checked(assembled):
    """Without warm start and rehearsal, only prompts matter."""
    never = {"warm_start.updates": 0, "learner.rehearsal": 0.0}
    assert assembled({9: LONG_SOLUTION}, **never).training.note == ""
    assert "line 20 (" in refused(assembled(LONG, **never))


@pytest.mark.parametrize("long", [LONG_SOLUTION, LONG_QUESTION])
def test_a_run_that_nothing_is_left_to_learn_from_is_refused(assembled, long):
    everything = assembled(dict.fromkeys(range(1, 65), long), **{"learner.overlong": "drop"})
    assert "leaves nothing to learn from" in refused(everything)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_text_that_the_tokenizer_cannot_write_is_named(assembled, split, tmp_path):
    parts = assembled({}, **{"tokenizer.byte_fallback": False})
    path = tmp_path / f"{split}.jsonl"
    first, second, *rest = path.read_text().split("\n")
    path.write_text("\n".join([first, second.replace("Tom", "T\N{SNOWMAN}m"), *rest]))
    text = refused(assemble(parts.settings, tmp_path / "run"))
    assert text.startswith(f"{path}, line 2: the tokenizer has no piece for")


def test_a_question_with_a_token_that_the_weights_have_no_row_for_is_named(assembled):
    rare = {9: {"question": "Tom has Z pens. How many?"}}
    rows = max(assembled(rare).tokenizer.encode("Z"))
    assert re.search(
        rf"train.jsonl, line 9: the token {rows} of this text has no row .* has {rows}: ",
        refused(assembled(rare, **{"pretrained.vocab_size": rows})),
    )


def test_weights_must_have_rows_for_the_tokens_that_every_run_needs(assembled):
    with pytest.raises(UserError, match=r"the token \d+ \(end of a text\) has no row"):
        assembled({}, **{"pretrained.vocab_size": assembled({}).tokenizer.ids.eos})


PROGRAM = "```python\nprint(3 + 4)\n```\n```output\n{}\n```\n#### 7"


@contained
@pytest.mark.parametrize("said", ["7", "8"])
def test_demonstrations_are_what_a_world_in_other_processes_answers(assembled, said):
    rows = {line: {"solution": PROGRAM.format(said)} for line in range(1, 65)}
    parts = assembled(rows, **{"task.tools": "python", "tokenizer.vocab_size": 400})
    if said == "7":
        assert parts.training.plays.mean_size
    else:
        assert "not what the task's world answers" in refused(parts)
    assert isinstance(parts.observer, ObserverPool)
    parts.observer.close()


def test_a_world_in_other_processes_must_not_be_asked_twice(assembled, monkeypatch):
    parts = assembled({}, **{"task.tools": "python", "tokenizer.vocab_size": 400})
    monkeypatch.setattr(Layout, "rows_span_processes", True)
    with pytest.raises(UserError, match="set mesh.search=gathered"):
        parts.world  # noqa: B018
