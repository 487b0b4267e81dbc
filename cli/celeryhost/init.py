"""Looking at a Django project on disk, without importing it, and writing an inventory for it.

Importing would need the project's own environment, its database settings and secrets; reading needs nothing.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections import namedtuple

from .apps import DJANGO, describe
from .errors import UNKNOWN, USAGE, Failure

Project = namedtuple("Project", "directory settings apps requirements scheduler results top remote version")
Project.__doc__ = """What a folder with a Django project says about itself.

`directory` holds manage.py; `settings` and `apps` (values for DJANGO_SETTINGS_MODULE and `celery -A`) map each
candidate to the file that says so, the likeliest first; `requirements` is relative to `directory`, or None;
`scheduler` and `results` are what `celery_apps` is to say of django-celery-beat and django-celery-results, or None;
`top` is the top of the git work tree (else `directory`), `remote` and `version` where it comes from, or None."""

_SKIPPED = {"node_modules", "site-packages", "__pycache__", "tests", "test", "docs", "migrations", "static", "media"}
LOCAL = ("localhost", "127.0.0.1", "::1")
_DEPTH = 4  # folders below the one that was named
_REQUIREMENTS = (
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/requirements.txt",
    "requirements/base.txt",
    "requirements/common.txt",
)
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


def look(directory: str) -> Project:
    """What the Django project whose manage.py is in `directory` says about itself."""
    directory = os.path.realpath(directory)  # as git names the top of its work tree
    trees = {}
    for folder, names in _folders(directory):
        for name in names:
            if name.endswith(".py"):
                file = os.path.join(folder, name)
                trees[file] = _parsed(file)
    settings = _settings(directory, trees)
    top, remote, version = _git(directory)
    words = _words_of_settings(directory, settings, trees)
    apps = _apps(directory, trees)
    own_backend = {"CELERY_RESULT_BACKEND", "result_backend"} & words.union(
        *(_words(trees[file]) for file in apps.values())
    )
    requirements = [
        os.path.relpath(file, directory)
        for place in dict.fromkeys((directory, top))
        for file in (os.path.join(place, name) for name in _REQUIREMENTS)
        if os.path.isfile(file)
    ]
    return Project(
        directory,
        settings,
        apps,
        next(iter(requirements), None),
        DJANGO if "django_celery_beat" in words and "CELERY_BEAT_SCHEDULER" not in words else None,
        DJANGO if "django_celery_results" in words and not own_backend else None,
        top,
        remote,
        version,
    )


def app_name(project: Project) -> str:
    """A name for programs and user, after the project's package or folder."""
    package = next(iter(project.apps), "").split(".")[0].split(":")[0]
    generic = ("", "config", "core", "conf", "project", "src", "backend", "app", "server", "web", "main", "celery")
    words = (package, os.path.basename(project.directory), os.path.basename(project.top))
    word = next((word for word in words if word.lower() not in generic), words[-1])
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-0123456789")[:24].rstrip("-") or "app"


def description(project: Project, name: str, app: str, settings: str) -> dict:
    """The entry of `celery_apps` for `project`, checked by apps.describe, which raises Failure (USAGE)."""
    whole = project.remote or (project.requirements or "").startswith(os.pardir)
    entry = {"name": name, "source": project.remote or (project.top if whole else project.directory)}
    if project.remote and project.version:
        entry["version"] = project.version
    if whole and project.top != project.directory:
        entry["subfolder"] = os.path.relpath(project.directory, project.top)
    entry["app"] = app
    if project.requirements not in (None, "requirements.txt"):
        entry["requirements"] = project.requirements
    entry["environment"] = {"DJANGO_SETTINGS_MODULE": settings}
    root = import_root(project, app)
    if root != ".":
        entry["environment"]["PYTHONPATH"] = os.path.join(describe(entry)["directory"], root)
    entry["workers"] = [{"concurrency": 2}]
    entry["beat"] = {"scheduler": project.scheduler} if project.scheduler else {}
    if project.results:
        entry["results"] = project.results
    describe(entry)
    return entry


def remarks(project: Project) -> list[str]:
    """What a person should know about the description."""
    if project.requirements is None:
        return ["no requirements file found: Django and Celery are then all that is installed; see `requirements`"]
    return []


def development_settings(project: Project) -> str | None:
    """What manage.py takes for DJANGO_SETTINGS_MODULE, as opposed to what is deployed."""
    tree = _parsed(os.path.join(project.directory, "manage.py"))
    return next(_settings_in(tree), None)


def import_root(project: Project, app: str) -> str:
    """The folder, relative to manage.py's, from which `celery -A app` is imported."""
    file = project.apps.get(app)
    return os.path.relpath(_module(project.directory, file)[1], project.directory) if file else "."


