"""Supervisor's files: what supervisord would read in them, whether it would, and how to show them without secrets.

Nothing here parses them: supervisord's own parser does, run with its own Python and environment
(conffile_reader.py), since its rules differ between versions and a `%(ENV_X)s` only it can expand.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from typing import Any, NamedTuple

from .. import proc
from ..errors import DENIED, DOWN, FAILED, USAGE, Failure
from ..masking import MASK, URL_SECRET, hide_passwords
from ..paths import SUPERVISOR
from ..scripts import conffile_reader, source
from ..scripts.conffile_reader import canonical
from ..shebang import python_of
from .locate import read_section

READ_SECONDS = 60  # a small board takes 2


class Program(NamedTuple):
    """One section's program as supervisord would run it: values are expanded, of its first process where `numprocs`
    makes several; a log is a path, `AUTO` or None; `stopwaitsecs` in seconds, `stdout_logfile_maxbytes` in bytes (0:
    not rotated); `logs` is {process as Supervisor shows it: (stdout_logfile, stderr_logfile)}."""

    name: str
    group: str
    command: str
    directory: str | None
    user: str | None
    environment: dict[str, str]
    stdout_logfile: str | None
    stderr_logfile: str | None
    stdout_logfile_maxbytes: int
    autostart: bool
    stopwaitsecs: int
    stopasgroup: bool
    killasgroup: bool
    numprocs: int
    section: str
    file: str
    logs: dict[str, tuple[str | None, str | None]]


class Reading(NamedTuple):
    """What supervisord would make of its files: a Failure or None; {group: {"settings", "processes": {name: {option:
    value}}, "sections"}}; {file: its section names}; whether the replaced path is among the included; the environment
    that programs inherit, as far as it is supervisord's and not this command's."""

    failure: Failure | None
    groups: dict[str, dict[str, Any]]
    sections: dict[str, list[str]]
    included: bool
    unreadable: list[str]
    environment: dict[str, str]


def load(config: str, pid: int | None = None) -> dict[str, Program]:
    """The programs of a supervisord.conf and its included files, by the names of their sections.

    Raises Failure: DENIED when some file is not for this user to read, USAGE when supervisord would refuse one.
    """
    ((found,), _) = read(config, [[]], pid)
    if found.unreadable:
        raise Failure(f"{found.unreadable[0]} is not readable for you", DENIED, "use sudo")
    if found.failure:
        raise found.failure
    files = {section: file for file, sections in found.sections.items() for section in sections}
    members: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for group, described in found.groups.items():
        for process in described["processes"].values():
            members.setdefault(process["section"], []).append((group, process))
    programs = (
        _program(section, files.get(section, config), them, found.environment) for section, them in members.items()
    )
    return {program.name: program for program in programs}


def check(
    config: str, texts: dict[str, str | None], pid: int | None = None, lenient: bool = False
) -> tuple[list[Reading], list[str]]:
    """Whether supervisord would read its files with each of `texts` at its path (None: no file there), those before it
    at theirs, and the others as they are.

    Returns the Readings of the files as they are and as they would be from each on, and what `lenient` took for
    granted: users and folders that do not exist. Raises Failure (USAGE) naming file, section, value and fix; also for
    what supervisord takes silently and does not do as meant: a section that another file has too, `%s`, a file that
    no include matches.
    """
    steps = list(texts.items())
    readings, assumed = read(config, [steps[:count] for count in range(len(steps) + 1)], pid, lenient)
    for (path, text), then in zip(texts.items(), readings[1:], strict=True):
        if then.failure:
            raise then.failure
        if text is not None and not then.included:
            raise Failure(f"{path} is not included by {config}", USAGE, "name it as its [include] files= wants")
    return readings, assumed


def read(
    config: str, variants: list[list[tuple[str, str | None]]], pid: int | None = None, lenient: bool = False
) -> tuple[list[Reading], list[str]]:
    """Readings of the files, one for each variant (conffile_reader.py), and what `lenient` took for granted.

    `pid` is the running supervisord's: its Python and environment are used, else those of the one installed here.
    Raises Failure (DOWN) when there is no supervisord at all.
    """
    import subprocess

    pid = pid or _pid_of(config)
    python, environment, folder = _surroundings(pid)
    places = (os.environ if environment is None else environment).get("PYTHONPATH", "").split(":")
    request = {
        "main": os.path.abspath(config),
        "lenient": lenient,
        "variants": variants,
        "places": [place for place in places if os.path.isabs(place)],
        "folder": folder,
    }
    try:
        done = subprocess.run(
            [python, "-I", "-c", source(conffile_reader)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=READ_SECONDS,
            env=environment,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{python} did not read {config} within {READ_SECONDS} s") from None
    except OSError as error:
        raise Failure(f"supervisord's Python, {python}: {error.strerror}", FAILED, "reinstall Supervisor") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        fix = "see that Supervisor is whole, and at home in Python 3.6 or later"
        raise Failure(f"{python} cannot run supervisord's parser: {said}", FAILED, fix)
    answer = json.loads(done.stdout)
    readings = []
    for variant, found in zip(variants, answer["readings"], strict=True):
        failure = None
        if found["error"]:
            # Where supervisord names no file: the one that has the section it names, else the one that brought it in.
            named = [
                file for file, names in found["sections"].items() for name in names if f"[{name}] " in found["error"]
            ]
            inherited = found["error"] == answer["readings"][0]["error"]
            file = (named or [config if inherited or not variant else variant[-1][0]])[0]
            failure = explain(found["error"], file, found["option"])
        inherited = found["environment"]
        if environment is None:  # this command's own is no program's
            inherited = dict(inherited.items() - os.environ.items())
        known = {name: found[name] for name in ("groups", "sections", "included", "unreadable")}
        readings.append(Reading(failure=failure, environment=inherited, **known))
    return readings, [explain(text, "").message.partition(": ")[2] for text in answer["assumed"]]


def is_supervisord(pid: int) -> bool:
    """Whether this machine's process of that number is one."""
    return bool(_words(pid))


