"""The hosts of an Ansible inventory, and which of them a pattern means, without importing Ansible.

`ansible-inventory --list` takes half a second, so its answer is cached, keyed on the state of the files it was made of.
What is kept is what ssh needs and no more: names, groups and the variables below, never passwords.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .. import cache
from ..errors import FAILED, TIMEOUT, UNKNOWN, USAGE, Failure
from ..paths import HOOKS

# https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html#connecting-to-hosts-behavioral-inventory-parameters
# https://docs.ansible.com/ansible/latest/collections/ansible/builtin/ssh_connection.html
VARIABLES = (
    "ansible_become",
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_ssh_host",
    "ansible_ssh_port",
    "ansible_ssh_private_key_file",
    "ansible_ssh_user",
    "ansible_user",
)
DYNAMIC_SECONDS = 60  # an inventory that is asked (a script, a cloud plugin) changes without any file changing
ANSIBLE_SECONDS = 60
FORMAT = 1  # of the cache; another number makes old ones be read again


class Host(NamedTuple):
    """A host of the inventory: its name there and those of VARIABLES that are set."""

    name: str
    variables: dict[str, Any]


class Inventory(NamedTuple):
    """`hosts`: name → its variables; `groups`: name → names of its hosts, child groups included."""

    hosts: dict[str, dict[str, Any]]
    groups: dict[str, list[str]]


def targets(inventory: str | None, pattern: str | None) -> list[Host]:
    """The hosts that `-i` and `-H` mean; no pattern: all. Raises Failure (USAGE, UNKNOWN, FAILED, TIMEOUT)."""
    sources = default_sources() if inventory is None else [inventory]
    known = load(sources)
    if not known.hosts:
        raise Failure(f"inventory {', '.join(sources)} has no hosts", UNKNOWN, "name another one with -i")
    return [Host(name, known.hosts[name]) for name in select(known, "all" if pattern is None else pattern)]


def default_sources() -> list[str]:
    """The inventory when `-i` names none: $ANSIBLE_INVENTORY, else this machine's own in the checkout."""
    from ..paths import tree

    named = os.environ.get("ANSIBLE_INVENTORY", "")
    return [source for source in named.split(",") if source] or [os.path.join(tree(), "inventory", "local")]


# Patterns


_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?\d+)|(\d+)[:-](\d*))\]")
_PART = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")


def select(inventory: Inventory, pattern: str) -> list[str]:
    """The names a pattern means, in the inventory's order.

    Ansible's patterns: names, groups and globs joined by `:` or `,`; `!x` excludes, `&x` keeps only those also in x,
    `~x` is a regular expression, `x[0]`, `x[-1]`, `x[0:2]` (both ends) count within x
    (https://docs.ansible.com/ansible/latest/inventory_guide/intro_patterns.html). Unlike Ansible's, a part that means
    nothing is an error, also after `!`: a typing mistake there would reach the very host to be left alone.
    Raises Failure (UNKNOWN) with near matches.
    """
    parts = _parts(inventory, pattern)
    chosen = [name for part in parts if part[0] not in "!&" for name in _matches(inventory, part)]
    if all(part[0] in "!&" for part in parts):
        chosen = list(inventory.hosts)
    for part in parts:
        if part[0] in "!&":
            keep = part[0] == "&"
            others = set(_matches(inventory, part[1:]))
            chosen = [name for name in chosen if (name in others) == keep]
    if not chosen:
        raise Failure(f"no host of the inventory matches {pattern!r}", UNKNOWN, "see them all: -H all")
    return list(dict.fromkeys(chosen))


def _parts(inventory: Inventory, pattern: str) -> list[str]:
    if pattern in inventory.hosts:  # an IPv6 address is full of colons
        return [pattern]
    parts = pattern.split(",") if "," in pattern or pattern.startswith("~") else _PART.findall(pattern)
    parts = [part.strip() for part in parts if part.strip().lstrip("!&")]
    if not parts:
        raise Failure(f"{pattern!r} is no host pattern", USAGE, "name a host, a group, or `all`")
    return parts


def _matches(inventory: Inventory, part: str) -> list[str]:
    groups = {"all": list(inventory.hosts), "*": list(inventory.hosts), **inventory.groups}
    if part in groups:
        return groups[part]
    if part in inventory.hosts:
        return [part]
    if not part.startswith("~") and (subscript := _SUBSCRIPT.fullmatch(part)):
        whole, index, first, last = subscript.groups()
        names = _matches(inventory, whole)
        start, end = (int(index), int(index)) if index else (int(first), int(last) if last else len(names))
        found = names[start:] if end == -1 else names[start : end + 1]
    else:
        matches = _regex(part[1:]) if part.startswith("~") else lambda name: fnmatchcase(name, part)
        found = [host for group in groups if matches(group) for host in groups[group]]
        found += filter(matches, inventory.hosts)
    if not found:
        from ..errors import near

        hint = near(part, [*inventory.hosts, *inventory.groups])
        raise Failure(f"no host or group {part!r} in the inventory", UNKNOWN, hint or "see them all: -H all")
    return found


def _regex(text: str) -> Callable[[str], object]:
    try:
        return re.compile(text).match
    except re.error as error:
        raise Failure(f"host pattern ~{text} is no regular expression: {error}", USAGE) from None


