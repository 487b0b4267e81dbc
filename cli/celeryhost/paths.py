"""Where things are: this package, and the Ansible tree (playbooks, roles, templates, inventories, examples)."""

from __future__ import annotations

import os

from .errors import FAILED, Failure

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def tree() -> str:
    """The folder of ansible.cfg: inside an installed wheel, or the checkout. Raises Failure (FAILED) without one."""
    for place in (os.path.join(PACKAGE, "_ansible"), os.path.dirname(os.path.dirname(PACKAGE))):
        if os.path.isfile(os.path.join(place, "ansible.cfg")) and os.path.isdir(os.path.join(place, "playbooks")):
            return place
    fix = "use ./celeryhost of a checkout, or install the package with pip or pipx"
    raise Failure(f"the celeryhost in {PACKAGE} carries no playbooks and templates", FAILED, fix)
