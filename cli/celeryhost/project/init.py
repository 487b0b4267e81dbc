"""Looking at a Django project on disk, without importing it, and writing an inventory for it.

Importing would need the project's own environment, its database settings and secrets; reading needs nothing.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..apps import DJANGO, REDIS, describe
from ..errors import UNKNOWN, USAGE, Failure
from ..others import read
from ..scripts import requirements as declarations
from . import init_files, init_variables


class Project(NamedTuple):
    """What a folder with a Django project says about itself.

    `directory` holds manage.py; `settings`, `configurations` and `apps` (values for DJANGO_SETTINGS_MODULE,
    DJANGO_CONFIGURATION and `celery -A`) map each candidate to the file that says so, the likeliest first;
    `requirements` is relative to `directory`, or None, and `others` are further such files; `scheduler` and `results`
    are what `celery_apps` is to say of beat's scheduler and of django-celery-results, or None, and `beat` the file with
    the line that says so of beat, or None; `top` is the top of the git work tree (else the folder that was named),
    `remote` and `version` where it comes from, or None, `hidden` whether the remote's URL had a password or token,
    which is left out; `trees` maps each Python file to its syntax tree; `samples` are files that show the environment
    it wants; `started` are those of `apps` that the project's own scripts start workers of; `bare` is a file that has
    beat read entries of django-celery-beat, which is not installed, or None."""

    directory: str
    settings: dict[str, str]
    configurations: dict[str, str]
    apps: dict[str, str]
    requirements: str | None
    scheduler: str | None
    results: str | None
    top: str
    remote: str | None
    version: str | None
    trees: dict[str, ast.Module]
    others: list[str]
    samples: list[str]
    beat: str | None
    hidden: bool
    started: dict[str, str]
    bare: str | None


_SKIPPED = {"node_modules", "site-packages", "__pycache__", "tests", "test", "docs", "migrations", "static", "media"}
OUR_REDIS = "{{ redis_url }}"  # with its password, once that is known
LOCAL = ("localhost", "127.0.0.1", "::1")
LONGEST_NAME = 24
_DEPTH = 4  # folders below the one that was named
_URL = re.compile(r"\w[\w+.-]*://|[\w.-]+@[\w.-]+:")


def find(path: str) -> list[str]:
    """The folders with a manage.py at or below `path`, the nearest first. Raises Failure (USAGE, UNKNOWN)."""
    top = os.path.abspath(path)
    if not os.path.isdir(top):
        raise Failure(f"{path!r} is no folder", USAGE, "name the one with manage.py in it")
    found = [folder for folder, names in _folders(top) if "manage.py" in names]
    if not found:
        raise Failure(f"no manage.py in {top} or below", UNKNOWN, "name the folder of a Django project")
    return sorted(found, key=lambda folder: (folder.count(os.sep), folder))


def look(directory: str, named: str | None = None) -> Project:
    """What the Django project whose manage.py is in `directory` says about itself; `named` may be a folder above it."""
    directory = os.path.realpath(directory)  # as git names the top of its work tree
    trees = {}
    for folder, names in _folders(directory):
        for name in names:
            if name.endswith(".py"):
                file = os.path.join(folder, name)
                trees[file] = _parsed(file)
    settings = _values_of("DJANGO_SETTINGS_MODULE", directory, trees)
    # What a renamed project still says somewhere comes last.
    settings = dict(sorted(settings.items(), key=lambda item: _file_of(trees, item[0]) is None))
    top, remote, version, hidden = _git(directory, os.path.realpath(named or directory))
    words = _words_of_settings(directory, settings, trees)
    apps = _apps(directory, trees)
    own_backend = {"CELERY_RESULT_BACKEND", "result_backend"} & words.union(
        *(_words(trees[file]) for file in apps.values())
    )
    folders = list(_folders(top))
    declared = [
        os.path.relpath(file, directory)
        for file in _declared(directory, top, init_files.requirements(directory, top, folders))
    ]
    requirements, others = (declared[0], declared[1:]) if declared else (None, [])
    lines = init_files.celery_lines(folders)
    started = {_plain_app(named) for named in init_files.apps_started(lines)}
    beats = init_files.beat_lines(lines)
    scheduler: str | None
    beat: str | None
    bare = None
    if beats:
        scheduler, beat = next((line for line in beats if line[0]), beats[0])
        if scheduler == DJANGO and not any("django_celery_beat" in _words(tree) for tree in trees.values()):
            scheduler, beat, bare = None, None, beat
    else:
        by_default = "django_celery_beat" in words and "CELERY_BEAT_SCHEDULER" not in words
        scheduler, beat = DJANGO if by_default else None, None
    return Project(
        directory,
        settings,
        _values_of("DJANGO_CONFIGURATION", directory, trees),
        apps,
        requirements,
        scheduler,
        DJANGO if "django_celery_results" in words and not own_backend else None,
        top,
        remote,
        version,
        trees,
        others,
        [os.path.relpath(file, directory) for file in init_files.samples(directory, top)],
        beat and os.path.relpath(beat, directory),
        hidden,
        {app: file for app, file in apps.items() if app in started},
        bare and os.path.relpath(bare, directory),
    )


def app_name(project: Project) -> str:
    """A name for programs and user, after the project's package or folder."""
    package = next(iter(project.apps), "").split(".")[0].split(":")[0]
    generic = ("", "config", "core", "conf", "project", "src", "backend", "app", "server", "web", "main", "celery")
    words = (package, os.path.basename(project.directory), os.path.basename(project.top))
    word = next((word for word in words if word.lower() not in generic), words[-1])
    name = re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-0123456789")
    while len(name) > LONGEST_NAME:
        name = (name.rpartition("-")[0] or name[:LONGEST_NAME]).rstrip("-")
    return name or "app"


