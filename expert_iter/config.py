"""What a config holds: one section a part, each the dataclass that stands beside the code it
configures.

Configs are `ml_collections.ConfigDict`s made by `default_config` and changed by a config file and
by flags (`--config.search.num_simulations=32`). `settings` turns one into checked dataclasses;
whatever is wrong with a key or a value is said in one line.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from expert_iter import extensions, renamed
from expert_iter.errors import UserError
from expert_iter.learn.learner import LearnerConfig
from expert_iter.learn.objectives import OBJECTIVES
from expert_iter.learn.objectives.objective import ObjectiveConfig
from expert_iter.learn.optimizer import OptimizerConfig
from expert_iter.learn.replay import ReplayConfig
from expert_iter.learn.warm_start import WarmStartConfig
from expert_iter.measure.evaluator import EvaluationConfig
from expert_iter.model.tokenizers.sentencepiece_model import TokenizerConfig
from expert_iter.model.transformer_config import TransformerConfig
from expert_iter.model.weights import pretrained
from expert_iter.model.weights.pretrained import PretrainedConfig
from expert_iter.overrides import did_you_mean
from expert_iter.pod.mesh import MeshConfig
from expert_iter.range_checks import Checks
from expert_iter.search.behaviour import SamplerConfig
from expert_iter.search.experts import EXPERTS
from expert_iter.search.guess import GuessConfig
from expert_iter.search.search_config import SearchConfig
from expert_iter.storage import workdir as workdir_lib
from expert_iter.storage.tree_store import StoreConfig
from expert_iter.tasks import task_settings
from expert_iter.tasks.verifier.pool import VerifierConfig

FIRST_SEARCH, SEARCH = "first search", "search"  # the phases of self-play


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The rounds of a run. Each plays problems by the expert, then learns.

    A checkpoint is saved after every phase.

    Attributes:
      seed: seed of everything that is random.
      rounds: rounds of search and learning.
      expert: the expert that searches, by its name in `search.experts`.
      first_expert: an expert that tries all problems of a round first; `expert` then searches those
        that it did not solve. Empty: none.
      problems_per_round: training problems that a round searches.
      batch_size: problems of a search.
      batches_in_flight: batches that are searched at once, so that devices work on one while the
        verifier works on another. Trees are the same; each takes its memory.
      tokens_per_round: ends a round's search early, at the batch that comes nearest to so many
        generated tokens. 0: never.
      save_seconds: the longest time between two saves within a phase.
      keep_checkpoints: how many of the newest are kept, beside the best.
    """

    seed: int = 0
    rounds: int = 8
    expert: str = "mcts"
    first_expert: str = ""
    problems_per_round: int = 1024
    batch_size: int = 128
    batches_in_flight: int = 2
    tokens_per_round: int = 0
    save_seconds: float = 60.0
    keep_checkpoints: int = 2

    def __post_init__(self):
        check = Checks("run", self)
        check.one_of("expert", *EXPERTS)
        check.one_of("first_expert", "", *EXPERTS)
        check.at_least(
            1, "problems_per_round", "batch_size", "batches_in_flight", "keep_checkpoints"
        )
        check.not_negative("rounds", "seed", "save_seconds", "tokens_per_round")

    @property
    def searchers(self) -> dict[str, str]:
        """The experts of a round in their order, by the phase in which each searches."""
        experts = {FIRST_SEARCH: self.first_expert, SEARCH: self.expert}
        return {phase: expert for phase, expert in experts.items() if expert}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A checked config: `task_name` and `task` (that task's own dataclass), and every section."""

    task_name: str
    task: Any
    run: RunConfig
    mesh: MeshConfig
    verifier: VerifierConfig
    tokenizer: TokenizerConfig
    pretrained: PretrainedConfig
    model: TransformerConfig
    search: SearchConfig
    sampler: SamplerConfig
    guess: GuessConfig
    optimizer: OptimizerConfig
    learner: LearnerConfig
    replay: ReplayConfig
    store: StoreConfig
    warm_start: WarmStartConfig
    evaluation: EvaluationConfig
    objectives: Mapping[str, ObjectiveConfig]


_NOT_SECTIONS = ("task_name", "task", "objectives")
SECTIONS = {x.name: x.type for x in dataclasses.fields(Settings) if x.name not in _NOT_SECTIONS}


def sections() -> dict[str, type]:
    """The dataclass of each section, those of all objectives included.

    Raises UserError where an objective has the name of another section.
    """
    if taken := OBJECTIVES.keys() & {"imports", "task", *SECTIONS}:
        raise UserError(f"objective {min(taken)!r} has the name of a section: name it otherwise")
    return SECTIONS | {name: config for name, (_, config) in OBJECTIVES.items()}


def default_config(task: str) -> ConfigDict:
    """Every key with its default; the section `task` has the keys of the named task.

    `imports`: modules that add experts, objectives or tasks, with commas between (`extensions`).
    """
    others = {name: dataclasses.asdict(section()) for name, section in sections().items()}
    own = {"name": task, **dataclasses.asdict(task_settings(task)())}
    return ConfigDict({"imports": extensions.loaded(), "task": own, **others})


def completed(config: ConfigDict | dict) -> dict:
    """A run's config with the defaults of keys that came up after the run was made."""
    config = config.to_dict() if isinstance(config, ConfigDict) else config
    task = config.get("task")
    if not isinstance(task, dict) or not isinstance(task.get("name"), str):
        return config  # `settings` says what is wrong with it
    config = renamed.translated(config)
    defaults = default_config(task["name"]).to_dict()
    filled = {
        section: defaults[section] | given
        for section, given in config.items()
        if section in defaults and isinstance(given, dict)
    }
    return defaults | config | filled


def of_workdir(workdir: str | os.PathLike) -> ConfigDict:
    """The settings of the run in a workdir, its extensions loaded. Raises UserError."""
    stored = workdir_lib.read_config(workdir)
    imports = stored.get("imports", "")
    extensions.load(imports if isinstance(imports, str) else "")
    return ConfigDict(completed(stored))


def fill_from_weights(config: ConfigDict) -> None:
    """Sets the shape of the network to that of the published weights that a run starts from."""
    directory, model = config.pretrained.directory, config.model
    if not directory:
        return
    directory = Path(directory).expanduser().absolute()
    shape = pretrained.transformer_config(directory, model.dtype, model.param_dtype)
    own = ("lora_rank", "lora_alpha")
    model.update({k: v for k, v in dataclasses.asdict(shape).items() if k not in own})
    config.pretrained.directory = str(directory)
    config.pretrained.vocab_size = pretrained.vocab_size(directory)


def settings(config: ConfigDict | dict) -> Settings:
    """Checks every key, type and value. Raises UserError."""
    config = config.to_dict() if isinstance(config, ConfigDict) else config
    _check_keys(config, ("imports", "task", *sections()), "")
    task = config["task"]
    name = task.get("name") if isinstance(task, dict) else None
    if not isinstance(name, str):
        raise UserError("task.name must name a task, such as 'countdown'")
    own = {key: value for key, value in task.items() if key != "name"}
    built = {section: _build(cls, config[section], section) for section, cls in sections().items()}
    objectives = {section: built.pop(section) for section in OBJECTIVES}
    own = _build(task_settings(name), own, "task")
    return Settings(task_name=name, task=own, objectives=objectives, **built)


def _check_keys(given: Any, known, prefix: str) -> None:
    if not isinstance(given, dict):
        raise UserError(
            f"config.{prefix.rstrip('.')} must be a section with the keys {', '.join(known)}"
        )
    for key in given:
        if key not in known:
            if prefix + key in renamed.SETTINGS:
                raise UserError(renamed.hint(prefix + key))
            hint = did_you_mean(key, known, prefix) or f"; there are {', '.join(known)}"
            raise UserError(f"config has no key {prefix}{key}{hint}")
    for key in known:
        if key not in given:
            raise UserError(f"config lacks the key {prefix}{key}")


def _build(cls, given: dict, section: str):
    fields = {field.name: field for field in dataclasses.fields(cls)}
    _check_keys(given, tuple(fields), section + ".")
    values = {
        key: _as_type_of(field.default, given[key], f"{section}.{key}")
        for key, field in fields.items()
    }
    return cls(**values)


def _as_type_of(default: Any, value: Any, name: str) -> Any:
    """The value as the default's type; JSON has no tuples, and flags write 1 for 1.0."""
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(_as_type_of(default[0], item, name) if default else item for item in value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise UserError(f"{name} must be of type {type(default).__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {value}")
    return value
