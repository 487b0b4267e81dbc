"""Where things are: this package, and the Ansible tree (playbooks, roles, plugins, templates, inventories)."""

from __future__ import annotations

import os

from .errors import FAILED, Failure

PACKAGE = os.path.dirname(os.path.realpath(__file__))
COLLECTION = "celeryhost.celeryhost"  # as galaxy.yml names it
_PLACE = os.path.join("ansible_collections", *COLLECTION.split("."))


def tree() -> str:
    """The folder of ansible.cfg: inside an installed wheel, or the checkout. Raises Failure (FAILED) without one."""
    for place in (os.path.join(PACKAGE, "_ansible", _PLACE), os.path.dirname(os.path.dirname(PACKAGE))):
        if os.path.isfile(os.path.join(place, "ansible.cfg")) and os.path.isdir(os.path.join(place, "playbooks")):
            return place
    fix = "use ./celeryhost of a checkout, or install the package with pip or pipx"
    raise Failure(f"the celeryhost in {PACKAGE} carries no playbooks and templates", FAILED, fix)


def collections() -> str:
    """The folder in which Ansible finds the tree as a collection. Raises Failure as `tree` does."""
    above = tree()
    if above.endswith(_PLACE):
        return above.removesuffix(f"{os.sep}{_PLACE}")
    return os.path.join(above, "playbooks", "collections")
