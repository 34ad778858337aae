"""A task's world is asked about texts, and answers in tokens."""

import io
import logging
from concurrent.futures import Future

import numpy as np
import pytest
import sentencepiece as spm

from expert_iter.errors import UserError
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.model.tokenizers.sentencepiece_model import SentencePieceTokenizer, TokenizerConfig
from expert_iter.search.drafts import NewSteps
from expert_iter.search.host_world import HostWorld, replayed
from expert_iter.tasks import Question, load_task
from expert_iter.tasks.verifier.observer import InProcessObserver
from expert_iter.tasks.words.tools.calculator import Calculator
from expert_iter.tasks.world import GOES_ON, ILLEGAL, Observation
from tests.model.tokenizers.test_bpe import write_checkpoint

TASK = load_task("countdown", dict(rules="world", train_size=50, validation_size=5, test_size=5))
QUESTIONS = [TASK.parse("3 5 7 -> 15").question, TASK.parse("2 4 6 -> 48").question]


@pytest.fixture(scope="module")
def tokenizer():
    return SentencePieceTokenizer.train(
        TASK.sample_texts(200, 0), TASK.symbols(), TokenizerConfig()
    )


@pytest.fixture(scope="module")
def ends(tokenizer):
    return StepEnds(tokenizer, "line", 0, TASK.world.marks)


def host_world(world, tokenizer, max_tokens):
    return HostWorld(InProcessObserver(world), tokenizer, max_tokens)


def new_steps(tokenizer, prefixes, texts, eos=()):
    """texts: of each row; eos: which of them an end mark follows."""
    pad, width = tokenizer.ids.pad, 24

    def padded(tokens):
        return tokens + [pad] * (width - len(tokens))

    end = [tokenizer.ids.eos]
    rows = [
        [padded(tokenizer.encode(text) + end * ((b, k) in eos)) for k, text in enumerate(row)]
        for b, row in enumerate(texts)
    ]
    asked = np.array([[bool(text) for text in row] for row in texts])
    ended = np.array([[(b, k) in eos for k in range(len(row))] for b, row in enumerate(texts)])
    prefix = np.array([[padded(tokenizer.encode(text))] for text in prefixes])
    return NewSteps(prefix, np.array(rows), asked, ended)


def test_steps_are_answered_as_the_task_answers_their_texts(tokenizer):
    prefixes = "3 + 5 = 8 : 7 8\n", ""
    texts = [["8 - 7 = ", "9 - 7 = ", ""], ["2 * 4 = ", "2 * 4 ", "6 / 4 = "]]
    world = host_world(TASK.world, tokenizer, 12)
    answers = world.ask(QUESTIONS, np.array([0, 1]), new_steps(tokenizer, prefixes, texts))()
    said = [
        [tokenizer.decode(t[:n].tolist()) for t, n in zip(*row, strict=True)]
        for row in zip(answers.token, answers.length, strict=True)
    ]
    assert said == [["1 : 1", "", ""], ["8 : 6 8\n", "", "3/2 : 2 3/2\n"]]
    assert answers.over.tolist() == [[True, False, False], [False] * 3]
    assert answers.goes_on.tolist() == [[False] * 3, [True, False, True]]


def test_steps_are_submitted_at_once_each_only_once_and_waited_for_later(tokenizer):
    class Slow:
        def submit(self, asked):
            self.asked, self.future = asked, Future()
            return self.future

    observer, texts = Slow(), [["2 * 4 = ", "2 * 6 = ", "2 * 4 = "], ["2 * 4 = ", "", "2 * 4 = "]]
    steps = new_steps(tokenizer, ["", ""], texts, eos={(1, 2)})
    answers = HostWorld(observer, tokenizer, 8).ask(QUESTIONS, np.array([1, 1]), steps)
    prompt = QUESTIONS[1].prompt
    assert observer.asked == [(prompt, "2 * 4 = "), (prompt, "2 * 6 = ")]
    observer.future.set_result([Observation("8"), Observation("", ILLEGAL)])
    found = answers()
    assert found.goes_on.tolist() == [[True, False, True], [True, False, False]]
    assert found.over.tolist() == [[False] * 3, [False, False, True]]


