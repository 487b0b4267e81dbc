"""What supervisord would read, told by supervisord's own parser.

conffile.py runs this source with supervisord's Python and environment, so it imports nothing of celeryhost, and keeps
to what Python 3.6 knows. stdin: `{"main": PATH, "lenient": BOOL, "variants": [[[PATH, TEXT]…]…], "places": [PATH…],
"folder": PATH}`; a variant is the disk with other texts (null: absent) in files, and is about the last of them; places
hold modules, and folder (or null) is supervisord's own. stdout: `{"readings": [{"error", "option",
"groups", "sections", "included", "unreadable", "environment"}…], "assumed": […]}`; environment is what each program
inherits. Values may be secret and go nowhere else.
"""

import configparser
import io
import json
import os
import re
import site
import sys
import types
from fnmatch import fnmatchcase
from glob import glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROGRAMS = ("program:", "fcgi-program:", "eventlistener:", "group:")
HEADER = re.compile(r"^\[([^\]]+)\]", re.MULTILINE)
EXPANSION = re.compile(r"%%|%\([^)]*\)[#0 +-]*\d*(?:\.\d+)?[a-zA-Z]")


class File(io.StringIO):
    """A text with a name, which is what relative includes start from."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text, newline=None)
        self.name = name


class Disk:
    """The files as supervisord finds them, but with `texts`, [path, text]; `path` is the last of those."""

    def __init__(self, texts: "list[tuple[str, str | None]]") -> None:
        self.texts = {canonical(path): text for path, text in texts}
        self.path = canonical(texts[-1][0]) if texts else ""  # of the file in question
        self.sections: dict[str, list[str]] = {}
        self.unreadable: list[str] = []

    def glob(self, pattern: str) -> "list[str]":
        """As glob.glob, with each replaced path there or not."""
        found = [name for name in glob(pattern) if canonical(name) not in self.texts]
        for path, text in self.texts.items():
            if text is not None and matches(path, canonical(pattern)):
                found.append(os.path.join(os.path.dirname(pattern), os.path.basename(path)))
        return found

    def open(self, name: str, *args: "Any", **kwargs: "Any") -> File:
        """As open, with the text of each replaced path; notes the sections of each file."""
        text = self.texts.get(canonical(name))
        if text is None:
            try:
                with open(name, *args, **kwargs) as file:
                    text = file.read()
            except PermissionError:  # the parser goes on without the file
                self.unreadable.append(name)
                raise
        self.sections[canonical(name)] = HEADER.findall(text)
        return File(name, text)


def canonical(path: str) -> str:
    """`path` with its folder's symbolic links resolved; the file itself need not exist."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def matches(path: str, pattern: str) -> bool:
    """Whether glob would find `path`, were it there."""
    parts, patterns = path.split("/"), pattern.split("/")
    hidden = parts[-1].startswith(".") and not patterns[-1].startswith(".")
    return len(parts) == len(patterns) and not hidden and all(map(fnmatchcase, parts, patterns))


def read(main: str, texts: "list[tuple[str, str | None]]", environment: "dict[str, str]") -> "dict[str, Any]":
    """One variant's reading."""
    from supervisor import options

    os.environ.clear()
    os.environ.update(environment)
    disk = Disk(texts)
    setattr(configparser, "open", disk.open)  # noqa: B010 - what it looks up before the builtin
    options.glob = types.SimpleNamespace(glob=disk.glob)
    reader = options.ServerOptions()
    reader.configfile = main
    reader.open = disk.open
    parsers = remember(reader)
    asked: list[Any] = [None, None]  # the option that supervisord has read last, and its value
    saneget = options.UnhosedConfigParser.saneget
    options.UnhosedConfigParser.saneget = noting(saneget, asked)
    answer: dict[str, Any] = {"error": None, "option": None, "groups": {}}
    try:
        mine = own_sections(options.UnhosedConfigParser(strict=True), disk) if disk.texts.get(disk.path) else ()
        reader.process_config(do_usage=False)
        for section in mine:
            find_rivals(section, reader, disk)
        answer["groups"] = dict(described(config, parsers[-1]) for config in reader.process_group_configs)
    except Exception as error:  # whatever it is, supervisord would not get past it either
        answer.update(error=str(error), option=option_of(str(error), parsers, asked))
    finally:
        options.UnhosedConfigParser.saneget = saneget
    answer["environment"] = dict(os.environ)  # with [supervisord] environment=
    answer.update(sections=disk.sections, unreadable=disk.unreadable, included=disk.path in disk.sections)
    return answer


