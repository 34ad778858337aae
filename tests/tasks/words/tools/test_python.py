"""Blocks of Python in a solution are answered with what they print."""

import logging
import os
import signal

import pytest

from expert_iter.errors import UserError
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.tokenizers.load_tokenizer import load_tokenizer
from expert_iter.search.host_world import observation_tokens, replayed
from expert_iter.tasks import load_task
from expert_iter.tasks.code.sandbox.program import Limits
from expert_iter.tasks.verifier.observer import LOST, ObserverPool, make_observer
from expert_iter.tasks.verifier.worker_pool import VerifierConfig
from expert_iter.tasks.words.tools import python
from expert_iter.tasks.words.tools.python import Python
from expert_iter.tasks.world import GOES_ON, Observation
from tests.model.tokenizers.test_bpe import write_checkpoint
from tests.tasks.verdicts import contained
from tests.tasks.verifier.test_pool import PATIENCE, children, eventually, is_running

pytestmark = contained
LONG = Limits(seconds=30, cpu_seconds=30)


@pytest.fixture(scope="module")
def tool():
    return Python(200, LONG)


def block(*lines):
    return "\n".join(("```python", *lines, "```\n"))


def output(*lines):
    return "\n".join(("```output", *lines, "```\n"))


def heard(tool, text):
    observation = tool.observe("?", text)
    assert observation.status == GOES_ON
    return observation.text


def test_the_line_that_closes_a_block_is_answered_and_no_other(tool):
    text = "How many?\n" + block("x = 48", "", "print(x + x / 2)") + "They are 72.\n#### 72"
    end = text.index("```\nThey") + len("```\n")
    for cut in range(len(text)):
        if cut < end:
            assert heard(tool, text[:cut]) == ""
    assert heard(tool, text[:end]) == output("72.0")
    text = text[:end] + output("72.0") + text[end:]
    for cut in range(end + len(output("72.0")), len(text) + 1):
        assert heard(tool, text[:cut]) == ""


def test_blocks_go_on_from_each_other_on_their_own_path(tool):
    text = block("x = 3", "print(x)")
    text += heard(tool, text)
    one, two = text + block("x += 1", "print(x)"), text + block("x *= 5", "print(x)")
    assert heard(tool, one) == output("4") and heard(tool, two) == output("15")
    one += heard(tool, one) + "And then?\n" + block("print(x, x)")
    assert heard(tool, one) == output("4 4"), "only what is new"
    assert heard(tool, block("print(x)")) == output("NameError: name 'x' is not defined")


def test_what_a_path_printed_is_kept(monkeypatch):
    runs = []
    monkeypatch.setattr(python, "printed", lambda blocks, limits: runs.append(blocks) or ("7", ""))
    tool, text = Python(200), block("print(7)")
    for prompt in "??!":
        assert tool.observe(prompt, "So:\n" + text).text == output("7")
    assert runs == [("print(7)",)]


def test_errors_are_answers(tool):
    assert heard(tool, block("print(1)", "1 / 0")) == output(
        "1", "ZeroDivisionError: division by zero"
    )
    assert heard(tool, block("print(")) == output("SyntaxError: '(' was never closed")
    assert heard(tool, block()) == output()


def test_a_block_that_hangs_is_answered_once_and_not_run_again():
    tool = Python(200, Limits(seconds=1))
    text = block("x = 1") + output() + block("while True:", "    pass")
    text += heard(tool, text)
    assert text.endswith(output("stopped: not done within 1 seconds"))
    tool = Python(5, LONG)  # with so much time, running it again would be noticed
    assert heard(tool, text + block("print(x)")) == output("1")


@pytest.mark.parametrize(
    "said, shown",
    [
        ("```\n```python\nx = 2\n```\n", ["'''", "'''python", "x = 2", "'''"]),
        ("```output\n5", ["'''output", "5"]),
        ("````", ["'''`"]),
        ("a\r\nb\x00\x1b[31m\u2028\u2029c\td", ["a?", "b??[31m??c  d"]),
        ("\n\na \n\n", ["", "", "a"]),
        ("é→", ["é→"]),
    ],
)
def test_what_is_printed_stays_in_its_block(tool, said, shown):
    text = block("y = 1", f"print({said!r})")
    assert heard(tool, text) == output(*shown)
    text += output(*shown)
    assert heard(tool, text) == "" and heard(tool, text + block("print(y)")) == output("1")


