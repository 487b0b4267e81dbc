"""The controller's half: a host that has the same celeryhost is asked and mended by that, else by modules.

It spares bringing a module over, unpacking and compiling it. Action plugins call it; `action` is Ansible's ActionBase.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import paths
from ..states import SECRET_LENGTH, celeryhost_package, look

if TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

PACKAGE = celeryhost_package.digest(paths.PACKAGE)
COMMAND = (
    f'{paths.PYTHON} -IS -c \'import sys; sys.path.insert(0, "{paths.LIB}"); '
    "from celeryhost.states import look; look.main()'"
)
# Of an app's environment: what is written elsewhere, too, and would be struck out of every message.
OPEN = ("DJANGO_SETTINGS_MODULE", "DJANGO_CONFIGURATION", "PYTHONPATH", "PGHOST", "PGPORT", "PGDATABASE", "PGUSER")

# What Ansible takes in a result for an order: hosts, groups and facts to add.
OBEYED = ("add_host", "add_group", "ansible_facts")


def ask(action: ActionBase, **asked: Any) -> dict[str, Any]:
    """What look.main on the host says; nothing where there is another package, or where a command gets no input."""
    # Passwords are in questions and answers, and with -vvv a connection shows what it carries.
    action._play_context.no_log = action._connection._play_context.no_log = True
    if not action._is_pipelining_enabled("new"):
        return {}
    command = f"{action._compute_environment_string()} {COMMAND}".strip()
    done = action._low_level_execute_command(command, in_data=json.dumps(asked | {"package": PACKAGE}).encode())
    try:
        said = json.loads(done["stdout"].splitlines()[-1]) if done["rc"] == 0 else {}
    except (ValueError, IndexError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def bring(
    action: ActionBase, state: str, arguments: dict[str, Any], task_vars: dict[str, Any], only_asked: bool = False
) -> dict[str, Any]:
    """What Ansible's module `state` returns; nothing where that would have to be brought there, if `only_asked`."""
    from ansible.module_utils.common.parameters import remove_values

    seconds = action._task.async_val
    found = ask(action, state=state, arguments=arguments, check=action._task.check_mode, seconds=seconds)
    if found:
        said: dict[str, Any] = remove_values(found, _secrets(look.STATES[state], arguments))
        # As Ansible does with what a module says: an answer that names another host, which would be this machine with a
        # command of its choice, is not obeyed, nor are groups and facts.
        return {key: said[key] for key in said if key not in OBEYED and not key.startswith("_ansible_")}
    if only_asked:
        return {}
    name = f"{paths.COLLECTION}.{state}"
    done: dict[str, Any] = action._execute_module(name, arguments, task_vars=task_vars, wrap_async=seconds)
    return done


def _secrets(state: Any, arguments: dict[str, Any]) -> set[str]:
    """What of the arguments appears in no output."""
    if hasattr(state, "veiled"):
        return set(state.veiled(arguments))
    hidden = [arguments.get(key) for key, argument in state.ARGUMENTS.items() if argument.get("no_log")]
    known = {part.get(name) for part in hidden if isinstance(part, dict) for name in OPEN}
    return {text for part in hidden for text in _texts(part)} - known


def _texts(value: object) -> Iterator[str]:
    """Each text in a value of lists and dicts that is long enough for a secret."""
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
    elif isinstance(value, str) and len(value.strip()) >= SECRET_LENGTH:
        yield value.strip()