def description(project: Project, name: str, app: str, settings: str) -> dict[str, Any]:
    """The entry of `celery_apps` for `project`, checked by apps.describe, which raises Failure (USAGE)."""
    whole = project.remote or (project.requirements or "").startswith(os.pardir)
    entry: dict[str, Any] = {"name": name, "source": project.remote or (project.top if whole else project.directory)}
    if project.remote and project.version:
        entry["version"] = project.version
    if whole and project.top != project.directory:
        entry["subfolder"] = os.path.relpath(project.directory, project.top)
    entry["app"] = app
    # Lock files and pyproject.toml are found by themselves, as requirements.txt is.
    if project.requirements not in (None, "requirements.txt") and not _is_found(project.requirements or ""):
        entry["requirements"] = project.requirements
    entry["environment"] = {"DJANGO_SETTINGS_MODULE": settings}
    wanted, _ = required(project, app, settings)
    if "REDIS_URL" in wanted:
        entry["environment"]["REDIS_URL"] = OUR_REDIS
    if project.configurations:
        entry["environment"]["DJANGO_CONFIGURATION"] = next(iter(project.configurations))
    root = import_root(project, app)
    if root != ".":
        entry["environment"]["PYTHONPATH"] = os.path.join(describe(entry)["directory"], root)
    entry["workers"] = [{"concurrency": 2}]
    entry["beat"] = {"scheduler": project.scheduler} if project.scheduler else {}
    if project.results or "CELERY_RESULT_BACKEND" in wanted:
        entry["results"] = project.results or REDIS
    describe(entry)
    return entry


def required(project: Project, app: str, settings: str) -> tuple[list[str], list[str]]:
    """The environment variables that settings and app read without a default: always, and under a condition."""
    files, seen = [project.apps.get(app), _file_of(project.trees, settings)], {}
    while files:
        file = files.pop()
        if file in project.trees and file not in seen:
            seen[file] = project.trees[file]
            files += [_file_of(project.trees, module) for module in _imports(project.directory, file, seen[file])]
    return init_variables.required(list(seen.values()))


