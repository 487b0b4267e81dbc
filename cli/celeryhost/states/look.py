"""Many questions about a host, answered at once: what each state (see __init__.py) would change, in one process.

On a host that has this package as the controller has it, its own Python answers, with everything compiled; on any other
Ansible brings the package along, which takes several times as long.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import Failure
from . import (
    accounts,
    background_job,
    celery_app,
    celeryhost_package,
    git_key,
    install_files,
    left_apps,
    machine_facts,
    owned_paths,
    packages,
    password_file,
    postgresql_databases,
    project_build,
    project_folder,
    project_git,
    project_look,
    project_migrations,
    project_release,
    project_shared,
    project_virtualenv,
    proven,
    redis_server,
    releases_look,
    releases_proven,
    releases_return,
    role_record,
    running_service,
    setting_line,
    status,
    supervisor_programs,
    supervisord,
    told,
)
from .celeryhost_package import digest, untouched

STATES = {
    state.__name__.rpartition(".")[2]: state
    for state in (
        *(accounts, background_job, celery_app, celeryhost_package, git_key, install_files, left_apps),
        *(machine_facts, owned_paths, packages, password_file, postgresql_databases, project_build),
        *(project_folder, project_git, project_look, project_migrations, project_release, project_shared),
        *(project_virtualenv, proven, redis_server, releases_look, releases_proven, releases_return, role_record),
        *(running_service, setting_line, status, supervisor_programs, supervisord),
    )
}
AT_ONCE = 4  # questions: most wait for a disk or for another process


def look(questions: dict[str, Any]) -> dict[str, Any]:
    """{name: the result of a state under `check`, or {"failed": why}} for {name: [state, arguments]}."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(questions, pool.map(_answer, questions.values()), strict=True))


def main() -> None:
    """Answer the questions on stdin, or bring about the state asked for there, in the background if it names the
    `seconds` for that, if this package is the one that they name, and as it was installed; else say {}.
    """
    asked = json.load(sys.stdin)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not untouched(here) or digest(here) != asked["package"]:
        said = {}
    elif asked.get("seconds"):
        said = background_job.begin(lambda: _bring(asked["state"], asked["arguments"], False), asked["seconds"])
    elif "state" in asked:
        said = _bring(asked["state"], asked["arguments"], asked["check"])
    else:
        said = look(asked["questions"])
    json.dump(said, sys.stdout)


def _bring(name: str, given: dict[str, Any], check: bool) -> dict[str, Any]:
    try:
        result: dict[str, Any] = STATES[name].bring(_params(name, given), check)
        return result
    except Failure as failure:
        return {"failed": True, "msg": str(failure)} | told(failure)
    except Exception as error:  # not for Ansible's module to try a second time
        return {"failed": True, "msg": f"{name}: {error!r}"}


def _answer(question: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    name, given = question
    try:
        answer: dict[str, Any] = STATES[name].bring(_params(name, given), True)
    except Failure as failure:
        return {"changed": True, "failed": str(failure)}
    except Exception as error:  # the task that mends says it in full; here it must not hide the other answers
        return {"changed": True, "failed": f"{name}: {error!r}"}
    answer.pop("diff", None)  # of use only to the task that mends, and it may hold what is secret
    return answer


def _params(name: str, given: dict[str, Any]) -> dict[str, Any]:
    return _whole(given, STATES[name].ARGUMENTS, name)


def _whole(given: dict[str, Any], arguments: dict[str, Any], name: str) -> dict[str, Any]:
    if unknown := given.keys() - arguments.keys():
        raise Failure(f"{name} has no argument {', '.join(sorted(unknown))}")
    return {key: _typed(given.get(key, argument.get("default")), argument, name) for key, argument in arguments.items()}


def _typed(value: Any, argument: dict[str, Any], name: str) -> Any:
    """`value` in the type that Ansible would give it: before ansible-core 2.19 a template makes a text of a number."""
    if isinstance(value, str) and argument["type"] in ("int", "float"):
        return {"int": int, "float": float}[argument["type"]](value)
    if isinstance(value, str) and argument["type"] == "bool":
        return value.lower() in ("true", "yes", "on", "1")
    if value and "options" in argument:
        return [_whole(each, argument["options"], name) for each in value]
    return value
