"""ProofWriter: published answers and sentences, and theories that are made, with a reader and a
reasoner of their own.
"""

import collections
import json
import re
from pathlib import Path

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.deduction import proofwriter_language
from expert_iter.tasks.deduction.theory import Literal
from expert_iter.tasks.world import GOES_ON, ILLEGAL, OVER

SIZES = {"train_size": 60, "validation_size": 10, "test_size": 10}
ASKED = "Based on the above information, is the following statement true, false, or unknown?"


def text(lines):
    return "".join(f"{line}\n" for line in lines)


def plain(clause, variable):
    """A clause as 'subject verb thing', with 'not' at the end and a name for the variable."""
    words = re.sub(r"\b(it|they|someone|something)\b", variable, clause.lower())
    negated = " not " in f" {words} "
    words = re.sub(r" (does|do|not)\b", "", words)
    words = re.sub(r" are\b", " is", words)
    words = re.sub(r" (chase|eat|like|need|see|visit)\b", r" \1s", words)
    return words + (" not" if negated else "")


def instances(sentence, names):
    """(conditions, conclusion) for each name."""
    for name in names:
        if sentence.startswith("If "):
            body, conclusion = sentence.removeprefix("If ").split(" then ")
            conditions = []
            for clause in body.split(" and "):
                if len(clause.removeprefix("not ").split()) == 1:  # 'red' in 'is big and red'
                    clause = f"{conditions[-1].split(' is ')[0]} is {clause}"
                conditions.append(plain(clause, name))
        else:
            body, conclusion = re.split(" things are | people are ", sentence.removeprefix("All "))
            conditions = [f"{name} is {word.lower()}" for word in body.split(", ")]
            conclusion = f"it is {conclusion}"
        yield set(conditions), plain(conclusion, name)


def depths(prompt):
    """The depth of all that follows, and the statement with its negation."""
    context, question = prompt.strip().split("\n")
    sentences = context.rstrip(".").split(". ")
    is_rule = lambda s: s.startswith("If ") or re.search(" (things|people) are ", s)  # noqa: E731
    facts = {plain(sentence, "") for sentence in sentences if not is_rule(sentence)}
    everything = [*facts, *(s.lower() for s in sentences)]
    names = set(
        re.findall(
            r"the bald eagle|the \w+|\b(?:anne|bob|charlie|dave|erin|fiona|gary|harry)\b",
            " ".join(everything),
        )
    )
    rules = [x for s in sentences if is_rule(s) for x in instances(s, names)]
    found, depth = dict.fromkeys(facts, 0), 0
    while new := {after for before, after in rules if before <= set(found)} - set(found):
        depth += 1
        found |= dict.fromkeys(new, depth)
    statement = plain(question.partition("? ")[2].rstrip("."), "")
    negation = statement.removesuffix(" not") if statement.endswith(" not") else f"{statement} not"
    return found, statement, negation


@pytest.fixture(scope="module")
def task(published):
    return published("proofwriter", train_size=3000)


def test_the_rules_give_every_published_answer(task):
    """Of 3,900 problems. Some of them are also solved by the reasoner here."""
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        rows = json.loads(Path(task.config.data_dir, f"proofwriter_{name}.json").read_text())
        for row, problem in zip(rows, task.problems(split), strict=True):
            letter = {"True": "A", "False": "B", "Unknown": "C"}[problem.answer]
            assert row["answer"] == letter
        for problem in task.problems(split)[:300]:
            found, statement, negation = depths(problem.prompt)
            assert (statement in found, negation in found) == (
                problem.answer == "True",
                problem.answer == "False",
            )


def test_published_sentences_are_written_as_they_are_read(task):
    language = task.language
    count = 0
    for problem in task.problems("test")[:300]:
        for sentence in re.findall(r"[^.]+\.", problem.prompt.split("\n")[0]):
            sentence = sentence.strip()
            if rule := language.rule(sentence):
                written = {
                    proofwriter_language.rule_sentence(rule, people) for people in (True, False)
                }
                if " are " in sentence and not sentence.startswith("If"):
                    written = {
                        proofwriter_language.short_rule_sentence(rule, people, every)
                        for people in (True, False)
                        for every in (True, False)
                    }
                assert sentence in written
                count += 1
            else:
                assert language.sentence(language.fact(sentence)) == sentence
    assert count > 2000


def test_published_problems_are_proved_and_altered_proofs_are_refused(task, published):
    gold = published("proofwriter", demonstrations="gold")
    rng = np.random.default_rng(0)
    for problem in gold.problems("test"):
        *lines, answer = gold.demonstration(problem, rng).splitlines()
        assert answer == problem.answer and gold.verdict(problem, text([*lines, answer]))
        for other in {"True", "False", "Unknown"} - {answer}:
            assert not gold.verdict(problem, text([*lines, other]))
        for i, line in enumerate(lines):
            literal = gold.language.step(line)
            negated = gold.language.sentence(literal.negation)
            subject = gold.language.sentence(literal._replace(subject="Zoe"))
            for altered in (negated, subject, line.lower(), line.replace(".", "")):
                changed = [*lines[:i], altered]
                assert gold.world.observe(problem.prompt, text(changed)) == ("", ILLEGAL)
                assert not gold.verdict(problem, text([*changed, *lines[i + 1 :], answer]))
        if lines:
            assert not gold.verdict(problem, text([*lines[:-1], answer]))


