"""Where things are: this package, and the Ansible tree (playbooks, roles, plugins, templates, inventories)."""

from __future__ import annotations

import os

from .errors import FAILED, Failure

# On a host. The roles name the same.
ETC = "/etc/celeryhost"  # passwords, environments, what is noted of apps
LIB = "/usr/local/lib/celeryhost"  # this package
CACHE = "/var/cache/celeryhost"
LOGS = "/var/log/celeryhost"  # what supervisord captures: root's own
SUPERVISOR = "/opt/supervisor"  # Supervisor's virtual environment, where it is not the distribution's
SUPERVISORD_CONF = "/etc/supervisor/supervisord.conf"
REDIS_PASSWORD = f"{ETC}/redis.password"
WEB_PASSWORD = f"{ETC}/web.password"
PYTHON = "/usr/bin/python3"

PACKAGE = os.path.dirname(os.path.realpath(__file__))
COLLECTION = "celeryhost.celeryhost"  # as galaxy.yml names it
_PLACE = os.path.join("ansible_collections", *COLLECTION.split("."))


def noted(app: str, what: str) -> str:
    """The file on a host with what is noted of an app: its `env`, `files`, `code` or `git-key`."""
    return f"{ETC}/{app}.{what}"


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
