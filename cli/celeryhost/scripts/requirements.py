"""What a project declares that it needs: files of requirements, a lock file, or pyproject.toml.

It reads only, and stands alone, without another module of this package: on a host its text is run by the app's own
account, which may read no more than the app itself (`python3 -c TEXT`, a question on stdin, JSON on stdout).
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# The likeliest first, in the folder of manage.py before the top of the code. A lock file says more than what it locks.
REQUIREMENTS = "requirements.txt"
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
PYPROJECT = "pyproject.toml"
# Beside a lock file or a local package: what else changes what is installed, or says which Python it needs.
BESIDE = (PYPROJECT, "Pipfile", "setup.py", "setup.cfg", "uv.toml")
LARGEST = 8 * 1024 * 1024  # bytes of one file
MOST = 64  # files
LONGEST = 200  # characters of requires-python
# No \s before what a line begins with: it takes in line breaks, and a file of nothing else would take it for ever.
_INCLUDED = re.compile(r"^[ \t]*(?:-[rc]|--requirement|--constraint)[ =]*([^\s#]+)", re.MULTILINE)
_LOCAL = re.compile(r"^[ \t]*(?:(?:-e|--editable)[ =]*)?((?:file:(?://)?)?\.{0,2}/?[^\s#;\[]*)", re.MULTILINE)

_LIST = re.compile(r"^[ \t]*\"?([\w.-]+)\"?[ \t]*=[ \t]*\[", re.MULTILINE)


class Unfit(Exception):
    """What cannot be read as requirements, in words for a person."""


def declared(directory: str, top: str | None = None, named: list[str] | None = None) -> dict[str, Any]:
    """What the project in `directory` (of manage.py), whose code begins at `top`, declares; Unfit names what is wrong.

    `kind`: requirements, pyproject, a lock file's name, or "" where nothing is declared; `files`: whole paths of what
    the installer is given, in order; `texts`: what was read, by path, whatever these files include among it; `python`:
    the Pythons it is for, as written, or ""; `hashed`: whether each package is pinned by its hash. `named` are files
    as seen from `directory`; without them the likeliest is taken.
    """
    if named is None:
        files = _found(directory, top or directory)
    else:
        files = [os.path.normpath(os.path.join(directory, name)) for name in named]
    kinds = [kind_of(path) for path in files]
    if len(files) > 1 and set(kinds) - {"requirements"}:
        other = next(path for path, kind in zip(files, kinds, strict=False) if kind != "requirements")
        raise Unfit(f"requirements: {os.path.basename(other)} stands alone; name it, or the other files")
    texts: dict[str, str] = {}
    for path in files:
        _add(path, texts, needed=True)
    return {
        "kind": kinds[0] if kinds else "",
        "files": files,
        "texts": texts,
        "python": _python(texts),
        "hashed": kinds[:1] == ["requirements"] and any("--hash" in texts[path] for path in files),
    }


def kind_of(path: str) -> str:
    """How the file is installed."""
    name = os.path.basename(path)
    if name in LOCKS:
        return name
    if re.fullmatch(r"pylock\.[^.]+\.toml", name):
        return "pylock.toml"
    if name == "Pipfile":
        raise Unfit(f"requirements: {path} is not locked; run pipenv lock and name Pipfile.lock")
    return "pyproject" if name == PYPROJECT else "requirements"


def fits(version: tuple[int, int], wanted: str) -> bool:
    """Whether some release of Python `version` is one of those `wanted` (>=3.11,<4, ^3.11, 3.12.*); True if unclear."""
    for either in wanted.split("||"):
        if all(_clause(version, clause) for clause in re.split(r"[,\s]+(?=[<>=!~^]|\d|$)", either.strip()) if clause):
            return True
    return False


def is_local(texts: dict[str, str]) -> bool:
    """Whether what is declared installs something from the code's own folder, which then has to stay where it is."""
    return any(
        re.search(r"^\s*(?:-e|--editable)[ =]|^\s*(?:file:|\.{1,2}/|\.(?:\s|\[|$))|@ *file:", text, re.MULTILINE)
        or re.search(r"= \{ (?:editable|directory) = ", text)
        for text in texts.values()
    )


def groups(text: str) -> list[str]:
    """Names of the groups of dependencies in the text of a pyproject.toml."""
    tables = _tables(text)
    found = _LIST.findall(tables.get("dependency-groups", ""))
    found += _LIST.findall(tables.get("tool.pdm.dev-dependencies", ""))
    found += [match[1] for name in tables if (match := re.match(r"tool\.poetry\.group\.([\w-]+)", name))]
    found += ["dev"] if "tool.poetry.dev-dependencies" in tables or "tool.uv" in tables else []
    return list(dict.fromkeys(found))


def default_groups(text: str) -> list[str]:
    """Groups that uv installs unless told otherwise, as pyproject.toml names them."""
    uv = _tables(text).get("tool.uv", "")
    listed = re.split(r"^default-groups[ \t]*=[ \t]*\[", uv, maxsplit=1, flags=re.MULTILINE)
    return re.findall(r"[\"']([\w.-]+)[\"']", listed[1].partition("]")[0]) if listed[1:] else []


def deployed_groups(text: str) -> list[str]:
    """The groups that a pyproject.toml without a project holds its dependencies in, those for development left out."""
    tables = _tables(text)
    if "project" in tables or "tool.poetry" in tables or "dependency-groups" not in tables:
        return []
    return [name for name in groups(text) if not is_development(name)]