def remember(reader: "Any") -> "list[Any]":
    """Have each process know the section it came from; returns the list that will hold the parser."""
    parsers: list[Any] = []
    to_groups, to_processes = reader.process_groups_from_parser, reader.processes_from_section

    def groups(parser: "Any") -> "Any":
        parsers.append(parser)
        return to_groups(parser)

    def processes(parser: "Any", section: str, *args: "Any") -> "Any":
        configs = to_processes(parser, section, *args)
        for config in configs:
            config.section = section
        return configs

    reader.process_groups_from_parser, reader.processes_from_section = groups, processes
    return parsers


def noting(saneget: "Callable[..., Any]", asked: "list[Any]") -> "Callable[..., Any]":
    """`saneget`, which reads an option, that leaves in `asked` what it has read."""

    def noted(self: "Any", section: str, option: str, *args: "Any", **kwargs: "Any") -> "Any":
        asked[:] = option, None
        asked[1] = value = saneget(self, section, option, *args, **kwargs)
        return value

    return noted


def be_lenient() -> "list[str]":
    """Take users and folders that are not there for granted; returns the list of what that hid."""
    from supervisor import datatypes, options

    assumed: list[str] = []

    def forgiving(real: "Callable[[Any], Any]") -> "Callable[[Any], Any]":
        def convert(value: "Any") -> "Any":
            try:
                return real(value)
            except ValueError as error:
                assumed.append(str(error))
                return value

        return convert

    for name in ("name_to_uid", "existing_directory", "existing_dirpath"):
        setattr(options, name, forgiving(getattr(options, name)))
    datatypes.existing_dirpath = options.existing_dirpath
    return assumed


def described(config: "Any", parser: "Any") -> "tuple[str, dict[str, Any]]":
    """A group's name, and all of it whose change would change what runs."""
    kinds = {"EventListenerPoolConfig": "eventlistener:", "FastCGIGroupConfig": "fcgi-program:"}
    kind = "group:" if parser.has_section("group:" + config.name) else kinds.get(type(config).__name__, "program:")
    processes = {process.name: settings(process) for process in config.process_configs}
    sections = {kind + config.name} | {process.section for process in config.process_configs}
    return config.name, {"settings": settings(config), "processes": processes, "sections": sorted(sections)}


def settings(config: "Any") -> "dict[str, Any]":
    return {name: plain(value) for name, value in vars(config).items() if name not in ("options", "process_configs")}


def plain(value: "Any") -> "Any":
    """`value` as JSON knows it, the same for equal settings."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return sorted((plain(item) for item in value), key=str)
    return getattr(value, "__name__", None) or plain(vars(value))


# What supervisord takes without a word and does not do as meant raises ValueError, worded as its own errors are.


def own_sections(strict: "Any", disk: Disk) -> "list[str]":
    """The sections of the file in question that define something: each once, with each option once and no bare %."""
    strict.read_file(File(disk.path, disk.texts[disk.path] or ""))
    found = [section for section in strict.sections() if section.startswith(PROGRAMS)]
    for section in found:
        for option, value in strict.items(section):
            if "%" in EXPANSION.sub("", value):
                raise ValueError(f"Format string {value!r} for '{option}' is badly formatted{place(section, disk)}")
    return found


def find_rivals(section: str, reader: "Any", disk: Disk) -> None:
    """Look for another section that defines the same: supervisord merges them, or drops one."""
    for other, sections in disk.sections.items():
        if other != disk.path and section in sections:
            raise ValueError(f"defined again in {other!r}{place(section, disk)}")
    names = [config.name for config in reader.process_group_configs]
    if names.count(section.split(":", 1)[1].strip()) > 1:
        raise ValueError(f"the name is taken by another section{place(section, disk)}")


def place(section: str, disk: Disk) -> str:
    return f" in section {section!r} (file: {disk.path!r})"


def option_of(text: str, parsers: "list[Any]", asked: "list[Any]") -> "str | None":
    """The option whose value an error's text quotes; of several with that value the one that was read last."""
    name: str | None
    name, value = asked
    if value not in (None, "") and (repr(value) in text or str(value) in text):
        return name
    section = re.search(r" in section '([^']+)'", text)
    if not section or not parsers or not parsers[-1].has_section(section.group(1)):
        return None
    return next((name for name, value in parsers[-1].items(section.group(1)) if value and repr(value) in text), None)


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    sys.path[:0] = request["places"]  # this Python is isolated (-I)
    if os.geteuid():
        sys.path.append(site.getusersitepackages())
    if request["folder"]:
        os.chdir(request["folder"])
    environment = dict(os.environ)
    assumed = be_lenient() if request["lenient"] else []
    readings = [read(request["main"], variant, environment) for variant in request["variants"]]
    json.dump({"readings": readings, "assumed": list(dict.fromkeys(assumed))}, sys.stdout)


if __name__ == "__main__":
    main()