def main_file(pid: int) -> str | None:
    """The `-c` of a supervisord that runs here, None when it was given none or `pid` is not on this machine."""
    words, found = _words(pid), None
    for at, word in enumerate(words):  # the last: one before it may be Python's own -c
        for flag in ("-c", "--configuration="):
            if word.startswith(flag):
                found = word[len(flag) :] or "".join(words[at + 1 : at + 2])
        if word == "--configuration":
            found = "".join(words[at + 1 : at + 2])
    return None if found is None else os.path.join(_link(pid, "cwd") or "/", found)


def _words(pid: int) -> list[str]:
    words = proc.words(pid)
    return words if any("supervisor" in word for word in words[:3]) else []


def _is_trusted(pid: int) -> bool:
    """Whether a process is root's or this user's through and through: of one that has become root, as su has, its
    starter chose the words."""
    try:
        with open(f"/proc/{pid}/status") as lines:
            uids = next(line for line in lines if line.startswith("Uid:")).split()[1:]
    except OSError:
        return False
    return set(map(int, uids)) <= {0, os.geteuid()}


def _link(pid: int, name: str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return None


def _pid_of(config: str) -> int | None:
    """What the pid file says; whether a supervisord has that pid is seen later."""
    try:
        with open(read_section(config, "supervisord", "pidfile")["pidfile"]) as file:
            return int(file.read())
    except (Failure, KeyError, OSError, ValueError):
        return None


def _surroundings(pid: int | None) -> tuple[str, dict[str, str] | None, str | None]:
    """The Python, environment and working folder of the supervisord that runs, else of the one that would."""
    words = _words(pid) if pid and _is_trusted(pid) else []
    if pid and words:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
            environment = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
        except PermissionError:
            environment = None
        # argv[0], not /proc/PID/exe: in a virtual environment that is the Python it was made from.
        python = words[0] if os.path.isabs(words[0]) and os.path.exists(words[0]) else _link(pid, "exe")
        if python:
            folder = _link(pid, "cwd")
            return python, environment, folder if folder and os.path.isdir(folder) else None
    beside = os.path.join(os.path.dirname(sys.executable), "supervisord")
    for script in (f"{SUPERVISOR}/bin/supervisord", shutil.which("supervisord"), beside):
        if script and os.path.exists(script):
            return python_of(script), None, None
    raise Failure("no supervisord is installed here", DOWN, "run celeryhost provision, or apt install supervisor")


def _program(section: str, file: str, members: list[tuple[str, dict[str, Any]]], inherited: dict[str, str]) -> Program:
    group, first = members[0]
    logs = {}
    for name, process in members:
        shown = process["name"] if name == process["name"] else f"{name}:{process['name']}"
        logs[shown] = _log(process["stdout_logfile"]), _log(process["stderr_logfile"])
    return Program(
        name=section.partition(":")[2],
        group=group,
        command=first["command"],
        directory=first["directory"],
        user=_user(first["uid"]),
        environment=inherited | first["environment"],
        stdout_logfile=_log(first["stdout_logfile"]),
        stderr_logfile=_log(first["stderr_logfile"]),
        stdout_logfile_maxbytes=first["stdout_logfile_maxbytes"],
        autostart=first["autostart"],
        stopwaitsecs=first["stopwaitsecs"],
        stopasgroup=first["stopasgroup"],
        killasgroup=first["killasgroup"],
        numprocs=len(members),
        section=section,
        file=file,
        logs=logs,
    )


def _log(value: str | None) -> str | None:
    return "AUTO" if value == "Automatic" else value


def _user(uid: int | None) -> str | None:
    import pwd

    try:
        return None if uid is None else pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# What supervisord says, and what that means: pattern, what is wrong, how to mend it.
# The patterns are the texts of supervisor/options.py and datatypes.py, 3.3 to 4.3, and of configparser.
_SAYINGS = (
    (
        r"The directory named as part of the path (?P<value>.+) does not exist",
        "the folder of {value} does not exist",
        "make it: mkdir -p {folder}",
    ),
    (r"(?P<value>.+) is not an existing directory", "{value} is not a folder", "make it: mkdir -p {value}"),
    (r"Invalid user (?:name|id) (?P<value>.+)", "there is no user {value}", "create it, or correct user="),
    (
        r"Format string (?P<value>.+) for '(?P<option>[^']+)' contains names \((?P<name>.+?)\) which",
        "{option} = {value} names {name}, which supervisord does not know",
        "write a plain % as %%, or correct the name",
    ),
    (
        r"Format string (?P<value>.+) for '(?P<option>[^']+)' is badly formatted",
        "{option} = {value} has a single %",
        "write it as %%",
    ),
    (r"program section \S+ does not specify a command", "command= is missing", "add it"),
    (
        r"Unexpected end of key/value pairs|No closing quotation|No escaped character",
        "environment= is no list of KEY=value",
        'write KEY="value",KEY="value"',
    ),
    (
        r"Source contains parsing errors: '(?P<source>[^']+)'.*?\[line +(?P<line>\d+)",
        "line {line} is no [section] and no key=value",
        "correct that line",
    ),
    (
        r"File contains no section headers.\nfile: (?P<source>.+), line: (?P<line>\d+)",
        "line {line} stands before any [section]",
        "begin the file with [program:NAME]",
    ),
    (
        r"While reading from (?P<source>.+) \[line +(?P<line>\d+)\]: (?P<value>.+) already exists",
        "{value} is there twice, again on line {line}",
        "keep one of them",
    ),
    (r"defined again in (?P<value>.+)", "{value} has this section too", "give one of the two programs another name"),
    (r"the name is taken by another section", "another kind of section has the same name", "rename one of them"),
    (
        r"\[(?P<section>[^]]+)\] names unknown program or fcgi-program (?P<value>.+)",
        "programs= names {value}, which is no program",
        "add [program:{value}], or correct programs=",
    ),
    (
        r"Invalid name: (?P<value>'.*') because of character: (?P<name>'.')",
        "the program name {value} holds {name}",
        "use letters, digits, - and _",
    ),
    (r".*codec can't decode", "it is not UTF-8 text", "save it as UTF-8"),
    (
        r"invalid literal for int\(\) with base 10: (?P<value>'.*')",
        "{option} = {value} is no whole number",
        "write a number",
    ),
    (r"could not (?:find|read) config file (?P<source>.+)", "it cannot be read", "name the main file with -c FILE"),
)
_MEANINGS = [(re.compile(pattern, re.DOTALL), what, fix) for pattern, what, fix in _SAYINGS]
_PLACE = re.compile(r" in section u?'(?P<section>[^']+)'(?: \(file: u?'(?P<file>[^']+)'\))?$")


# The options whose values are shown: what stands under another name may be a piece of an environment.
_OPTIONS = re.compile(
    r"std(out|err)_(logfile(_maxbytes|_backups)?|capture_maxbytes|events_enabled|syslog)|num(procs|procs_start)"
    r"|auto(re)?start|start(secs|retries)|stop(signal|waitsecs|asgroup)|killasgroup|exitcodes|priority|process_name"
    r"|command|directory|user|umask|serverurl|redirect_stderr|programs|events|buffer_size|result_handler"
    r"|socket(_owner|_mode)?|files?|chmod|chown|port|logfile(_maxbytes|_backups)?|pidfile|childlogdir|loglevel|identifier"
    r"|min(fds|procs)|nodaemon|nocleanup|strip_ansi"
)


def refused(text: str, config: str | None) -> Failure:
    """The Failure (USAGE) for what supervisord says when it is to read its files.

    Its parser is asked again, which knows more of file and option, where this user may read all of them.
    """
    with contextlib.suppress(Failure):
        readings, _ = read(config, [[]]) if config else ([], [])
        for reading in readings:
            if isinstance(reading.failure, Failure):
                return reading.failure
    return explain(text.partition("CANT_REREAD: ")[2] or text, config or "supervisord.conf")


def explain(text: str, config: str, option: str | None = None) -> Failure:
    """The Failure (USAGE) for an error that supervisord has with its files: one line, no value of an environment.

    `config` is the file to name when the text names none; `option` the setting it is about, where that is known.
    """
    place = _PLACE.search(text)
    said = text[: place.start()] if place else text
    known = {"section": "", "file": config, "source": "", "value": "", "name": "", "line": ""}
    known |= {"option": option or "a value", **(place.groupdict(default=config) if place else {})}
    match, what, fix = next(
        ((match, what, fix) for pattern, what, fix in _MEANINGS if (match := pattern.match(said))),
        (None, "{option}: {said}" if option else "{said}", None),
    )
    known |= {"said": said, **(match.groupdict() if match else {})}
    name = known["option"].rpartition(".")[2]
    if "environment" in name:
        bare = [key for key, value in _split(known["value"]) if "%" in conffile_reader.EXPANSION.sub("", value)]
        known["value"] = ", ".join(f"{key}={MASK}" for key in bare) or MASK
        known["name"] = known["name"] if known["name"].startswith("'ENV_") else MASK
        what = what if match else "environment= is wrong"
    elif match and "option" in match.groupdict() and not _OPTIONS.fullmatch(name):
        known["value"], name = MASK, "an option that Supervisor does not know"
    else:
        known |= {key: _bare(known[key], name) for key in ("value", "said")}
    known |= {"option": name, "folder": os.path.dirname(known["value"])}
    file = canonical(known["source"].strip("'\"<>") or known["file"])
    section = f" [{known['section']}]:" if known["section"] else ""
    message = hide_passwords(" ".join(what.format_map(known).split()))
    return Failure(f"{file}:{section} {message}", USAGE, fix and fix.format_map(known))


def _bare(text: str, option: str) -> str:
    """`text` as far as its first assignment, line or {: a value may have run into the environment that follows it, and
    a bare %s stands for a dict of all. Nothing of one with a quote, which no option but a command has by itself."""
    if '"' in text and (option != "command" or text.count('"') % 2):
        return MASK
    match = re.search(r"=|\n|\\n|\{", text)
    return f"{text[: match.start()]}…" if match else text


# Showing without secrets

# `environment=` up to the end of its last continuation line; comments and empty lines may stand between those.
_ENVIRONMENT = re.compile(
    r"^[ \t]*environment[ \t]*[=:](?P<pairs>.*(?:(?:\n(?:[ \t]*[#;].*|[ \t]*))*\n[ \t]+\S.*)*)",
    re.MULTILINE | re.IGNORECASE,
)
_PAIR = re.compile(r"""(?P<key>[^\s=,"']+)\s*=\s*(?P<value>"[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^,]*)""")
_SECRET_NAME = re.compile(r"pass|secret|token|credential|api_?key|dsn", re.IGNORECASE)


def hide(text: str, other: str | None = None) -> str:
    """A Supervisor file's text for people: each value of an `environment` masked, one to a line, and URLs' passwords.

    With `other`, the file's text before, a value that differs is marked as changed.
    """
    old = _pairs(other or "")

    def masked(match: re.Match[str]) -> str:
        section = _section_at(text, match.start())
        lines = ["environment="]
        for key, value in _split(match["pairs"]):
            changed = old.get((section, key), value) != value
            lines.append(f'    {key}="{MASK}{" (changed)" if changed else ""}",')
        return "\n".join(lines)

    return hide_passwords(_ENVIRONMENT.sub(masked, text))


def secrets(text: str) -> set[str]:
    """What in a Supervisor file's text must appear in no output: passwords of URLs, and values of telling names."""
    found = {match["secret"] for match in URL_SECRET.finditer(text)}
    found |= {value.strip("\"'") for (_, key), value in _pairs(text).items() if _SECRET_NAME.search(key)}
    found |= {value.replace("%%", "%") for value in found}
    return {value for value in found if len(value) >= 6}


def _pairs(text: str) -> dict[tuple[str, str], str]:
    return {
        (_section_at(text, match.start()), key): value
        for match in _ENVIRONMENT.finditer(text)
        for key, value in _split(match["pairs"])
    }


def _split(pairs: str) -> list[tuple[str, str]]:
    return [(match["key"], match["value"].strip()) for match in _PAIR.finditer(pairs)]


def groups(text: str) -> set[str]:
    """The names of what a file's text defines, as far as they can be told without supervisord."""
    names = conffile_reader.HEADER.findall(text)
    return {name.partition(":")[2].strip() for name in names if name.startswith(conffile_reader.PROGRAMS)}


def _section_at(text: str, position: int) -> str:
    names: list[str] = conffile_reader.HEADER.findall(text, 0, position)
    return names[-1] if names else ""
