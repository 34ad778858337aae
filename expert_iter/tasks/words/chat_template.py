"""A checkpoint's chat template, as `transformers` renders it."""

import datetime
import functools
import json
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from expert_iter.errors import UserError

_DAY = datetime.date(2024, 7, 26)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, around what an assistant says: its content."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class ChatTemplate:
    """A checkpoint's chat template, which is a program of its author's: run in Jinja's sandbox.

    It sees the variables that `transformers` gives it, but for two: the begin-of-text mark is
    empty, for the tokenizer writes one before every prompt, and today is always 26 July 2024 (what
    Llama 3's template takes where there is no clock), so that a prompt is the same every day.
    """

    def __init__(self, path: str):
        """From a `tokenizer_config.json`, or a `.jinja` file (special tokens are then taken from
        the tokenizer_config.json beside it, if there is one). Raises UserError.
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
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _DAY.strftime}
        self._marks = {**_special_tokens(facts), "bos_token": ""}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise self._error(error) from None

    def render(self, message: str) -> str:
        """The prompt for what a user says, up to where the model is to answer."""
        messages = [{"role": "user", "content": message}]
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._marks,
            )
        except Exception as error:  # whatever the template's author did
            raise self._error(error) from None

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"task.chat_template={self._path} cannot be read: {error.strerror}"
            ) from None
        except UnicodeError:
            raise UserError(f"task.chat_template={self._path}: {path} is no UTF-8 text") from None

    def _facts(self, path: Path) -> dict[str, Any]:
        text = self._read(path)
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise UserError(f"task.chat_template={self._path}: {path} is no JSON object")
        return facts

    def _error(self, error: Exception) -> UserError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return UserError(f"task.chat_template={self._path} fails: {reason}")


def _template_of(facts: dict[str, Any]) -> str | None:
    """The template in a tokenizer_config.json; of several named ones, the default."""
    template = facts.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if item}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _special_tokens(facts: dict[str, Any]) -> dict[str, str]:
    """Those named in a tokenizer_config.json, where each is a text or an object with one."""
    tokens = {}
    for name in ("eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        value = facts.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            tokens[name] = value
    return tokens


def _refuse(message: str) -> None:
    raise ValueError(message)