def test_a_step_that_ends_the_text_hears_nothing(tokenizer):
    class Talker:
        marks = ()

        def observe(self, prompt, text):
            return Observation("8 : 8\n")

    steps = new_steps(tokenizer, ["", ""], [["3 + 5 = ", "3 + 5 = "]] * 2, eos={(0, 1), (1, 0)})
    answers = host_world(Talker(), tokenizer, 8).ask(QUESTIONS, np.array([0, 1]), steps)()
    assert answers.over.tolist() == [[False, True], [True, False]]
    assert (
        (answers.length > 0).tolist() == answers.goes_on.tolist() == [[True, False], [False, True]]
    )


def test_an_observation_without_room_is_an_illegal_step(tokenizer, caplog):
    steps = new_steps(tokenizer, [""], [["3 + 5 = "]])
    length = len(tokenizer.encode("8 : 7 8\n"))
    for room, fits in ((length, True), (length - 1, False)):
        answers = host_world(TASK.world, tokenizer, room).ask(QUESTIONS, np.array([0]), steps)()
        assert answers.token.shape == (1, 1, room)
        assert answers.goes_on.item() == fits and answers.length.item() == length * fits
    world = host_world(TASK.world, tokenizer, 1)
    caplog.clear()
    for _ in range(2):
        world.ask(QUESTIONS, np.array([0]), steps)()
    [said] = caplog.records  # once
    assert said.getMessage().endswith(
        f"its answer has {length} tokens, more than search.max_observation_tokens=1"
    )


def test_nothing_that_a_world_prints_ends_a_text(tokenizer):
    ids = tokenizer.ids
    marks = [tokenizer.token_text(i) for i in (*ids.ends, ids.pad, ids.bos)]
    inside = [mark[:1] + mark + mark[1:] for mark in marks]  # with the inner one gone, it is one

    class Liar:
        marks = ()

        def __init__(self, spoken):
            self.spoken = "".join(spoken)

        def observe(self, prompt, text):
            return Observation(self.spoken + "\n\n8")

    steps = new_steps(tokenizer, [""], [["3 + 5 = "]])
    for spoken in (marks, inside, ["→ ☃"]):  # the last it cannot write at all
        world = host_world(Liar(spoken), tokenizer, 99)
        answers = world.ask(QUESTIONS, np.array([0]), steps)()
        written = answers.token[0, 0, : answers.length.item()].tolist()
        assert not {*written} & {ids.pad, ids.bos, *ids.ends}
        assert answers.goes_on.item() and tokenizer.decode(written).endswith("\n\n8")
        # Nor does it where the text so far becomes a prompt.
        prompt = tokenizer.encode_prompt("3 + 5 = " + tokenizer.decode(written))
        assert prompt.count(ids.bos) == 1 and not {*prompt} & {*ids.ends}


def test_a_world_that_fails_makes_the_step_illegal_and_is_logged(tokenizer, caplog):
    class Broken:
        marks = ()

        def observe(self, prompt, text):
            raise ValueError("no idea")

    steps = new_steps(tokenizer, [""], [["3 + 5 = ", "3 + 5 = "]])
    with caplog.at_level(logging.WARNING):
        answers = host_world(Broken(), tokenizer, 8).ask(QUESTIONS, np.array([0]), steps)()
    assert not answers.goes_on.any() and not answers.over.any()
    assert [record.getMessage() for record in caplog.records] == [
        "a step counts as illegal: ValueError: no idea"
    ], "once for the same step"


