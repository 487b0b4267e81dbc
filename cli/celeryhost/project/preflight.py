"""What keeps an app from running on this machine, found before anything changes.

Each problem is one line: the variable, its value, why it does not work, and the fix.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from typing import Any

from .. import others

MOST_FILES = 5000
SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages", "static", "media"}


def app_problems(app: dict[str, Any]) -> list[str]:
    """What is wrong for `app`, a description made by `apps.describe`, on the machine this runs on."""
    name = app["name"]
    problems = []
    try:
        account = pwd.getpwnam(app["user"])
    except KeyError:
        account = None
        if app["user"] != name:
            problems.append(
                f"user of app {name} is {app['user']!r}, an account that does not exist here; "
                f"make it (adduser --system --group {app['user']}), or leave `user` out and {name!r} is made"
            )
    # Debian gives a service's account a number below 1000; what is made here says whose it is.
    if account and app["user"] == name and account.pw_uid < 1000 and not account.pw_gecos.startswith("celeryhost"):
        problems.append(
            f"name of app {name} is also the name of a service's account; rename the app, or name another `user`, "
            f"or hand the account over: usermod -c celeryhost {name}"
        )
    for key in ("data", "logs"):
        owner = _owner(app[key])
        if owner is not None and (account is None or owner != account.pw_uid):
            problems.append(
                f"{key} of app {name} is {app[key]!r}, which is there and belongs to {_named(owner)}, not to "
                f"{app['user']!r}; name another folder or another app"
            )
    if app["source_kind"] is None:
        problems += project_problems(app, app["directory"], "directory")
    elif app["source_kind"] == "git" and _has_files(app, app["checkout"]):
        problems.append(
            f"directory of app {name} is {app['checkout']!r}, which has files and is no git checkout; "
            "move them away, or leave `source` out to use them"
        )
    if "/" in app["python"] and not os.access(app["python"], os.X_OK):
        problems.append(f"python of app {name} is {app['python']!r}, which is not there; name one that is")
    return problems + virtualenv_problems(app)


def virtualenv_problems(app: dict[str, Any]) -> list[str]:
    """Whether the virtual environment is one, and, where it is not to be changed, whether Celery is in it."""
    path = app["virtualenv"]
    where = f"virtualenv of app {app['name']} is {path!r}"
    if app["requirements"] is False and not os.access(f"{path}/bin/celery", os.X_OK):
        return [
            f"{where}, which has no bin/celery; name the folder above bin/celery, or leave `requirements: false` out "
            "and Celery is installed there"
        ]
    begun = {
        "bin",
        "include",
        "lib",
        "lib64",
        ".tmp",
        ".lock",
        ".gitignore",
        "CACHEDIR.TAG",
    }  # as far as a killed run may have come
    if os.path.isdir(path) and not os.path.exists(f"{path}/pyvenv.cfg") and set(os.listdir(path)) - begun:
        return [f"{where}, which is there and is no virtual environment; name another folder"]
    return []


def project_problems(app: dict[str, Any], folder: str, variable: str) -> list[str]:
    """Whether `folder`, the value of `variable`, is a Django project that has the Celery app of `celery -A`."""
    where = f"{variable} of app {app['name']} is {folder!r}"
    if not os.path.isdir(folder):
        return [f"{where}, which is no folder; name the one with manage.py in it"]
    if not os.path.isfile(f"{folder}/manage.py"):
        found = sorted(name for name in os.listdir(folder) if os.path.isfile(f"{folder}/{name}/manage.py"))
        below = [os.path.join(app["subfolder"], name) for name in found]
        fix = f"write subfolder: {below[0]}" if below else "name the folder with manage.py in it"
        return [f"{where}, which has no manage.py; {fix}"]
    module = app["app"].partition(":")[0]
    base = f"{folder}/{module.replace('.', '/')}"
    sources = [f"{base}.py", f"{base}/__init__.py", f"{base}/celery.py"]
    for path in sources:
        try:
            if re.search(b"celery", others.read(path), re.IGNORECASE):
                return extension_problems(app, folder)
        except OSError:
            continue
    found = _celery_apps(folder)
    fix = f"did you mean app: {found[0]}?" if found else f"write {base}/celery.py with `app = Celery(…)` in it"
    return [f"app of app {app['name']} is {app['app']!r}, and {folder} has no Celery app of that name; {fix}"]


def extension_problems(app: dict[str, Any], folder: str) -> list[str]:
    """The Django apps that the description turns on and that no file of the project names.

    INSTALLED_APPS itself is known only where the project can be imported: module celery_app looks there.
    """
    missing = dict(app["extensions"])
    for path in sources(folder) if missing else ():
        try:
            text = others.read(path)
        except OSError:
            continue
        missing = {module: key for module, key in missing.items() if module.encode() not in text}
        if not missing:
            break
    cause = f"no Python file in {folder} names it"
    return [not_installed(module, key, cause) for module, key in missing.items()]


def not_installed(module: str, key: str, cause: str) -> str:
    """What to say of a Django app that is not in INSTALLED_APPS; `key` of the description turns it on."""
    return f"{key} needs {module!r} in INSTALLED_APPS, and {cause}; add it there, in the project's settings"


def sources(directory: str) -> Iterator[str]:
    """The Python files of a project, without those of a virtual environment."""
    left = MOST_FILES
    for folder, folders, names in os.walk(directory):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".py") and left:
                left -= 1
                yield os.path.join(folder, name)


def _celery_apps(folder: str) -> list[str]:
    names = sorted(os.listdir(folder))
    return [name for name in names if name.isidentifier() and os.path.isfile(f"{folder}/{name}/celery.py")]


def _has_files(app: dict[str, Any], folder: str) -> bool:
    """Whether something is there that neither an earlier run nor git has put there."""
    if not os.path.isdir(folder) or os.path.isdir(f"{folder}/.git"):
        return False
    own = os.path.relpath(app["virtualenv"], folder).partition("/")[0]
    return any(name != own and not name.startswith(f"{own}.") for name in os.listdir(folder))


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _named(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