# The cached answer of ansible-inventory


def load(sources: list[str]) -> Inventory:
    """The inventory that `sources` (files, folders, scripts, `host,list,`) describe, from the cache while it holds."""
    import json
    from time import time

    for source in sources:
        if "," not in source and not os.path.exists(source):
            raise Failure(f"inventory {source!r} does not exist", USAGE, "name a file or folder with -i")
    state = _state(sources)
    path = _cache_path(sources)
    try:
        cached = json.loads(cache.read(path))
        if cached["state"] == state and not (cached["dynamic"] and time() - cached["time"] > DYNAMIC_SECONDS):
            return Inventory(cached["hosts"], cached["groups"])
    except (ValueError, KeyError, TypeError):
        pass  # none yet, or of no use: it is made anew
    inventory = _reduced(_ask_ansible(sources))
    answer = {"state": state, "time": time(), "dynamic": _is_dynamic(state), **inventory._asdict()}
    cache.write(path, json.dumps(answer).encode())
    return inventory


def _state(sources: list[str]) -> list[Any]:
    """Every file that Ansible may read for these sources: [path, mtime in ns, size, executable]."""
    roots = [os.path.realpath(source) for source in sources if "," not in source]
    beside = {path if os.path.isdir(path) else os.path.dirname(path) for path in roots}
    roots += [os.path.join(folder, name) for folder in sorted(beside) for name in ("group_vars", "host_vars")]
    files = [path for path in (*roots, _configuration()) if os.path.isfile(path)]
    for root in roots:
        files += [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    state: list[Any] = [FORMAT, os.environ.get("ANSIBLE_CONFIG")]
    for path in sorted(set(files)):
        try:
            found = os.stat(path)
        except OSError:
            continue  # a dangling link, which Ansible passes over too
        state.append([path, found.st_mtime_ns, found.st_size, bool(found.st_mode & 0o100)])
    return state


def _is_dynamic(state: list[Any]) -> bool:
    """Whether a script or an inventory plugin's `plugin:` file is among the sources."""

    def plugin(path: str) -> bool:
        if not path.endswith((".yml", ".yaml")):
            return False
        with open(path, encoding="utf-8", errors="replace") as lines:
            return any(line.startswith("plugin:") for line in lines)

    return any(executable or plugin(path) for path, _, _, executable in state[2:])


def _configuration() -> str:
    """The ansible.cfg in force: the user's choice, else the one of the checkout, as `celeryhost provision` takes it."""
    from ..paths import tree

    return os.environ.get("ANSIBLE_CONFIG") or os.path.join(tree(), "ansible.cfg")


def _ask_ansible(sources: list[str]) -> dict[str, Any]:
    import json
    import shutil
    import subprocess

    beside = os.path.join(os.path.dirname(sys.executable), "ansible-inventory")
    program = beside if os.access(beside, os.X_OK) else shutil.which("ansible-inventory")
    if not program:
        raise Failure("ansible-inventory is not installed here", USAGE, "pip install ansible-core")
    command = [program, *(word for source in sources for word in ("-i", source)), "--list"]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": _configuration(),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",  # half an inventory would hide hosts
        "ANSIBLE_NOCOLOR": "1",
        **ignoring(),
    }
    try:  # a session of its own has no terminal, so it cannot stop to ask for a Vault password
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=ANSIBLE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)} took more than {ANSIBLE_SECONDS} s", TIMEOUT) from None
    try:
        listing: dict[str, Any] = json.loads(done.stdout)
        return listing
    except ValueError:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if "ERROR" in line]
        reason = said[0].removeprefix("[ERROR]:").removeprefix("ERROR!").strip() if said else f"exit {done.returncode}"
        raise Failure(f"inventory {', '.join(sources)}: {reason}", FAILED, f"try {' '.join(command)}") from None


def ignoring() -> dict[str, str]:
    """The variable that keeps Ansible from executing hooks as inventories, where their folder lies within one."""
    name = "ANSIBLE_INVENTORY_IGNORE_REGEX"
    return {name: ",".join(filter(None, [os.environ.get(name), f"^{HOOKS}$"]))}


def _reduced(listing: dict[str, Any]) -> Inventory:
    """ansible-inventory's listing with child groups resolved and all but VARIABLES dropped."""
    variables = listing.pop("_meta")["hostvars"]

    def members(group: str) -> list[str]:
        entry = listing.get(group, {})
        below = [host for child in entry.get("children", ()) for host in members(child)]
        return list(dict.fromkeys([*entry.get("hosts", ()), *below]))

    hosts = {
        name: {key: value for key, value in variables.get(name, {}).items() if key in VARIABLES}
        for name in members("all")
    }
    children = {child for entry in listing.values() for child in entry.get("children", ())}
    return Inventory(hosts, {group: members(group) for group in sorted({*listing, *children} - {"all"})})


def _cache_path(sources: list[str]) -> str:
    from hashlib import sha256

    key = "\0".join(source if "," in source else os.path.realpath(source) for source in sources)
    return os.path.join(cache.folder(), f"inventory-{sha256(key.encode()).hexdigest()[:16]}.json")