def files(entry: dict, host: str, user: str) -> dict[str, str]:
    """The inventory that puts the app `entry` on `host` (an address, or localhost): file name → content."""
    if host in LOCAL:
        alias = "localhost"
        variables = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        address = {}
    else:
        alias = entry["name"] if re.fullmatch(r"[\d.]+|.*:.*", host) else host
        variables = {"ansible_user": user, "ansible_python_interpreter": "/usr/bin/python3"}
        address = {"ansible_host": host} if alias != host else {}
    groups = {group: {"hosts": {alias: None}} for group in ("redis", "celery_workers", "celery_beat")}
    groups["redis"]["hosts"][alias] = address or None
    hosts = {"all": {"vars": variables, "children": groups}}
    return {
        "hosts.yml": "# Where it runs. One machine does everything; each group may have others, or several.\n"
        + _yaml(hosts),
        "group_vars/all/apps.yml": "# What runs there; docs/variables.md has all keys.\n"
        + _yaml({"celery_apps": [entry]}),
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


def _folders(top: str):
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
        with open(file, "rb") as source:
            return ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):  # a template of code, Python 2: nothing that runs here
        return ast.Module(body=[], type_ignores=[])


def _settings(directory: str, trees: dict) -> dict[str, str]:
    """Candidates for DJANGO_SETTINGS_MODULE: what is deployed (asgi, wsgi) says more than what is developed with."""
    order = ("asgi.py", "wsgi.py", "celery.py", "celery_app.py", "manage.py")
    found = []
    for file, tree in trees.items():
        name = os.path.basename(file)
        for module in _settings_in(tree):
            found.append((order.index(name) if name in order else len(order), file, module))
    candidates = {}
    for _, file, module in sorted(found):
        candidates.setdefault(module, os.path.relpath(file, directory))
    return candidates


def _settings_in(tree: ast.Module):
    """Values of `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "x")` and `os.environ["…"] = "x"`."""
    for node in ast.walk(tree):
        pair = ()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setdefault":
            pair = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pair = (node.targets[0].slice, node.value)
        if len(pair) == 2 and _text(pair[0]) == "DJANGO_SETTINGS_MODULE" and _text(pair[1]):
            yield _text(pair[1])


def _text(node) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _apps(directory: str, trees: dict) -> dict[str, str]:
    """Values for `celery -A`, and the file of each: modules that set a name to `Celery(…)`."""
    found = []
    for file, tree in trees.items():
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            call = getattr(node, "value", None)
            if not (isinstance(call, ast.Call) and isinstance(targets[0], ast.Name)):
                continue
            called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", None)
            if called == "Celery":
                usual = os.path.basename(file) in ("celery.py", "celery_app.py")
                found.append((not usual, file.count(os.sep), file, targets[0].id))
    return {_for_celery(_module(directory, file)[0], name): file for _, _, file, name in sorted(found)}


def _for_celery(module: str, name: str) -> str:
    """How -A names it; Celery itself looks for `app` and `celery`, and in PACKAGE.celery (celery.app.utils)."""
    if name not in ("app", "celery"):
        return f"{module}:{name}"
    return module[: -len(".celery")] if module.endswith(".celery") else module


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


def _words_of_settings(directory: str, settings: dict, trees: dict) -> set[str]:
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
    found = set()
    for node in ast.walk(tree):
        found |= {getattr(node, kind, None) for kind in ("id", "arg", "attr")} - {None}
        if text := _text(node):
            found.add(text.split(".")[0])
    return found


def _git(directory: str) -> tuple[str, str | None, str | None]:
    top = _git_says(directory, "rev-parse", "--show-toplevel")
    if not top:
        return directory, None, None
    remote = _git_says(directory, "remote", "get-url", "origin")
    remote = remote if remote and _URL.match(remote) else None
    return os.path.realpath(top), remote, _git_says(directory, "symbolic-ref", "--short", "HEAD")


def _git_says(directory: str, *words: str) -> str | None:
    command = ["git", "-C", directory, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _yaml(value, indent: int = 0, item: bool = False) -> str:
    """Block style; a value is quoted unless it is a plain word, JSON's quotes being YAML's double ones."""
    pad = "  " * indent
    if isinstance(value, dict):
        text = ""
        for number, (key, inner) in enumerate(value.items()):
            lead = "" if item and number == 0 else pad
            if inner and isinstance(inner, (dict, list)):
                text += f"{lead}{key}:\n{_yaml(inner, indent + 1)}"
            else:
                text += f"{lead}{key}:{_scalar(inner)}\n"
        return text
    return "".join(f"{pad}- {_yaml(inner, indent + 1, item=True).lstrip()}" for inner in value)


def _scalar(value) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_/][\w./@+-]*(:[\w./@+-]+)*", value):
        return f" {value}"
    return f" {json.dumps(value)}"
