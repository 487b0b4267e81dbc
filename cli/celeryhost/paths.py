"""Where things are: this package, and the Ansible tree (playbooks, roles, plugins, templates, inventories)."""

from __future__ import annotations

import os

from .errors import FAILED, USAGE, Failure

# On a host. Roles and templates have them by the filters `path` (`'ETC' | celeryhost.celeryhost.path`), `noted` and
# `redis_paths`.
ETC = "/etc/celeryhost"  # passwords, environments, what is noted of apps
RELEASES = f"{ETC}/releases"  # what is noted of each app's releases, and the entries of those that worked
LIB = "/usr/local/lib/celeryhost"  # this package
UV = "/usr/local/lib/celeryhost-uv"
COMMAND = "/usr/local/bin/celeryhost"
CACHE = "/var/cache/celeryhost"
LOGS = "/var/log/celeryhost"  # what supervisord captures: root's own
AUDIT = f"{LOGS}/audit.log"  # who did what
AUDIT_MEMBERS = f"{LOGS}/.members"  # and what members of group supervisor did
ROLES = f"{ETC}/roles"  # what they were at their last complete run
PROVEN = f"{ETC}/proven"  # that the programs were seen to work
PYTHON = "/usr/bin/python3"
SUPERVISOR = "/opt/supervisor"  # Supervisor's virtual environment, where it is not the distribution's
SUPERVISORD_CONF = "/etc/supervisor/supervisord.conf"
SUPERVISOR_PROGRAMS = "/etc/supervisor/conf.d"
SUPERVISOR_LOGS = "/var/log/supervisor"
SUPERVISOR_SOCKET = "/run/supervisor.sock"
SUPERVISOR_PIDFILE = "/run/supervisord.pid"
# Debian's packages that role redis may install: the same in all but their name.
REDIS_PACKAGES = ("redis-server", "valkey-server")

HOOKS = "hooks"  # the folder beside an inventory with programs of a person's own (hooks.py)
PACKAGE = os.path.dirname(os.path.realpath(__file__))
COLLECTION = "celeryhost.celeryhost"  # as galaxy.yml names it
_PLACE = os.path.join("ansible_collections", *COLLECTION.split("."))


def noted(name: str, what: str) -> str:
    """The file on a host with what is noted of an app: its `env`, `files`, `code` or `git-key`; or of more."""
    return f"{ETC}/{name}.{what}"


REDIS_PASSWORD = noted("redis", "password")
WEB_PASSWORD = noted("web", "password")


def named(name: str) -> str | tuple[str, ...]:
    """One of the constants above, for roles and templates."""
    found: str | tuple[str, ...] | None = globals().get(name) if name.isupper() and name[0] != "_" else None
    if found is None:
        raise Failure(f"{name} is no path of {__file__}", FAILED, "correct the role or the template")
    return found


def redis_paths(package: str) -> dict[str, str]:
    """Where one of REDIS_PACKAGES has its things, and where role redis puts its own beside them."""
    if package not in REDIS_PACKAGES:
        raise Failure(f"redis_package is {package!r}, which is not {' or '.join(REDIS_PACKAGES)}", USAGE, "choose one")
    name = package.removesuffix("-server")
    etc = f"/etc/{name}"
    return {
        "account": name,
        "cli": f"{name}-cli",
        "config": f"{etc}/{name}.conf",
        "own_config": f"{etc}/celeryhost.conf",
        "password_config": f"{etc}/celeryhost-password.conf",
        "data": f"/var/lib/{name}",
        "log": f"/var/log/{name}/{package}.log",
        "program": f"/usr/bin/{package}",
        "service": package,
        "init_defaults": f"/etc/default/{package}",
        "unit_dropin": f"/etc/systemd/system/{package}.service.d/celeryhost.conf",
    }


def redis_here() -> dict[str, str]:
    """`redis_paths` of the one that is installed on this machine: the one that has celeryhost's settings, if any."""
    known = [redis_paths(package) for package in REDIS_PACKAGES]
    for file in ("own_config", "config"):
        for places in known:
            if os.path.exists(places[file]):
                return places
    return known[0]


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
