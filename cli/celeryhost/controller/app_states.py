"""What an app's description asks of a host, as questions for states/look.py: filters of the roles, on the controller.

Each question is [state, arguments], the arguments those of the task in roles/project that mends it.
"""

from __future__ import annotations

import errno
import hashlib
import os

from .. import apps
from ..errors import USAGE, Failure
from ..paths import CACHE, noted
from ..project.preflight import project_problems
from ..scripts.requirements import Unfit, declared
from ..states.look import digest

# What the preflight on the host reads; the rest of a description, above all its environment, stays here.
LOOKED_AT = (
    *("name", "user", "data", "logs", "source_kind", "checkout", "directory", "python", "virtualenv", "requirements"),
    *("app", "extensions"),
)
LOADED = ("name", "user", "app", "directory", "virtualenv", "settings", "extensions")
SOURCE_LIMIT = 4 << 30  # bytes; a sparse file may claim any
FOLDERS = {".git", ".hg", ".svn", ".idea", ".vscode", ".tox", ".nox", ".celeryhost", "node_modules", "__pycache__"}
CACHES = ("_cache",)
FILES = (".pyc", ".pyo", ".sqlite3", ".sqlite3-journal", ".sqlite3-wal", ".sqlite3-shm", ".celeryhost-new", "~")


def source_files(src: str) -> dict[str, str]:
    """For each file below `src`, by its path there: its SHA-256, after an `x` if executable; `->` and a link's target.

    Left out are version control, virtual environments (wherever a pyvenv.cfg is), caches and SQLite's databases,
    which on the host hold the host's own data. Raises OSError for a file that can't be read, or makes it too much.
    """
    found, room = {}, SOURCE_LIMIT
    for folder, folders, names in os.walk(src):
        keep = [name for name in folders if name not in FOLDERS and not name.endswith(CACHES)]
        folders[:] = sorted(name for name in keep if not os.path.exists(os.path.join(folder, name, "pyvenv.cfg")))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, src)] = f"->{os.readlink(path)}"
            elif os.path.isfile(path) and not name.endswith(FILES):
                with open(path, "rb") as file:
                    state = os.fstat(file.fileno())
                    room -= state.st_size
                    if room < 0:
                        told = f"brings the folder above {SOURCE_LIMIT >> 30} GiB; keep data out of it"
                        raise OSError(errno.EFBIG, told, path)
                    digest = hashlib.sha256()
                    while block := file.read(1 << 20):
                        digest.update(block)
                found[os.path.relpath(path, src)] = f"{'x' if state.st_mode & 0o100 else ''}{digest.hexdigest()}"
    return found


def source_problems(described: list[dict]) -> list[str]:
    """What is wrong with the folders that are to be brought from here, one line each."""
    return [
        problem
        for app in described
        if app["source_kind"] == "folder"
        for problem in project_problems(app, os.path.normpath(os.path.join(app["source"], app["subfolder"])), "source")
    ]


def questions(described: list[dict], keep: bool = False) -> dict[str, list]:
    """What is asked before anything changes. Raises Failure for a source that can't be read.

    With `keep` a host may note from what an answer was drawn, to be faster next time.
    """
    known = [{key: app[key] for key in LOOKED_AT} | {"for_python": _for_python(app)} for app in described]
    asked = {"project": ["project_look", {"apps": known}]}
    for app in described:
        if app["source_kind"]:
            asked[f"{app['name']} code"] = _code(app)
        if app["key"]:
            asked[f"{app['name']} key"] = ["git_key", key(app)]
        environment = noted(app["name"], "env")
        workers = [{"settings": worker["settings"]} for worker in app["workers"]]
        part = {key: app[key] for key in LOADED} | {"workers": workers}
        known = {"app": part, "environment_file": environment, "migrations": app["migrate"]}
        known |= {
            "results": apps.results_given(app),
            "record": f"{CACHE}/{app['name']}.loads",
            "keep": keep,
        }
        asked[f"{app['name']} loads"] = ["celery_app", known]
    return asked


