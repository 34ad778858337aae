"""What all commands share: the command line, and errors in one line.

A command is `run(main, config=...)`. It exits with code 0, with 2 after a mistake that the user can
fix, or with 130 after Ctrl-C. EXPERT_ITER_TRACEBACK=1 in the environment adds the traceback.
--allow-unsandboxed-code runs model-written programs where there is no sandbox.
"""

import errno
import inspect
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict

from expert_iter import extensions, overrides
from expert_iter.errors import Preempted, UserError
from expert_iter.pod.host_memory import keep_freed_memory
from expert_iter.storage import files

CHECKPOINT = (  # help text of --checkpoint, for commands that load a run's network
    "Which checkpoint: last, best (by the expert on validation problems), or a position."
)
UNSANDBOXED = "--allow-unsandboxed-code"  # matters to tasks whose solutions are programs
FROM_FILE = "file"
FROM_FILE_ALONE = "file alone"
FROM_WORKDIR = "workdir"
_TASK = "--config.task.name="

_FILE_HELP = """
  --config=FILE: the settings, a Python file with a get_config(); see configs/
  --config.KEY=VALUE: change one of them, such as --config.search.num_simulations=32
"""
_HELP = {
    FROM_FILE: f"{_FILE_HELP}  --workdir=DIR: the run's directory; an existing run resumes\n",
    FROM_FILE_ALONE: _FILE_HELP,
    FROM_WORKDIR: """
  --workdir=DIR: the training run's directory
  --config.KEY=VALUE: change one of its settings, such as --config.search.num_simulations=32
""",
    None: "",
}

# Errors of the operating system that the user can fix. Any other OSError is a bug.
_FIXABLE = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM")
}


