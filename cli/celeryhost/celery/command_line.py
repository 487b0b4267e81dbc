"""Command lines that start Celery, as people write them: through nice, env, `poetry run`, `python -m` and shells."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from shlex import shlex, split
from typing import NamedTuple

from ..shebang import python_of

NAMES = ("worker", "beat")
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "ash")
LAUNCHERS = ("poetry", "pipenv", "uv", "pdm", "hatch", "rye", "pixi", "conda", "mamba", "micromamba")
# https://docs.celeryq.dev/en/stable/reference/cli.html: options of `celery` itself that take a value
BEFORE = ("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_DEPTH = 4  # shells in shells


class Command(NamedTuple):
    """`name` is worker or beat; `words` are Celery's own, up to `--`, and `settings` those after it; `celery` and
    `python` (None without) as they are written; `launcher` what finds their environment, such as `poetry run`; the
    `directory` (or None), the `environment` and the folders before those of PATH (`path`) are what shells set."""

    name: str
    words: list[str]
    settings: list[str]
    celery: str
    python: str | None
    launcher: list[str]
    directory: str | None
    environment: dict[str, str]
    path: list[str]


def read(command: str | list[str]) -> Command | None:
    """The Command that a command line is, None when it starts no worker and no beat."""
    try:
        words = split(command) if isinstance(command, str) else command
        return _read(words, _DEPTH)
    except ValueError:  # quotes that are not closed
        return None


def of_process(words: list[str]) -> Command | None:
    """The Command that a process itself is, None also for a shell or a lock that only waits for one."""
    runs = words and re.match(r"python|pypy|celery", os.path.basename(words[0]))
    return read(words) if runs and any(os.path.basename(word) == "celery" for word in words[:5]) else None


def is_beat(command: Command) -> bool:
    """Whether it sends what is due: beat, or a worker with -B."""
    return command.name == "beat" or bool({"-B", "--beat"} & set(command.words))


def option(words: list[str], short: str, long: str) -> str:
    """The value that a command line gives to an option, as click reads it; empty without one."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in (short, long):
            return following
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
        if word.startswith(short) and not word.startswith("--"):
            return word[len(short) :]
    return ""


def own_log(command: str) -> str | None:
    """The file that a `celery …` command line logs to itself (-f); None without one, and for a name with patterns."""
    found = read(command)
    path = option(found.words, "-f", "--logfile") if found else ""
    return path if path.startswith("/") and "%" not in path else None


def interpreter(command: Command, path: str | None = None) -> list[str]:
    """What starts the Python that Celery runs in, with what finds its environment; `path` is the program's PATH.

    What is not found stays as it is written.
    """
    path = ":".join([*command.path, path or PATH])
    if command.launcher:
        tool, *words = command.launcher
        return [shutil.which(tool, path=path) or tool, *words, command.python or "python"]
    if command.python:
        return [shutil.which(command.python, path=path) or command.python]
    found = shutil.which(command.celery, path=path)
    if not found:
        return [command.celery]
    return [python_of(found)]


def _read(words: list[str], depth: int) -> Command | None:
    calls = (n for n, word in enumerate(words) if os.path.basename(word) == "celery")
    at, name = next(((n, name) for n in calls if (name := _name(words[n + 1 :]))), (0, ""))
    if not name:
        return _of_shell(words, depth) if depth else None
    end = words.index("--", at) if "--" in words[at:] else len(words)
    start, python = at, None
    if words[at - 1 : at] == ["-m"]:
        start = at - 2
        while start > 0 and (words[start].startswith("-") or words[start - 1] in ("-W", "-X")):
            start -= 1
        python = words[start]
    before = words[:start]
    tool = next(
        (n for n, word in enumerate(before) if os.path.basename(word) in LAUNCHERS and "run" in before[n:]), None
    )
    launcher = [] if tool is None or "/" in (python or words[at]) else before[tool:]
    given = dict(word.split("=", 1) for word in before if _ASSIGNMENT.match(word))
    return Command(name, words[at + 1 : end], words[end + 1 :], words[at], python, launcher, None, given, [])


def _name(words: list[str]) -> str | None:
    """Celery's command: the first word that is no option and no option's value."""
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if word in BEFORE:
            next(rest, None)
        elif not word.startswith("-"):
            return word if word in NAMES else None
    return None


def _of_shell(words: list[str], depth: int) -> Command | None:
    """The Command that a shell is to start: in its script, or given to the script as "$@"."""
    for n, word in enumerate(words[:-2]):
        if os.path.basename(word) in SHELLS and re.fullmatch(r"-[a-z]*c", words[n + 1]):
            outer = dict(word.split("=", 1) for word in words[:n] if _ASSIGNMENT.match(word))
            found = _of_script(words[n + 2], depth) or _read(words[n + 3 :], depth - 1)
            return found and found._replace(environment=outer | found.environment)
    return None


def _of_script(script: str, depth: int) -> Command | None:
    directory: str | None = None
    environment: dict[str, str] = {}
    path: list[str] = []
    for words in _simple_commands(script):
        if words[0] == "cd" and len(words) > 1:
            directory = os.path.join(directory or "", words[1])
        elif words[0] in (".", "source") and words[1:] and os.path.basename(words[1]) == "activate":
            path.insert(0, os.path.join(directory or "", os.path.dirname(words[1])))
        elif found := _read(words, depth - 1):
            folders = [folder for folder in (directory, found.directory) if folder]
            return found._replace(
                directory=os.path.join(*folders) if folders else None,
                environment=environment | found.environment,
                path=[*found.path, *path],
            )
        elif words[0] == "export" or all(map(_ASSIGNMENT.match, words)):
            environment |= dict(word.split("=", 1) for word in words if _ASSIGNMENT.match(word))
    return None


def _simple_commands(script: str) -> Iterator[list[str]]:
    """The words of each command of a script; what a redirection says is left out."""
    lexer = shlex(script.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.commenters = ""
    words: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;()"):
            if words:
                yield words
            words, redirected = [], False
        elif set(word) <= set("<>&"):
            redirected = True
        elif not redirected:
            words.append(word)
