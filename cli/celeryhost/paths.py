"""Where celeryhost's Ansible tree (playbooks, roles, templates, inventory) is."""

from __future__ import annotations

import os


def tree() -> str:
    """The checkout that this package lies in, else the copy that travels in the wheel."""
    package = os.path.dirname(os.path.abspath(__file__))
    checkout = os.path.dirname(os.path.dirname(package))
    return checkout if os.path.isfile(os.path.join(checkout, "ansible.cfg")) else os.path.join(package, "_ansible")
