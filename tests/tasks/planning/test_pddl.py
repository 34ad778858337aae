"""Instances in PDDL are read, and what is wrong in them is said with file and line."""

import json

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.planning import blocks
from expert_iter.tasks.planning.pddl import read_pddl
from tests.tasks.planning import instances
from tests.tasks.planning.instances import pddl, write

GOOD = pddl("abc", "(on b a)", "(on c b)")
ID = "instance-1.pddl"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.upper(),
        GOOD.replace("\n", " "),
        GOOD.replace("(:goal", "; the goal :)\n(:goal"),
        GOOD.replace("(and\n(on c b))", "(on c b)"),
        GOOD.replace("(handempty)", "(clear b)(handempty)"),
    ],
)
def test_instances_that_say_the_same(text):
    assert blocks.prompt(read_pddl(text)) == "state a b | c goal b c\n"


def test_the_goal_may_be_parts_of_towers():
    text = pddl("abcdef", "(on b a) (on c b) (on e d)", "(on b d) (on e b) (on c f)")
    assert blocks.prompt(read_pddl(text)) == "state a b c | d e | f goal d b e | f c\n"


BAD = {
    "": "not one (define",
    "(define": "a bracket is not closed",
    GOOD + ")": "closes that was not opened",
    GOOD + GOOD: "not one (define",
    GOOD.replace(":init", ":start"): "no :init",
    GOOD.replace(":goal", ":end"): "no :goal",
    GOOD.replace("(:objects a b c )", "(:objects a b c1)"): "'c1' is not a letter",
    GOOD.replace("(:objects a b c )", "(:objects a b (c))"): "is not a letter",
    GOOD.replace("(:objects a b c )", "(:objects a b c c)"): "there twice",
    GOOD.replace("(:objects a b c )", "(:objects a b)"): "a fact is none of",
    GOOD.replace("(handempty)", ""): "do not describe a state",
    GOOD.replace("(handempty)", "(holding c)"): "a fact is none of",
    GOOD.replace("(handempty)", "handempty"): "a fact is none of",
    GOOD.replace("(ontable a)", "(ontable (a))"): "a fact is none of",
    GOOD.replace("(clear b)", ""): "do not describe a state",
    GOOD.replace("(clear b)", "(clear a)"): "do not describe a state",
    GOOD.replace("(ontable c)", ""): "do not describe a state",
    GOOD.replace("(on b a)", "(on b a)(on c a)"): "two blocks are on one",
    GOOD.replace("(ontable a)", "(on a b)"): "in a circle",
    GOOD.replace("(on c b)", "(on c b)(on a b)"): "two blocks are on one",
    GOOD.replace("(on c b)", "(on c b)(on b c)"): "in a circle",
    GOOD.replace("(on c b)", "(on d b)"): "for objects",
    GOOD.replace("(on c b)", "(on b d)"): "for objects",
    GOOD.replace("(on c b)", "(on b b)"): "in a circle",
    GOOD.replace("(on c b)", "(clear c)"): "the goal has (clear c)",
    GOOD.replace("(on c b)", "(not (on b a))"): "a fact is none of",
    GOOD.replace("(on c b)", ""): "the goal holds at the start",
    GOOD.replace("(on c b)", "(on b a)"): "the goal holds at the start",
}


@pytest.mark.parametrize("text", BAD, ids=BAD.values())
def test_what_is_wrong_is_one_line_with_file_and_line(text, tmp_path):
    file = write(tmp_path / "a.jsonl", [{"id": ID, "pddl": GOOD}, {"id": ID, "pddl": text}])
    with pytest.raises(UserError) as raised:
        load_task("blocksworld").read(file)
    message = str(raised.value)
    assert message.startswith(f"{file}, line 2: ") and BAD[text] in message
    assert "\n" not in message


@pytest.mark.parametrize("record", [{}, {"pddl": None}, {"pddl": [GOOD]}, {"instance": GOOD}])
def test_a_record_without_an_instance(record, tmp_path):
    file = write(tmp_path / "a.jsonl", [record])
    with pytest.raises(UserError, match="a.jsonl, line 1: there is no `pddl`"):
        load_task("blocksworld").read(file)


@pytest.mark.parametrize(
    ("name", "count", "most_blocks"),
    [
        ("planbench_basic_3", 101, 3),
        ("planbench_basic_first", 250, 4),
        ("planbench_hard_even", 55, 15),
    ],
)
def test_published_files_are_read_in_full(name, count, most_blocks):
    path = instances.published(name)
    problems = load_task("blocksworld").read(path)
    texts = [json.loads(line)["pddl"] for line in path.read_text().splitlines()]
    assert len(problems) == len(texts) == count
    assert max(len("".join(p.answer.start.towers)) for p in problems) == most_blocks
    for problem, text in zip(problems, texts, strict=True):
        # Each fact `on` stands in the prompt as two letters with a space between them.
        assert text.count("(on ") == sum(
            len(part.split()) - 1
            for half in problem.prompt.removeprefix("state ").split(" goal ")
            for part in half.split("|")
        )
