"""Role machine: what it takes a system for, and which it refuses, by the os-release of real ones."""

from __future__ import annotations

import pytest
import yaml
from ansible.plugins.test.core import version_compare
from celeryhost.states.machine_facts import distribution
from jinja2 import Environment

JAMMY = """\
PRETTY_NAME="Ubuntu 22.04.5 LTS"
NAME="Ubuntu"
VERSION_ID="22.04"
VERSION="22.04.5 LTS (Jammy Jellyfish)"
VERSION_CODENAME=jammy
ID=ubuntu
ID_LIKE=debian
HOME_URL="https://www.ubuntu.com/"
UBUNTU_CODENAME=jammy
"""
NOBLE = JAMMY.replace("22.04.5", "24.04.3").replace("22.04", "24.04").replace("Jammy Jellyfish", "Noble Numbat")
FOCAL = JAMMY.replace("22.04.5", "20.04.6").replace("22.04", "20.04")
BOOKWORM = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
"""
BULLSEYE = BOOKWORM.replace("12", "11")
MINT = JAMMY.replace("ID=ubuntu", "ID=linuxmint").replace('"22.04"', '"21.3"')
ALPINE = 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.3\n'


@pytest.fixture
def refused(root, tmp_path):
    """What the role says against a machine of that os-release and Python; "" when it takes it."""
    role = yaml.safe_load((root / "roles" / "machine" / "vars" / "main.yml").read_text())
    jinja = Environment()
    jinja.tests["version"] = version_compare

    def ask(release, python):
        (tmp_path / "os-release").write_text(release)
        name, version = distribution(tmp_path / "os-release")
        facts = {"distribution": name, "distribution_version": version, "python": python}
        return jinja.from_string(role["__machine_checks"][0]).render(
            role, __machine_facts=facts, inventory_hostname="web"
        )

    return ask


@pytest.mark.parametrize(
    ("release", "python"), [(JAMMY, "3.10.12"), (NOBLE, "3.12.3"), (BOOKWORM, "3.11.2")], ids=["22.04", "24.04", "12"]
)
def test_is_taken(refused, release, python):
    assert refused(release, python) == ""


@pytest.mark.parametrize(
    ("release", "python", "named"),
    [
        (FOCAL, "3.8.10", "Ubuntu 20.04 with Python 3.8.10"),
        (BULLSEYE, "3.9.2", "Debian 11 with Python 3.9.2"),
        (JAMMY, "3.9.2", "Ubuntu 22.04 with Python 3.9.2"),
        (MINT, "3.10.12", "Linuxmint 21.3"),
        (ALPINE, "3.12.7", "Alpine 3.20.3"),
    ],
    ids=["20.04", "11", "python", "mint", "alpine"],
)
def test_is_refused_by_name_and_version(refused, release, python, named):
    message = refused(release, python)
    assert message.startswith(f"web runs {named}")
    assert "needs Debian 12, Ubuntu 22.04 or later" in message