@pytest.mark.parametrize("hops", [0, 1, 3, 5, 12])
def test_made_problems_have_one_answer_of_that_depth(hops):
    settings = {"min_hops": hops, "max_hops": hops, "demonstrations": "gold"}
    task = load_task("proofwriter", SIZES | settings)
    answers = collections.Counter()
    for problem in task.problems("train"):
        found, statement, negation = depths(problem.prompt)
        answers[problem.answer] += 1
        assert not any(f"{literal} not" in found for literal in found)
        if problem.answer == "Unknown":
            assert statement not in found and negation not in found
            assert hops in found.values()
        else:
            right, wrong = (statement, negation)[:: 1 if problem.answer == "True" else -1]
            assert found[right] == hops and wrong not in found
        proof = task.demonstration(problem, np.random.default_rng(0))
        assert task.verdict(problem, proof)
        assert proof.count("\n") >= 1 + (hops if problem.answer != "Unknown" else 0)
    assert min(answers[answer] for answer in ("True", "False", "Unknown")) > 8


def test_made_problems_look_like_the_published_ones(task):
    """The same words, and about as many facts and rules."""
    made = load_task("proofwriter", SIZES | {"train_size": 300}).problems("train")
    words = lambda found: {word for p in found for word in p.prompt.split()}  # noqa: E731
    old = task.problems("train")
    assert words(made) <= words(old)
    theories = lambda found: [task.language.puzzle(p.prompt).theory for p in found]  # noqa: E731
    for part in ("facts", "rules"):
        mean = [np.mean([len(getattr(t, part)) for t in theories(x)]) for x in (made, old)]
        assert mean[0] == pytest.approx(mean[1], rel=0.15)


def test_unknown_is_proved_by_deriving_all_that_follows():
    task = load_task("proofwriter", SIZES)
    context = "Anne is red. If someone is red then they are kind. Kind people are not big."
    problem = task.parse(f"{context} {ASKED} Anne is cold.")
    assert problem.answer == "Unknown"
    all_of_it = "Anne is kind.\nAnne is not big.\n"
    assert task.verdict(problem, all_of_it + "Unknown\n")
    assert not task.verdict(problem, "Anne is kind.\nUnknown\n")
    assert not task.verdict(problem, all_of_it + "False\n")  # an open world
    see = lambda text: task.world.observe(problem.prompt, text)  # noqa: E731
    assert see("Anne is kind.\n") == ("", GOES_ON)
    for wrong in (
        "Anne is not big.",
        "Anne is cold.",
        "Anne are kind.",
        "Anne is kind",
        "Unknown.",
    ):
        assert see(f"{wrong}\n") == ("", ILLEGAL)
    assert {see(f"{answer}\n") for answer in ("True", "False", "Unknown")} == {("", OVER)}
    false = task.parse(f"{context} {ASKED} Anne is big.")
    assert false.answer == "False" and task.verdict(false, all_of_it + "False\n")
    assert not task.verdict(false, all_of_it + "Unknown\n")


@pytest.mark.parametrize(
    ("sentence", "conditions", "conclusion"),
    [
        (
            "If something visits the bear and the bear chases it then it is young.",
            None,
            None,
        ),
        (
            "If someone is round and not young then they do not see the bald eagle.",
            [("", "round", True), ("", "young", False)],
            ("", "see the bald eagle", False),
        ),
        (
            "If the cat does not chase the dog and Anne is red then the cat is big.",
            [("the cat", "chase the dog", False), ("Anne", "red", True)],
            ("the cat", "big", True),
        ),
        (
            "All red, kind things are not cold.",
            [("", "red", True), ("", "kind", True)],
            ("", "cold", False),
        ),
        ("If something is red then Anne is.", None, None),
        ("If Anne is red then it is big.", None, None),  # what is?
        ("Anne is red.", None, None),
    ],
)
def test_rules_by_hand(sentence, conditions, conclusion):
    rule = load_task("proofwriter").language.rule(sentence)
    if conclusion is None:
        assert rule is None
    else:
        assert rule == (tuple(Literal(*c) for c in conditions), Literal(*conclusion))


def test_what_is_no_problem():
    for typed, reason in (
        ("Anne is red. Is Anne red?", "no question"),
        (f"Someone is red. {ASKED} Anne is red.", "'Someone is red.' is neither"),
        (f"Anne eats soup. {ASKED} Anne is red.", "'Anne eats soup.' is neither"),
        (f"Anne is red. {ASKED} Anne eats soup.", "'Anne eats soup.' is not a statement"),
        (f"Anne is red. Anne is not red. {ASKED} Anne is red.", "more than one answer follows"),
    ):
        with pytest.raises(UserError, match=f"is not a problem: .*{reason}.*write it") as error:
            load_task("proofwriter").parse(typed)
        assert "\n" not in str(error.value)