def test_a_solution_that_was_begun_in_the_prompt_is_told_apart(tokenizer):
    begun = "3 + 5 = 8 : 7 8\n"
    question = Question("q", QUESTIONS[0].prompt + begun, begun)
    steps = new_steps(tokenizer, [""], [["8 - 7 = "]])
    answers = host_world(TASK.world, tokenizer, 8).ask([question], np.array([0]), steps)()
    assert answers.over.item()
    assert tokenizer.decode(answers.token[0, 0, : answers.length.item()].tolist()) == "1 : 1"


def test_demonstrations_are_parted_into_what_is_written_and_what_is_heard(tokenizer, ends):
    for problem in TASK.problems("train")[:20]:
        solution = TASK.demonstration(problem, np.random.default_rng(1))
        tokens, heard = replayed(TASK.world, tokenizer, ends, problem.prompt, solution)
        assert tokenizer.decode(tokens) == solution
        said = "".join(tokenizer.token_text(t) for t, h in zip(tokens, heard, strict=True) if h)
        assert said == "".join(
            line.partition("= ")[2] + "\n" * (i < solution.count("\n"))
            for i, line in enumerate(solution.split("\n"))
        )
        assert len(ends.split(tokens, heard)) == solution.count("\n") + 1


@pytest.fixture(params=["qwen", "merged"])
def any_tokenizer(request, tmp_path):
    """Of a published form, and one whose pieces join digits, blanks and signs as they like."""
    if request.param == "qwen":
        write_checkpoint(tmp_path, "qwen")
        return load_tokenizer(tmp_path)
    model = io.BytesIO()
    texts = [f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n" for a in range(40) for b in range(40)]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in texts for _ in range(3)]),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        hard_vocab_limit=False,
        byte_fallback=True,
        split_digits=False,
        split_by_number=False,
        split_by_unicode_script=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    return load_tokenizer(tmp_path)


@pytest.mark.parametrize("mode", ["line", "paragraph"])
def test_a_calculator_is_heard_whatever_the_tokens_join(any_tokenizer, mode):
    solution = "3 + 5 = <<3+5=8>>8\n\nHe has 12 = 12 and 12/8 = <<12/8=1.5>>1.5 =\n#### 1.5"
    tool, ends = Calculator(), StepEnds(any_tokenizer, mode, 0, Calculator.marks)
    tokens, heard = replayed(tool, any_tokenizer, ends, "", solution)
    assert any_tokenizer.decode(tokens) == solution and tokens[-1] == any_tokenizer.ids.eos
    said = [any_tokenizer.decode([t for t, h in zip(s, w, strict=True) if h]) for s, w in of_steps(
        ends.split(tokens, heard), heard
    )]  # fmt: skip
    # What a token brings along behind the mark, the network wrote itself.
    parts = [text for text in said if text]
    assert len(parts) == 2 and "8>>".endswith(parts[0]) and "1.5>>".endswith(parts[1])
    forged = solution.replace("=8>>8", "=9>>9")
    with pytest.raises(UserError, match="is not what the task's world answers"):
        replayed(tool, any_tokenizer, ends, "", forged)


def of_steps(steps, heard):
    """Each step's tokens, and which of them were heard."""
    at = np.cumsum([0, *map(len, steps)])
    return [(step, heard[a : a + len(step)]) for a, step in zip(at, steps, strict=False)]


def test_the_network_ends_a_text_that_the_world_leaves_open(tokenizer, ends):
    class Silent:
        marks = ("=",)

        def observe(self, prompt, text):
            return Observation("", GOES_ON)

    tokens, heard = replayed(Silent(), tokenizer, ends, "", "3 + 5 = 8")
    assert tokens[-1] == tokenizer.ids.eos and not any(heard)


def test_a_demonstration_that_the_world_does_not_answer_is_refused(tokenizer, ends):
    for wrong in (
        "3 + 5 = 9 : 7 9\n7 + 9 = 16 : 16",
        "3 + 6 = 9 : 5 9\n",
        "3 + 5 = 8 : 7 8\n7 + 8",
    ):
        with pytest.raises(UserError, match="is not what the task's world answers"):
            replayed(TASK.world, tokenizer, ends, QUESTIONS[0].prompt, wrong)
