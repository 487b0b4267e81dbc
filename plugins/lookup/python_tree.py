"""A Python package on the controller as {path: text}."""

from __future__ import annotations

import os

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: python_tree
short_description: The Python files below a folder of the controller
description: One dict for each folder given, from the path below it to the text.
options:
  _terms: {description: Folders., required: true, type: list, elements: path}
author: celeryhost
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ lookup('celeryhost.celeryhost.python_tree', 'cli/celeryhost').keys() }}"
"""

RETURN = r"""
_raw: {description: A dict for each folder., type: list, elements: dict}
"""


def python_tree(folder):
    """{path below `folder`: text} of its Python files, without what it carries for a controller (_ansible)."""
    files = {}
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {"_ansible", "__pycache__"})
        for name in sorted(name for name in names if name.endswith(".py")):
            path = os.path.join(here, name)
            with open(path, encoding="utf-8") as file:
                files[os.path.relpath(path, folder)] = file.read()
    return files


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        for folder in terms:
            if not os.path.isdir(folder):
                raise AnsibleLookupError(f"no folder {folder}")
        return [python_tree(folder) for folder in terms]
