"""What the roles bring about on a host: a module here does the work of Ansible's module of that name.

Each has ARGUMENTS, as Ansible describes a module's, and `bring(params, check)`, which makes true what differs (nothing
under `check`), returns what Ansible's module returns, `changed` among it, and raises Failure. So the task that mends
and the look that compares everything at once (look.py) have one description and one code.

For that look (controller/role_check.py) a state may also have UNASKED, names of arguments that it is not given then,
and COSTLY, which keeps it from being asked before it is known that the answer will be wanted. A `remark` that is in
its result is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import UNPROVEN, Failure

# Characters that a text needs to be a secret: a shorter one, a 1 say, would be struck out of whatever has such letters.
SECRET_LENGTH = 4


def told(failure: Failure) -> dict[str, Any]:
    """What a Failure comes with: what was done until then, and the exit code where it has one of its own."""
    return failure.result | ({"exit_code": UNPROVEN} if failure.code == UNPROVEN else {})


def serve(
    ansible_module: Any,
    state: Any,
    arguments: Callable[[Any], dict[str, Any]] = lambda module: module.params,
    **options: Any,
) -> None:
    """Be Ansible's module for `state`. `ansible_module` is Ansible's class, `arguments` gives what `bring` gets."""
    module = ansible_module(state.ARGUMENTS, supports_check_mode=True, **options)
    module.no_log_values -= {text for text in module.no_log_values if len(text) < SECRET_LENGTH}
    problem = None
    try:
        result = state.bring(arguments(module), module.check_mode)
    except Failure as failure:
        problem, result = str(failure), told(failure)
    if problem:  # said out here, since fail_json makes a traceback of an exception that is being handled
        module.fail_json(msg=problem, **result)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**result)
