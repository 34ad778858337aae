import json

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task
from expert_iter.tasks.words.chat_template import ChatTemplate
from expert_iter.tasks.words.prompts import WORDINGS, Wording
from tests.tasks import made_up

# In the manner of the templates that checkpoints come with.
MARKED = (
    "{%- if tools is not none %}no{% endif -%}"
    "{%- if messages[0].role != 'system' -%}\n"
    "    {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim }}\n"
    "    {{- '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
DATED = (
    "{{ bos_token }}Today: {{ strftime_now('%d %b %Y') }}\n"
    "{% for message in messages %}{% if loop.index > 1 %}{% break %}{% endif %}\n"
    "  [{{ message | tojson }}]{{ eos_token }}\n"
    "{% endfor %}"
)
# Templates made for training mark what the assistant says.
GENERATED = (
    "{% for message in messages %}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}\n"
    "{% else %}{%- generation -%}  [{{ message.content }}]  {%- endgeneration %}|\n"
    "{% generation %}\n{% set name = message.role %}<{{ name }}>\n{% endgeneration %}{{ name }}\n"
    "{% endif %}{% endfor %}"
)


def template(tmp_path, source, **facts):
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({"chat_template": source, **facts}))
    return ChatTemplate(str(path))


def test_wordings_hold_the_question_and_nothing_else_is_replaced():
    for wording in WORDINGS.values():
        for text in (wording.plain, wording.chat):
            assert text.count("{question}") == 1
            assert text.replace("{question}", "").count("{") == text.count("\\boxed")
        assert wording.plain_prompt("{x} {0} {question}").count("{x} {0} {question}") == 1
        assert wording.plain.endswith(":\n")


def test_few_shot_layout():
    wording = Wording("Q {question}\nA\n", "")
    examples = [("one", "1\n#### 1"), ("two", "#### 2")]
    assert wording.few_shot_prompt(examples, "three") == (
        "Q one\nA\n1\n#### 1\n\nQ two\nA\n#### 2\n\nQ three\nA\n"
    )
    assert wording.few_shot_prompt([], "three") == wording.plain_prompt("three")


def task_of(tmp_path, **settings):
    made_up.gsm8k(tmp_path)
    base = {"data_dir": str(tmp_path), "verify_files": False, "prompt": "few_shot"}
    return load_task("gsm8k", base | settings)


def examples_in(problem):
    *examples, asked = problem.prompt.split("\n\n")
    return examples, asked


def test_examples_are_fixed_by_the_seed_come_from_training_and_never_are_the_problem(tmp_path):
    plain = task_of(tmp_path, prompt="plain")
    given = {p.prompt + p.answer.solution: p.id for p in plain.problems("train")}
    few_shot = task_of(tmp_path, shots=3)
    shown = set()
    for split in ("train", "validation", "test"):
        for problem, bare in zip(few_shot.problems(split), plain.problems(split), strict=True):
            examples, asked = examples_in(problem)
            assert asked == bare.prompt and problem.answer == bare.answer
            assert len(set(examples)) == 3
            ids = {given[example] for example in examples}
            assert problem.id not in ids
            shown.add(tuple(sorted(ids)))
    # One set of examples, and one more for each of the three that are among them.
    assert len(shown) == 4
    assert few_shot.problems("test") == task_of(tmp_path, shots=3).problems("test")
    assert few_shot.problems("test") == task_of(tmp_path, shots=3, train_size=2).problems("test")
    other = task_of(tmp_path, shots=3, shots_seed=1)
    assert few_shot.problems("test") != other.problems("test")


def test_a_question_that_occurs_again_in_the_test_is_no_example_for_itself(tmp_path):
    task = task_of(tmp_path, shots=2)
    first = examples_in(task.problems("test")[0])[0][0]
    question = first.split("\n")[0].removeprefix("Question: ")
    (problem,) = (task.problem_of({"question": question.upper(), "answer": "#### 1"}, "again"),)
    assert question not in problem.prompt and len(examples_in(problem)[0]) == 2


def test_chat(tmp_path):
    template(tmp_path, MARKED)
    task = task_of(tmp_path, prompt="chat", chat_template=str(tmp_path / "tokenizer_config.json"))
    (problem,) = task.problems("test")[:1]
    assert problem.prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        "Ada sells 0 pears and 1000 more. How many?\n\nWork it out step by step, one step a line. "
        "End with a line that has #### and the answer, a number alone.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert problem.answer.solution.endswith("#### 1,000")


def test_code_in_chat_is_a_block_that_the_demonstration_has_too(tmp_path):
    template(tmp_path, MARKED)
    made_up.humaneval(tmp_path)
    settings = {
        "data_dir": str(tmp_path),
        "verify_files": False,
        "prompt": "chat",
        "chat_template": str(tmp_path / "tokenizer_config.json"),
    }
    problem = load_task("humaneval", settings).problems("test")[1]
    assert "Complete this Python function." in problem.prompt and "def plus_1" in problem.prompt
    assert problem.answer.solution == (
        '```python\ndef plus_1(x):\n    """Adds 1 to x."""\n    return x + 1\n```'
    )


@pytest.mark.parametrize("source", [MARKED, DATED, GENERATED])
def test_templates_give_what_transformers_gives(tmp_path, source):
    """But for the begin-of-text mark, which is the tokenizer's, and the day."""
    from transformers.utils.chat_template_utils import render_jinja_template

    message = "Café <b> & 'x'?\nYes."
    mine = template(tmp_path, source, bos_token="<s>", eos_token={"content": "</s>"})
    (theirs,), _ = render_jinja_template(
        [[{"role": "user", "content": message}]],
        chat_template=source.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'"),
        add_generation_prompt=True,
        bos_token="",
        eos_token="</s>",
    )
    assert mine.render(message) == theirs


def test_where_a_template_can_be(tmp_path):
    named = [{"name": "tool", "template": "no"}, {"name": "default", "template": "yes"}]
    assert template(tmp_path, named).render("x") == "yes"
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}{{ eos_token }}!")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<e>"}')
    assert ChatTemplate(str(tmp_path / "chat_template.jinja")).render("x") == "x<e>!"
    (tmp_path / "tokenizer_config.json").unlink()
    assert ChatTemplate(str(tmp_path / "chat_template.jinja")).render("x") == "x!"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for %}", "fails: TemplateSyntaxError"),
        ("{% generation %}x", "fails: TemplateSyntaxError"),
        ("{{ raise_exception('no system role') }}", "fails: ValueError: no system role"),
        ("{{ messages.clear() }}", "fails: SecurityError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "fails: SecurityError"),
        ("{{ messages[0].content + 1 }}", "fails: TypeError"),
        (None, "holds no chat_template"),
        ([{"name": "tool", "template": "x"}], "holds no chat_template"),
    ],
)
def test_a_template_that_fails_is_one_line(tmp_path, source, message):
    with pytest.raises(UserError, match=message) as error:
        template(tmp_path, source).render("x")
    assert "task.chat_template=" in str(error.value) and "\n" not in str(error.value)


def test_a_template_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        ChatTemplate(str(tmp_path / "none.jinja"))
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(UserError, match="a.json is not a JSON object"):
        ChatTemplate(str(tmp_path / "a.json"))