def comparison(
    described: list[dict], answers: dict, broker_url: str, redis_version: str, redis_url: str = "", here: bool = True
) -> dict[str, list]:
    """What is asked once the answers to `questions` are there; the other arguments come from them and from Redis."""
    groups = answers["project"]["groups"]
    loads = [answers[f"{app['name']} loads"] for app in described]
    merged = apps.merged(described, loads, redis_url, here)
    asked = {
        "project places": ["owned_paths", {"folders": apps.code_places(described, groups)}],
        "project files": ["install_files", apps.environment_files(merged, groups, broker_url, redis_url)],
    }
    for app in described:
        requirements = app["requirements"]
        asked[f"project {app['name']} virtualenv"] = [
            "project_virtualenv",
            {
                "path": app["virtualenv"],
                "directory": app["directory"],
                "top": app["checkout"],
                "owner": app["user"],
                "python": app["python"],
                "system_site_packages": app["system_site_packages"],
                "requirements": requirements if isinstance(requirements, list) else None,
                "extensions": [module.replace("_", "-") for module in app["extensions"]],
                "tools": app["tools"],
                "managed": requirements is not False,
                "redis_version": redis_version,
                "versions": answers[f"{app['name']} loads"]["versions"],
            },
        ]
    return asked


def differs(described: list[dict], answers: dict) -> bool:
    """Whether the answers to `questions` already say that role project has something to do."""
    codes = [answers.get(f"{app['name']} code", {"changed": False}) for app in described]
    loads = [answers[f"{app['name']} loads"] for app in described]
    return bool(
        answers["project"]["missing"]
        or any(code["changed"] for code in codes)
        or any(answers.get(f"{app['name']} key", {"changed": False})["changed"] for app in described)
        or any("failed" in loaded or loaded["pending"] for loaded in loads)
    )


def releases(described: list[dict], answers: dict) -> dict[str, str]:
    """As apps.releases, from the answers to `questions`."""
    codes = [answers.get(f"{app['name']} code", {}) for app in described]
    revisions = answers.get("project", {}).get("revisions", {})
    environments = [{"revision": app["requirements"] is not False and revisions.get(app["name"])} for app in described]
    return apps.releases(described, codes, environments)


def key(app: dict) -> dict:
    """What state git_key is given for an app. Raises Failure for a file that can't be read."""
    text = None
    if app["git_key"] != "generate":
        try:
            with open(app["git_key"], encoding="utf-8") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "is no text"
            raise Failure(f"git_key of app {app['name']}: {app['git_key']}: {why}", USAGE, "name another") from None
    return {"path": app["key"], "text": text, "repo": app["source"], "owner": app["user"]}


FILTERS = {
    "git_key": key,
    "digest": digest,
    "project_questions": questions,
    "project_comparison": comparison,
    "project_differs": differs,
    "source_problems": source_problems,
    "known_releases": releases,
}


def _for_python(app: dict) -> str:
    """The Pythons that the code in a folder here is for. Raises Failure for requirements that cannot be read."""
    if app["source_kind"] != "folder" or app["requirements"] is False:
        return ""
    folder = os.path.normpath(os.path.join(app["source"], app["subfolder"]))
    try:
        return declared(folder, app["source"], app["requirements"])["python"]
    except Unfit as problem:
        raise Failure(f"app {app['name']}: {problem}", USAGE) from None


def _code(app: dict) -> list:
    own = {"dest": app["checkout"], "owner": app["user"], "moment": noted(app["name"], "code")}
    if app["source_kind"] == "git":
        known = {"repo": app["source"], "version": app["version"], "key": app["key"]}
        return ["project_git", known | own]
    try:
        files = source_files(app["source"])
    except OSError as error:
        raise Failure(f"source of app {app['name']}: {error.filename}: {error.strerror}", USAGE) from None
    known = {"src": app["source"], "files": files, "record": noted(app["name"], "files")}
    return ["project_folder", known | own]
