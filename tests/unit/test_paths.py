"""Where things are on a host is said once, in paths.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from celeryhost import paths
from celeryhost.errors import Failure

TOP = Path(__file__).parents[2]
PLACES = [
    value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str) and value.startswith("/")
]
OF_ROLES = [*TOP.glob("roles/*/tasks/*.yml"), *TOP.glob("roles/*/vars/*.yml"), *TOP.glob("templates/*.j2")]


@pytest.mark.parametrize("place", sorted({*PLACES} - {paths.PACKAGE, paths.PYTHON}))
def test_no_role_and_no_template_names_a_place_itself(place):
    naming = re.compile(rf"^(?!\s*[#;]).*{re.escape(place)}(?![\w-])", re.MULTILINE)
    assert [str(file.relative_to(TOP)) for file in OF_ROLES if naming.search(file.read_text())] == []


def test_a_name_that_is_no_path_is_refused():
    assert paths.named("ETC") == paths.ETC
    for name in ("NOWHERE", "tree", "_PLACE", "Failure"):
        with pytest.raises(Failure, match=f"{name} is no path"):
            paths.named(name)


def test_all_places_of_a_redis_bear_its_packages_name():
    for package, name in (("redis-server", "redis"), ("valkey-server", "valkey")):
        places = paths.redis_paths(package)
        assert {key for key, place in places.items() if name not in place} == set()
        assert places["own_config"] == f"/etc/{name}/celeryhost.conf"
    with pytest.raises(Failure, match="redis_package is 'keydb', which is not redis-server or valkey-server; choose"):
        paths.redis_paths("keydb")
