"""The Ansible tree travels inside the wheel, laid out as in the checkout; an editable install uses the checkout's."""

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Named one by one, so that a person's own inventory never gets into a wheel.
TREE = (
    "ansible.cfg",
    "cli/celeryhost",  # again, for Ansible's modules, which bundle it
    "examples",
    "inventory/example",
    "inventory/local",
    "playbooks",
    "plugins",
    "roles",
    "templates",
)
LINKS = {"roles/project/filter_plugins": "roles/celery/filter_plugins"}  # a wheel holds no links: copies


class AnsibleTree(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "standard":
            places = {path: path for path in TREE} | {target: link for link, target in LINKS.items()}
            build_data["force_include"].update({path: f"celeryhost/_ansible/{to}" for path, to in places.items()})
