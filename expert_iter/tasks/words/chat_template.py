"""Renders prompts by a checkpoint's chat template, as `transformers` does."""

import datetime
import functools
import json
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from expert_iter.errors import UserError

_TODAY = datetime.date(2024, 7, 26)  # fixed: the default date of Llama 3's template


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}` renders as its content, an assistant's message."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class ChatTemplate:
    """A checkpoint's chat template, which is an untrusted program: it runs in Jinja's sandbox.

    It gets the variables that `transformers` sets, except for two. The begin-of-text token is
    empty, because the tokenizer adds one to every prompt. The date is fixed, so that prompts are
    the same every day.
    """

    def __init__(self, path: str):
        """Loads a template.

        Args:
          path: a `tokenizer_config.json`, or a `.jinja` file. With the latter, special tokens come
            from the `tokenizer_config.json` beside it, if there is one.

        Raises:
          UserError: the file is missing, or holds no valid template.
        """
        self._path = path
        if Path(path).suffix == ".jinja":
            beside = Path(path).with_name("tokenizer_config.json")
            source, facts = self._read(Path(path)), self._facts(beside) if beside.is_file() else {}
        else:
            facts = self._facts(Path(path))
            source = _template_of(facts)
        if source is None:
            raise UserError(
                f"task.chat_template={path} holds no chat_template: name the checkpoint's "
                "chat_template.jinja instead, or use task.prompt=few_shot"
            )
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _TODAY.strftime}
        self._marks = {**_special_tokens(facts), "bos_token": ""}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise self._error(error) from None

    def render(self, message: str) -> str:
        """The prompt for a user's message; the model's answer follows it."""
        messages = [{"role": "user", "content": message}]
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._marks,
            )
        except Exception as error:  # a template can raise anything
            raise self._error(error) from None

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"task.chat_template={self._path} cannot be read: {error.strerror}"
            ) from None
        except UnicodeError:
            raise UserError(f"task.chat_template={self._path}: {path} is not UTF-8 text") from None

    def _facts(self, path: Path) -> dict[str, Any]:
        text = self._read(path)
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise UserError(f"task.chat_template={self._path}: {path} is not a JSON object")
        return facts

    def _error(self, error: Exception) -> UserError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return UserError(f"task.chat_template={self._path} fails: {reason}")


def _template_of(facts: dict[str, Any]) -> str | None:
    """The template in a tokenizer_config.json; the one named default if there are several."""
    template = facts.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if item}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _special_tokens(facts: dict[str, Any]) -> dict[str, str]:
    """The special tokens in a tokenizer_config.json, by name."""
    tokens = {}
    for name in ("eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        value = facts.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            tokens[name] = value
    return tokens


def _refuse(message: str) -> None:
    raise ValueError(message)
