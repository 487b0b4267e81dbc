"""What files beside a project's code say: its requirements, how its beat is started, which environment it wants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from ..apps import DATABASE_SCHEDULER, DJANGO

# Words of a requirements file's path: what is deployed says more than what all have; what developers need, nothing.
_DEPLOYED = ("production", "prod", "deploy", "requirements", "reqs", "base", "common")
_DEVELOPED = re.compile(
    r"(?<![a-z])(dev|develop\w*|local|tests?|testing|docs?|lint\w*|ci|constraints?|overrides?)(?![a-z])"
)
_REQUIREMENTS = re.compile(
    r"((requirements?|reqs?)([-_.]\w+)*|(requirements?|reqs?|dependencies)/([\w-]+/)?[\w.-]+)\.(txt|in)"
)
_ABOUT = re.compile(rb"^[ \t]*(django|celery|-r|-c|-e|\.)", re.MULTILINE | re.IGNORECASE)

_SAMPLE = re.compile(
    r"\.?envs?([-_.]?(example|sample|template|dist|default)s?)|(example|sample|template)s?[-_.]env", re.IGNORECASE
)
_STARTERS = re.compile(
    r"Procfile.*|(docker-)?compose.*\.ya?ml|supervisor.*|.*\.(conf|ini|service|sh)|Makefile|[Jj]ustfile|Dockerfile.*|"
    r"(start|run|entrypoint)[\w.-]*|.*beat.*"
)
_CODE = (".py", ".pyc", ".md", ".rst", ".html", ".js", ".css", ".lock", ".sqlite3")
_LARGEST = 200_000  # bytes of a file that is looked into
# A statement over several lines: a backslash, the items of a YAML list, options that begin the next line.
_GOES_ON = re.compile(r"\\\n|\n[ \t]*-[ \t]+(?=\S)|\n[ \t]+(?=--?\w)")


def requirements(directory: str, top: str, folders: Iterable[tuple[str, list[str]]]) -> list[str]:
    """The requirements files for the manage.py in `directory`, the likeliest first, as whole paths.

    Those beside it come first, then those of the folders above it up to `top`, then those elsewhere in the project
    that name Django or Celery. `folders` yields the folders below `top` with their files' names.
    """
    places = [*_upwards(directory, top)]
    found = []
    for file in (os.path.join(folder, name) for folder, names in folders for name in names):
        near = next((n for n, place in enumerate(places) if _matches(os.path.relpath(file, place))), len(places))
        tail = os.path.relpath(file, places[near] if near < len(places) else os.path.dirname(os.path.dirname(file)))
        if near == len(places) and not (
            _matches(tail) or (_matches(os.path.basename(file)) and _ABOUT.search(_read(file)))
        ):
            continue
        word = re.split(r"[-_./]", os.path.splitext(tail)[0].lower())[-1]
        rank = _DEPLOYED.index(word) if word in _DEPLOYED else len(_DEPLOYED)
        found.append((near, tail != "requirements.txt", tail.endswith(".in"), rank, file))
    return [file for *_, file in sorted(found)]


def _matches(below: str) -> bool:
    return bool(_REQUIREMENTS.fullmatch(below)) and not _DEVELOPED.search(below.lower())


def samples(directory: str, top: str) -> list[str]:
    """Files that show a developer which environment the project wants, as whole paths."""
    return [
        os.path.join(place, name)
        for place in _upwards(directory, top)
        for name in sorted(os.listdir(place))
        if _SAMPLE.fullmatch(name) and os.path.isfile(os.path.join(place, name))
    ]


def celery_lines(folders: Iterable[tuple[str, list[str]]]) -> list[tuple[list[str], str]]:
    """The words behind `celery` of each line that starts one of its programs, and the file."""
    found = []
    for folder, names in folders:
        for name in names:
            if _STARTERS.fullmatch(name) and not name.endswith(_CODE):
                file = os.path.join(folder, name)
                found += [(words, file) for words in _commands(_read(file).decode(errors="replace"))]
    return found


def apps_started(lines: list[tuple[list[str], str]]) -> set[str]:
    """What workers and beats among `celery_lines` are given as -A."""
    named = (
        re.search(r"(?:--app(?:=|\s+)|(?<!\S)-A\s*)([\w.:]+)", " ".join(words))
        for words, _ in lines
        if {"worker", "beat"} & {*words}
    )
    return {found[1] for found in named if found}


def beat_lines(lines: list[tuple[list[str], str]]) -> list[tuple[str | None, str]]:
    """Of each of `celery_lines` that starts beat: its scheduler as `celery_apps` names it, or None, and the file."""
    found = []
    for words, file in lines:
        if "beat" in words or ("worker" in words and {"-B", "--beat"} & {*words}):
            named = re.search(r"(?:--scheduler(?:=|\s+)|(?<!\S)-S\s*)([\w.:]+)", " ".join(words))
            found.append((_scheduler(named[1]) if named else None, file))
    return found


def _commands(text: str) -> Iterator[list[str]]:
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    for command in re.findall(r"(?<![\w-])celery(?![\w-])(.*)", _GOES_ON.sub(" ", text)):
        yield re.findall(r"""[^\s"',\[\]]+""", command)


def _scheduler(name: str) -> str:
    return DJANGO if name.replace(":", ".") == DATABASE_SCHEDULER.replace(":", ".") else name


def _upwards(directory: str, top: str) -> Iterator[str]:
    """`directory` and the folders above it up to `top`."""
    yield directory
    while directory != top and directory.startswith(top):
        directory = os.path.dirname(directory)
        yield directory


def _read(file: str) -> bytes:
    try:
        if not os.path.isfile(file):  # a FIFO would not end
            return b""
        with open(file, "rb") as source:
            return source.read(_LARGEST)
    except OSError:
        return b""