def run(main: Callable, config: str | None = FROM_FILE) -> NoReturn:
    """Reads the command line, calls `main` and ends the process.

    Args:
      main: called as `main(settings, workdir, *arguments)`. The settings are an
        `ml_collections.ConfigDict` whose lists are tuples. The workdir, a `Path`, is left out with
        FROM_FILE_ALONE; both are left out if `config` is None. `arguments` are the command line's
        arguments that are not flags. The command's own flags are absl flags of its module.
      config: where the settings come from, before `--config.KEY=VALUE` changes them. FROM_FILE and
        FROM_FILE_ALONE: the file of `--config`. FROM_WORKDIR: the run in `--workdir`. None: there
        are no settings.
    """
    quiet()
    try:
        sys.exit(_call(main, config, sys.argv))
    except Preempted:
        print("preempted: saved; run the same command to resume", file=sys.stderr, flush=True)
        from expert_iter.pod import processes  # here, for it imports JAX

        processes.shutdown()
        _exit(0)
    except KeyboardInterrupt:
        _fail("stopped" + ("; run the same command to resume" * (config == FROM_FILE)), 130)
    except UserError as error:
        _fail(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in _FIXABLE:
            raise
        where = f": {error.filename}" if error.filename else ""
        _fail(f"error: {error.strerror}{where}; fix that and run the same command again", 2)
    except Exception as error:
        from expert_iter.pod import processes  # here, for it imports JAX

        if not processes.lost_a_peer(error):
            raise
        processes.exit_after_losing([])


def quiet() -> None:
    """Silences the libraries' logs and warnings, so that the terminal shows this program alone."""
    for name in ("absl", "jax", "orbax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors; read when JAX is first imported
    if not sys.warnoptions:  # `python -W` still shows them
        warnings.simplefilter("ignore")


def enable_compilation_cache() -> None:
    """Stores compiled programs for later runs.

    They go to JAX_COMPILATION_CACHE_DIR, by default a directory in the user's cache. If it is not
    writable, a line on stderr says so, and nothing is stored.
    """
    import jax  # here, so that a mistyped flag need not wait for it

    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    try:
        if not directory:
            caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            directory = Path(caches, "expert_iter", "jax")
        os.makedirs(directory, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        print(
            f"{directory or 'the cache directory'} cannot be written, so each run compiles its "
            "programs again; set JAX_COMPILATION_CACHE_DIR to a writable directory",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    # JAX's default is one second, which most programs of a small model stay below.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _call(main: Callable, source: str | None, argv: list[str]) -> Any:
    if UNSANDBOXED in argv:
        argv = [argument for argument in argv if argument != UNSANDBOXED]
        os.environ["EXPERT_ITER_ALLOW_UNSANDBOXED_CODE"] = "1"
    # With `python -m`, absl registers the module's flags under the program's name.
    module = argv[0] if main.__module__ == "__main__" else main.__module__
    if {"--help", "-help", "-h", "--helpfull"} & set(argv):
        doc = inspect.getdoc(sys.modules[main.__module__]) or ""
        print(f"{doc}\n\nFlags:{_HELP[source]}{flags.FLAGS.module_help(module)}")
        return 0

    names = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(module)]
    arguments: list[Any] = []
    if source is not None:
        config, workdir, argv = _settings(source, argv)
        names += ["workdir", "config", *(f"config.{key}" for key in overrides.leaves(config))]
        arguments = [config] if source == FROM_FILE_ALONE else [config, workdir]
    given = _parse(flags.FLAGS, argv, names)[1:]
    try:
        inspect.signature(main).bind(*arguments, *given)
    except TypeError as error:
        listed = ", ".join(map(repr, given)) or "none"
        raise UserError(f"{error} (arguments given: {listed}); see --help") from None
    if source is not None:
        from expert_iter.pod.host_devices import split_cpu  # here, for it imports JAX

        enable_compilation_cache()
        keep_freed_memory()
        split_cpu(getattr(config.get("learner"), "rows", None), _parameters(config))
    return main(*arguments, *given)


def _parameters(config: ConfigDict) -> int:
    """Numbers of the network. 0 where the settings are wrong, which the command finds itself."""
    import jax  # here, as what follows

    from expert_iter.config import fill_from_weights, settings
    from expert_iter.model.transformer import Network

    filled = config.copy_and_resolve_references()
    try:
        fill_from_weights(filled)
        checked = settings(filled)
    except (UserError, AttributeError):
        return 0
    network = Network(checked.model, max(checked.pretrained.vocab_size, 1))
    return sum(x.size for x in jax.tree.leaves(network.abstract_params()))


def _settings(source: str, argv: list[str]) -> tuple[ConfigDict, Path | None, list[str]]:
    """The settings, the workdir or None, and the rest of the command line."""
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    argv = _parse(values, argv)
    if source in (FROM_FILE, FROM_FILE_ALONE):
        if not values.config:
            raise UserError("--config is missing: name a file, as in --config=configs/countdown.py")
        extensions.load(_given_imports(argv))
        config = overrides.load_config(values.config)
        _add_sections(config)
    elif values.config:
        raise UserError(
            "--config=FILE is for training: this command takes the settings of --workdir; "
            "--config.KEY=VALUE changes one"
        )
    if source == FROM_FILE_ALONE:
        if values.workdir:
            raise UserError("--workdir is for runs: this command does not start one")
        return config, None, overrides.override(config, argv)
    if not values.workdir:
        raise UserError("--workdir is missing: name the run's directory, as in --workdir=runs/1")
    workdir = files.path(values.workdir)
    if source == FROM_WORKDIR:
        from expert_iter.config import default_config, of_workdir  # here, for it imports JAX

        extensions.load(_given_imports(argv))
        config = of_workdir(workdir)
        if "mesh" in config:  # the run may come from another machine
            config.mesh = default_config(config.task.name).mesh
        for argument in argv:  # another task has other settings
            if argument.startswith(_TASK) and argument != _TASK + config.task.name:
                config.task = default_config(argument.removeprefix(_TASK)).task
    return config, workdir, overrides.override(config, argv)


def _given_imports(argv: list[str]) -> str:
    """The modules in --config.imports, which must be imported before the settings are read."""
    return ",".join(a.partition("=")[2] for a in argv if re.match("--?config.imports=", a))


def _add_sections(config: ConfigDict) -> None:
    """Adds the config sections of the objectives that the config's imports define."""
    if not isinstance(imports := config.get("imports", ""), str) or not imports:
        return
    from expert_iter.config import completed  # here, for it imports JAX

    extensions.load(imports)
    config.update(completed(config))


def _parse(values: flags.FlagValues, argv: list[str], names: list[str] | None = None) -> list[str]:
    """Sets `values` from `argv`.

    Args:
      names: flags to suggest for an unknown one; None leaves unknown flags in the result.

    Returns:
      The program's name, then the arguments that are not flags.
    """
    values.set_gnu_getopt(True)  # flags may follow other arguments
    try:
        return values(argv, known_only=names is None)
    except flags.UnrecognizedFlagError as error:
        hint = overrides.did_you_mean(error.flagname, names or (), "--")
        raise UserError(f"unknown flag --{error.flagname}{hint or '; see --help'}") from None
    except flags.Error as error:
        raise UserError(str(error)) from None


def _fail(line: str, code: int) -> NoReturn:
    if os.environ.get("EXPERT_ITER_TRACEBACK") == "1":
        traceback.print_exc()
    print(" ".join(line.split()), file=sys.stderr)
    _exit(code)


def _exit(code: int) -> NoReturn:
    if "jax" in sys.modules:
        from expert_iter.pod import processes

        processes.exit(code)
    sys.exit(code)