def remarks(project: Project, entry: dict[str, Any]) -> list[str]:
    """What a person should know about the description `entry`."""
    said = []
    if project.requirements is None:
        unlocked = "Pipfile is not locked (pipenv lock)" if _has(project, "Pipfile") else "no requirements found"
        extended = DJANGO in (entry.get("results"), entry["beat"].get("scheduler"))
        what = "Celery, its Django extensions and Django" if extended else "Celery and Django"
        said.append(f"{unlocked}: {what} in their newest releases are then all that is installed; see `requirements`")
    elif _is_found(project.requirements):
        beside = [name for name in declarations.BESIDE if _has(project, name)]
        named = dict.fromkeys([os.path.basename(project.requirements), *beside])
        said.append(f"what is installed is what {' and '.join(named)} say; `requirements` names other files")
    elif project.others:
        said.append(f"{', '.join(project.others[:5])} may be requirements, too; `requirements` takes a list")
    given = {*entry["environment"]} | ({"CELERY_RESULT_BACKEND"} if entry.get("results") == REDIS else set())
    always, sometimes = (
        ", ".join(name for name in names if name not in given)
        for names in required(project, entry["app"], entry["environment"]["DJANGO_SETTINGS_MODULE"])
    )
    if always or sometimes:
        parts = [always, sometimes and f"under conditions that the code names {sometimes}"]
        base = " (`database: postgresql` makes one and gives its DATABASE_URL)" if "DATABASE_URL" in always else ""
        what = ", and ".join(filter(None, parts))
        said.append(f"read without a default: {what}; give them under `environment`{base}")
    if project.samples:
        said.append(
            f"{', '.join(project.samples)} shows the environment it wants; a .env that git ignores is not brought"
        )
    if project.beat:
        said.append(f"beat's scheduler is {project.scheduler or 'the default one'}, as in {project.beat}")
    if project.bare:
        said.append(
            f"{project.bare} has beat read django-celery-beat's entries, which INSTALLED_APPS does not have: "
            "beat's scheduler is the default one"
        )
    if project.hidden:
        said.append("the password or token in the remote's URL is left out; for a private repository see `git_key`")
    return said


def _is_found(requirements: str) -> bool:
    return declarations.kind_of(requirements) != "requirements"


def _has(project: Project, name: str) -> bool:
    """Whether a file is beside the requirements, or where they would be."""
    folder = os.path.join(project.directory, os.path.dirname(project.requirements or ""))
    return any(os.path.isfile(os.path.join(place, name)) for place in (folder, project.top))


def development_settings(project: Project) -> str | None:
    """What manage.py takes for DJANGO_SETTINGS_MODULE, as opposed to what is deployed."""
    tree = _parsed(os.path.join(project.directory, "manage.py"))
    return next(_given_in(tree, "DJANGO_SETTINGS_MODULE"), None)


def import_root(project: Project, app: str) -> str:
    """The folder, relative to manage.py's, from which `celery -A app` is imported."""
    file = project.apps.get(app)
    return os.path.relpath(_module(project.directory, file)[1], project.directory) if file else "."


def files(entry: dict[str, Any], host: str, user: str) -> dict[str, str]:
    """The inventory that puts the app `entry` on `host` (an address, or localhost): file name → content."""
    if host in LOCAL:
        alias = "localhost"
        variables = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        address = {}
    else:
        alias = entry["name"] if re.fullmatch(r"[\d.]+|.*:.*", host) else host
        variables = {"ansible_user": user, "ansible_python_interpreter": "/usr/bin/python3"}
        address = {"ansible_host": host} if alias != host else {}
    groups: dict[str, dict[str, dict[str, Any]]] = {
        group: {"hosts": {alias: None}} for group in ("redis", "celery_workers", "celery_beat")
    }
    groups["redis"]["hosts"][alias] = address or None
    hosts = {"all": {"vars": variables, "children": groups}}
    return {
        "hosts.yml": "# Where it runs. One machine does everything; each group may have others, or several.\n"
        + _yaml(hosts),
        "group_vars/all/apps.yml": "# What runs there; docs/variables.md has all keys.\n"
        + _yaml({"celery_apps": [_untrusted(entry)]}),
    }