def is_development(group: str) -> bool:
    """Whether a group's name says that what runs does not need it."""
    return bool(re.fullmatch(r"(dev|test|lint|doc|debug|typ|format|check|ci\b|qa\b|profil|type).*", group.lower()))


def _found(directory: str, top: str) -> list[str]:
    here, above = os.path.abspath(directory), os.path.abspath(top)
    places = [here]
    while places[-1] != above and places[-1].startswith(above.rstrip("/") + "/"):
        places.append(os.path.dirname(places[-1]))
    for place in places:
        for name in (REQUIREMENTS, *LOCKS, PYPROJECT):
            path = os.path.join(place, name)
            if os.path.lexists(path) and (name != PYPROJECT or _declares(_read(path))):
                return [path]
    return []


def _declares(text: str) -> bool:
    """Whether a pyproject.toml says what is needed; many hold only the settings of a linter."""
    tables = _tables(text)
    keys = re.search(r"^(dependencies|dynamic)[ \t]*=", tables.get("project", ""), re.MULTILINE)
    return bool(keys) or "tool.poetry.dependencies" in tables or bool(deployed_groups(text))


def _tables(text: str) -> dict[str, str]:
    """The tables of TOML as text by name: tomllib is not in the Python 3.10 of some hosts."""
    parts = re.split(r"^\[{1,2}([^\[\]\n]+)\]{1,2}[ \t]*(?:#.*)?$", text, flags=re.MULTILINE)
    tables: dict[str, list[str]] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=False):
        tables.setdefault(name.strip().replace('"', "").replace("'", ""), []).append(body)
    return {name: "".join(bodies) for name, bodies in tables.items()}


def _add(path: str, texts: dict[str, Any], needed: bool) -> None:
    """Read `path` and what belongs to it into `texts`."""
    if path in texts:
        return
    if len(texts) >= MOST:
        raise Unfit(f"requirements: more than {MOST} files; {path} is one of them")
    if not needed and not os.path.lexists(path):
        return
    texts[path] = text = _read(path)
    folder, kind = os.path.dirname(path), kind_of(path) if needed else ""
    if kind == "requirements":
        for name in _INCLUDED.findall(text):
            if "://" not in name:
                _add(os.path.normpath(os.path.join(folder, name)), texts, needed=True)
        for name in _LOCAL.findall(text):
            local = os.path.normpath(os.path.join(folder, name.removeprefix("file:").removeprefix("//")))
            if name and os.path.isdir(local):
                for other in BESIDE:
                    _add(os.path.join(local, other), texts, needed=False)
    elif kind:
        for other in BESIDE:
            _add(os.path.join(folder, other), texts, needed=False)


def _read(path: str) -> str:
    try:
        # A FIFO would wait for its writer.
        place = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        fix = f"name a file in {os.path.dirname(path)}, or leave the key out"
        raise Unfit(f"requirements: {path}: {error.strerror}; {fix}") from None
    with open(place, "rb") as file:
        found = os.fstat(place)
        if not stat.S_ISREG(found.st_mode):
            raise Unfit(f"requirements: {path} is no regular file; put one there, or name another")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unfit(f"requirements: {path} has more than {LARGEST >> 20} MB; name another file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unfit(f"requirements: {path} is not UTF-8 text; save it as that") from None


def _python(texts: dict[str, Any]) -> str:
    """`requires-python` of the project, of its lock file, or what Poetry has for it."""
    pyproject = next((text for path, text in texts.items() if os.path.basename(path) == PYPROJECT), "")
    tables = _tables(pyproject)
    places = [(tables.get("project", ""), "requires-python"), (tables.get("tool.poetry.dependencies", ""), "python")]
    places += [(text, "requires-python") for path, text in texts.items() if os.path.basename(path) == "uv.lock"]
    for text, key in places:
        if said := re.search(rf"^{key}[ \t]*=[ \t]*[\"']([^\"'\n]{{1,{LONGEST}}})[\"']", text, re.MULTILINE):
            return said[1]
    return ""


def _clause(version: tuple[int, int], clause: str) -> bool:
    match = re.fullmatch(r"(>=|<=|==|!=|~=|>|<|\^|~|)\s*(\d+)(?:\.(\d+))?((?:\.[\d*]+)?)", clause.strip())
    if not match:
        return True
    sign, major, minor, rest = match[1], int(match[2]), match[3], match[4]
    bound = (major, int(minor or 0))
    later = version > bound if minor else version[0] > major
    same = version == bound if minor else version[0] == major
    if sign in (">=", ">", "<="):
        # 3.12 is later than 3.12.0, and some 3.12 is not later than 3.12.5.
        return {">=": later or same or version > bound, ">": later or (same and bool(rest)), "<=": not later}[sign]
    if sign == "<":
        return version < bound or (same and rest not in ("", ".0", ".*"))
    if sign == "!=":
        return not same or rest not in ("", ".*") or (not minor)
    if sign == "^":
        return version[0] == major and version >= bound
    if sign == "~=":
        return version[0] == major and version >= bound and (not rest or version == bound)
    return same  # ==, ~ and a bare number


def main() -> None:
    asked = json.load(sys.stdin)
    try:
        said = declared(asked["directory"], asked["top"], asked["named"])
    except Unfit as problem:
        said = {"problem": str(problem)}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
