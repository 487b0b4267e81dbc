"""The Ansible tree travels inside the wheel, laid out as in the checkout; an editable install uses the checkout's."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Named one by one, so that a person's own inventory never gets into a wheel.
TREE = (
    "ansible.cfg",
    "examples",
    "inventory/example",
    "inventory/local",
    "playbooks",
    "cli/callback_plugins",
    "roles",
    "templates",
)
LEFT = (".pyc", ".sqlite3", ".sqlite3-shm", ".sqlite3-wal")  # what using a checkout leaves behind


class AnsibleTree(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "standard":
            # Again, for Ansible's modules, which bundle it; file by file it would be missing from its own place.
            build_data["force_include"]["cli/celeryhost"] = "celeryhost/_ansible/cli/celeryhost"
            for place in TREE:
                for file in files(self.root, place):
                    build_data["force_include"][file] = f"celeryhost/_ansible/{file}"


def files(root, place):
    """The files at or below a place, links followed; no hidden folders (.celeryhost, .venv) or virtual environments."""
    if os.path.isfile(os.path.join(root, place)):
        yield place
    for folder, names, found in os.walk(os.path.join(root, place), followlinks=True):
        names[:] = [
            name for name in names if name[0] != "." and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        ]
        for name in found:
            if not name.endswith(LEFT):
                yield os.path.relpath(os.path.join(folder, name), root)