def write(folder: str, contents: dict[str, str]) -> None:
    """Write a new folder, whole or not at all. Raises Failure (USAGE) if it exists or cannot be made."""
    if os.path.lexists(folder):
        raise Failure(f"{folder} exists and is left as it is", USAGE, "name another one with --output")
    made = f"{folder.rstrip(os.sep)}.part"
    try:
        for name, content in contents.items():
            file = os.path.join(made, name)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(content)
        os.rename(made, folder)
    except OSError as error:
        fix = "name another one with --output"
        raise Failure(f"{folder} cannot be written: {error.strerror}", USAGE, fix) from None


def _folders(top: str) -> Iterator[tuple[str, list[str]]]:
    """Folders of a project and their files' names; virtual environments, tests and other people's code left out."""
    for folder, names, files in os.walk(top):
        below = os.path.relpath(folder, top)
        depth = 0 if below == "." else below.count(os.sep) + 1
        names[:] = sorted(
            name
            for name in names
            if depth < _DEPTH
            and name not in _SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        yield folder, sorted(files)


def _parsed(file: str) -> ast.Module:
    try:
        return ast.parse(read(file))
    # A template of code, Python 2, a link to a device, what is nested without an end: nothing that runs here.
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


def _values_of(variable: str, directory: str, trees: dict[str, Any]) -> dict[str, str]:
    """What the code gives an environment variable: what is deployed (asgi, wsgi) says more than what develops."""
    order = ("asgi.py", "wsgi.py", "celery.py", "celery_app.py", "manage.py")
    found = []
    for file, tree in trees.items():
        name = os.path.basename(file)
        for value in _given_in(tree, variable):
            found.append((order.index(name) if name in order else len(order), file, value))
    candidates: dict[str, str] = {}
    for _, file, value in sorted(found):
        candidates.setdefault(value, os.path.relpath(file, directory))
    return candidates


def _given_in(tree: ast.Module, variable: str) -> Iterator[str]:
    """Values of `os.environ.setdefault("X", "x")` and `os.environ["X"] = "x"`."""
    for node in ast.walk(tree):
        pair: Sequence[ast.expr] = ()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setdefault":
            pair = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pair = (node.targets[0].slice, node.value)
        if len(pair) == 2 and _text(pair[0]) == variable and (value := _default(pair[1])):
            yield value


def _default(node: ast.AST | None) -> str | None:
    """A text, or the one that stands as default in `config("X", default="x")`, `os.getenv("X", "x")` and the like."""
    if isinstance(node, ast.Call):
        named = [word.value for word in node.keywords if word.arg == "default"]
        return _text([*named, *node.args[1:], None][0])
    return _text(node)


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _apps(directory: str, trees: dict[str, Any]) -> dict[str, str]:
    """Values for `celery -A`, and the file of each: modules that set a name to `Celery(…)`."""
    found = []
    for file, tree in trees.items():
        makers = _makers(tree)
        for node in _statements(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            call = getattr(node, "value", None)
            if isinstance(call, ast.Call) and isinstance(targets[0], ast.Name) and _last_name(call.func) in makers:
                usual = os.path.basename(file) in ("celery.py", "celery_app.py")
                found.append((not usual, file.count(os.sep), file, targets[0].id))
    return {_for_celery(_module(directory, file)[0], name): file for _, _, file, name in sorted(found)}


def _makers(tree: ast.Module) -> set[str]:
    """What makes a Celery app in this file: the class by any name, a subclass of it, a function that returns one."""
    makers = {"Celery"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "celery":
            makers |= {alias.asname for alias in node.names if alias.name == "Celery" and alias.asname}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and makers & {_last_name(base) for base in node.bases}:
            makers.add(node.name)
        elif isinstance(node, ast.FunctionDef) and any(isinstance(part, ast.Return) for part in ast.walk(node)):
            calls = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
            if makers & set(map(_last_name, calls)):
                makers.add(node.name)
    return makers


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a module, those below `try` and `if` too."""
    for node in getattr(tree, "body", ()):
        yield node
        if isinstance(node, (ast.Try, ast.If)):
            yield from _statements(node)


def _last_name(node: ast.AST | None) -> str | None:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)


def _for_celery(module: str, name: str) -> str:
    """How -A names it; Celery itself looks for `app` and `celery`, and in PACKAGE.celery (celery.app.utils)."""
    if name not in ("app", "celery"):
        return f"{module}:{name}"
    return module[: -len(".celery")] if module.endswith(".celery") else module


def _plain_app(named: str) -> str:
    """What `_for_celery` makes of the app that a command line names."""
    module, _, name = named.partition(":")
    return _for_celery(module, name or "app")


def _module(directory: str, file: str) -> tuple[str, str]:
    """The dotted name of a file, and the folder that must be on sys.path for it: the first that is no package."""
    root = os.path.dirname(file)
    if os.path.exists(os.path.join(root, "__init__.py")):
        while root != directory and os.path.exists(os.path.join(root, "__init__.py")):
            root = os.path.dirname(root)
    else:  # a namespace package
        root = directory
    name = os.path.relpath(file, root)[: -len(".py")].replace(os.sep, ".")
    return name.removesuffix(".__init__"), root


def _declared(directory: str, top: str, found: list[str]) -> list[str]:
    """What is installed, the likeliest first: a lock file before requirements, these before pyproject.toml."""
    try:
        declared = declarations.declared(directory, top)
    except declarations.Unfit:  # provision says what is wrong
        return found
    if declared["kind"] in declarations.LOCKS or not found:
        files: list[str] = declared["files"]
        return files
    return found


def _file_of(trees: dict[str, Any], module: str) -> str | None:
    """The project's own file that a dotted name means, wherever on sys.path its folder is."""
    path = os.sep + module.replace(".", os.sep)
    ends = (f"{path}.py", f"{path}{os.sep}__init__.py")
    return min((file for file in trees if file.endswith(ends)), key=len, default=None)


def _imports(directory: str, file: str, tree: ast.Module) -> Iterator[str]:
    """The dotted names that a file imports, among them those that may be names in a module."""
    package = _module(directory, file)[0].split(".")
    if os.path.basename(file) != "__init__.py":
        package.pop()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _words_of_settings(directory: str, settings: dict[str, Any], trees: dict[str, Any]) -> set[str]:
    """Words (see `_words`) in the settings' files; of a settings package, in all of its modules."""
    words = set()
    for module in settings:
        base = module.rsplit(".", 1)[0] if module.count(".") > 1 else module
        path = base.replace(".", os.sep)
        for file, tree in trees.items():
            if f"{os.sep}{path}.py" in file or f"{os.sep}{path}{os.sep}" in file:
                words |= _words(tree)
    return words


def _words(tree: ast.Module) -> set[str]:
    """Names, and the beginnings of text constants, up to a dot."""
    found: set[str] = set()
    for node in ast.walk(tree):
        found |= {name for kind in ("id", "arg", "attr") if (name := getattr(node, kind, None))}
        if text := _text(node):
            found.add(text.split(".")[0])
    return found


def _git(directory: str, named: str) -> tuple[str, str | None, str | None, bool]:
    top = _git_says(directory, "rev-parse", "--show-toplevel")
    if not top:
        return named if f"{directory}/".startswith(f"{named}/") else directory, None, None, False
    remote = _git_says(directory, "remote", "get-url", "origin")
    remote = remote if remote and _URL.match(remote) else None
    bare = re.sub(r"^(https?://)[^/@]*@", r"\1", remote) if remote else None
    return os.path.realpath(top), bare, _git_says(directory, "symbolic-ref", "--short", "HEAD"), bare != remote


def _git_says(directory: str, *words: str) -> str | None:
    command = ["git", "-C", directory, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


class _Untrusted(str):
    """Text that Ansible would take for a template, and that a person did not write as one."""


def _untrusted(value: Any) -> Any:
    """A copy in which what a project has brought is never a template, whatever is in it."""
    if isinstance(value, dict):
        return {key: _untrusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_untrusted(inner) for inner in value]
    own = value == OUR_REDIS
    return _Untrusted(value) if isinstance(value, str) and not own and re.search(r"\{[{%#]", value) else value


def _yaml(value: Any) -> str:
    import yaml  # ansible-core's own dependency

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", ""))
    Dumper.add_representer(_Untrusted, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), "'"))
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)
