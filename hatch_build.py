"""The Ansible tree travels inside the wheel, laid out as in the checkout; an editable install uses the checkout's."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Named one by one, so that a person's own inventory never gets into a wheel.
TREE = (
    "ansible.cfg",
    "examples",
    "galaxy.yml",
    "inventory/example",
    "inventory/local",
    "meta",
    "playbooks",
    "plugins",
    "roles",
    "templates",
)
# Where Ansible looks for it as a collection (celeryhost/paths.py).
PLACE = "celeryhost/_ansible/ansible_collections/celeryhost/celeryhost"
LOOP = "playbooks/collections"  # in a checkout the way to itself
LEFT = (".pyc", ".sqlite3", ".sqlite3-shm", ".sqlite3-wal")  # what using a checkout leaves behind


class AnsibleTree(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "standard":
            # Again, for Ansible's modules, which bundle it; file by file it would be missing from its own place.
            build_data["force_include"]["cli/celeryhost"] = f"{PLACE}/plugins/module_utils/celeryhost"
            for place in TREE:
                for file in files(self.root, place):
                    build_data["force_include"][file] = f"{PLACE}/{file}"


def files(root, place):
    """The files at or below a place; no hidden folders (.celeryhost, .venv) or virtual environments."""
    if os.path.isfile(os.path.join(root, place)):
        yield place
    for folder, names, found in os.walk(os.path.join(root, place)):
        paths = {name: os.path.join(folder, name) for name in names if name[0] != "."}
        names[:] = [
            name
            for name, path in paths.items()
            if not os.path.exists(os.path.join(path, "pyvenv.cfg")) and path != os.path.join(root, LOOP)
        ]
        for name in found:
            if not name.endswith(LEFT):
                yield os.path.relpath(os.path.join(folder, name), root)