def test_long_output_is_cut_and_the_error_is_seen():
    tool = Python(10, LONG)
    assert heard(tool, block("print('x' * 11)", "1 / 0")) == output(
        "x" * 10 + "...", "ZeroDivisi..."
    )
    assert heard(tool, block("print('x' * 10)")) == output("x" * 10)
    assert heard(tool, block("while True: print('x' * 1000)")).startswith("```output\nstopped: ")


def test_a_token_may_go_on_behind_the_closing_line(tool):
    for more in ("\n", "\nSo", "\n\n"):
        text = block("print(5)") + more
        answer = heard(tool, text)
        assert answer.lstrip("\n") == output("5") and (text + answer).count("\n```output") == 1
        assert heard(tool, text + answer + "it is 5\n") == ""


@pytest.mark.parametrize("family", ["qwen", "llama"])
@pytest.mark.parametrize("mode", ["line", "paragraph"])
def test_published_tokenizers_hear_and_replay_it(tool, family, mode, tmp_path):
    write_checkpoint(tmp_path, family)
    tokenizer = load_tokenizer(tmp_path)
    ends = StepEnds(tokenizer, mode, 0, Python.marks)
    code = block("x = 3", "", "print(x)")
    solution = f"Run:\n\n{code}{output('3')}\n\nSo 3.\n{block('x += 1')}{output()}#### 3"
    tokens, is_heard = replayed(tool, tokenizer, ends, "", solution)
    assert tokenizer.decode(tokens) == solution
    said = "".join(tokenizer.decode([t]) for t, h in zip(tokens, is_heard, strict=True) if h)
    assert said == output("3") + output()
    with pytest.raises(UserError, match="is not what the task's world answers"):
        replayed(tool, tokenizer, ends, "", solution.replace(output("3"), output("4")))
    # Marks of texts that a program prints become no tokens of that kind.
    marks = "".join(tokenizer.token_text(i) for i in tokenizer.ids.ends)
    spoken = observation_tokens(tokenizer, heard(tool, block(f"print({marks!r})")))
    assert not {*spoken, *tokenizer.encode_prompt(tokenizer.decode(spoken))[1:]} & {
        *tokenizer.ids.ends
    }


def word_task(**settings):
    return load_task("stories", dict(tools="python", train_size=9) | settings)


def test_a_process_that_dies_in_the_middle_of_a_block_costs_that_step(caplog):
    others = children(os.getpid())
    observer = make_observer(word_task(), VerifierConfig(workers=1, seconds=60.0))
    assert isinstance(observer, ObserverPool)
    texts = ["Let me see.\n", block("import time", "time.sleep(4)"), "So\n"]
    assert observer.observe("?", texts[0]) == Observation("")
    [worker] = children(os.getpid()) - others
    pending = observer.submit([("?", text) for text in texts])
    assert eventually(lambda: children(worker))
    programs = children(worker)
    os.kill(worker, signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        found = pending.result(PATIENCE)
    assert found == [Observation(""), LOST, Observation("")]
    assert eventually(lambda: not any(map(is_running, programs)))
    assert [record.getMessage() for record in caplog.records] == [
        "a step counts as illegal: its process ended by signal 9"
    ]
    observer.close()


def test_a_machine_without_a_sandbox_is_one_line(monkeypatch):
    def missing():
        raise UserError("this machine has no sandbox")

    monkeypatch.setattr(python, "pick_containment", missing)
    with pytest.raises(UserError, match="no sandbox"):
        word_task().prepare()
    word_task(tools="calculator").prepare()


def test_settings_and_prompts(tmp_path):
    assert word_task(tool_characters=7).world.most_characters == 7
    for wrong in (0, 10_001):
        with pytest.raises(UserError, match="task.tool_characters must be between"):
            word_task(tool_characters=wrong)
    assert word_task().symbols() == ["```"]
    template = tmp_path / "chat_template.jinja"
    template.write_text("{{ messages[0].content }}")
    chat = word_task(prompt="chat", chat_template=str(template))
    assert "```python" in chat.problems("train")[0].prompt
    assert "```python" not in word_task().problems("train")[0].prompt
