"""Programs of a person's own around a deploy: what they are told, and what becomes of one that fails or hangs."""

from __future__ import annotations

import json
import os
import time

import pytest
from celeryhost import errors, hooks
from celeryhost.controller import deploying
from celeryhost.hosts.inventory import load

TELL = '#!/bin/sh\necho "$CELERYHOST_COMMAND|$CELERYHOST_HOSTS|$CELERYHOST_VERSION|$CELERYHOST_OUTCOME"\n'


@pytest.fixture
def hook(tmp_path):
    """Write a hook beside the inventory `tmp_path/mine`."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "hosts.yml").write_text("all: {hosts: {board: {}}}\n")
    (tmp_path / "hooks").mkdir()

    def write(name, text, mode=0o755):
        path = tmp_path / "hooks" / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_it_lies_beside_a_file_or_a_folder(tmp_path, hook):
    hook(hooks.PRE, TELL)
    assert hooks.folder([f"{tmp_path}/mine/"]) == str(tmp_path / "hooks")
    assert hooks.folder([f"{tmp_path}/mine"]) == str(tmp_path / "hooks")
    assert hooks.folder([f"{tmp_path}/mine/hosts.yml"]) == str(tmp_path / "mine" / "hooks")
    assert hooks.folder(["one,two"]) == ""
    assert deploying.about("provision", [f"{tmp_path}/mine"])["command"] == "provision"
    assert deploying.about("unprovision", [f"{tmp_path}/mine"]) == {}
    assert deploying.about("provision", ["one,two"]) == {}


def test_before_and_after(tmp_path, hook, monkeypatch):
    for name in (hooks.PRE, hooks.POST, hooks.FAILED):
        hook(name, f'{TELL}echo "{name} $CELERYHOST_EXIT_CODE $CELERYHOST_CHANGED"\n')
    known = deploying.about("provision", [f"{tmp_path}/mine"])
    reading, writing = os.pipe()
    monkeypatch.setenv(deploying.ABOUT, json.dumps(known))
    monkeypatch.setenv(deploying.REPORT, str(writing))
    said = deploying.begin("deploy", ["board", "server"], [{"name": "mysite", "version": "v1.4"}, {"name": "other"}])
    os.close(writing)
    assert said.splitlines() == ["deploy|board server|mysite=v1.4|", "pre-deploy"]
    told = os.read(reading, 65536).decode().splitlines()
    os.close(reading)
    assert deploying.end(known, told, errors.OK, 3, True).splitlines()[0] == "deploy|board server|mysite=v1.4|ok"
    for code, outcome in ((errors.FAILED, "failed"), (errors.HOOK, "refused"), (errors.INTERRUPTED, "interrupted")):
        first, second = deploying.end(known, told, code, 3, False).splitlines()
        assert (first, second) == (f"deploy|board server|mysite=v1.4|{outcome}", f"failed-deploy {code} 0")
    assert deploying.end(known, [], errors.TIMEOUT, 3, False) == "", "refused by a lock, before anything had begun"


def test_one_that_fails_says_so(tmp_path, hook):
    path = hook(hooks.PRE, "#!/bin/sh\necho not on a Friday >&2; exit 3\n")
    with pytest.raises(errors.Failure) as failure:
        hooks.run(str(tmp_path / "hooks"), hooks.PRE, {})
    assert (failure.value.code, failure.value.message) == (errors.HOOK, f"{path} ended with 3: not on a Friday")


def test_one_that_hangs_is_killed_with_what_it_has_started(tmp_path, hook, monkeypatch):
    monkeypatch.setenv(hooks.LIMIT, "0.5")
    hook(hooks.PRE, f"#!/bin/sh\n(sleep 2; touch {tmp_path}/lives) &\nwait; sleep 1000\n")
    with pytest.raises(errors.Failure, match=r"did not end within 0.5 s.*CELERYHOST_HOOK_TIMEOUT=600") as failure:
        hooks.run(str(tmp_path / "hooks"), hooks.PRE, {})
    assert failure.value.code == errors.HOOK
    time.sleep(3)
    assert not (tmp_path / "lives").exists()


@pytest.mark.parametrize(
    ("text", "mode", "said"), [(TELL, 0o644, "chmod +x"), (TELL, 0o757, "another account"), ("", 0o755, "#!/bin/sh")]
)
def test_one_that_cannot_be_run(tmp_path, hook, text, mode, said):
    hook(hooks.PRE, text, mode)
    with pytest.raises(errors.Failure) as failure:
        hooks.run(str(tmp_path / "hooks"), hooks.PRE, {})
    assert said in str(failure.value)


def test_a_limit_that_makes_no_sense(monkeypatch):
    for given in ("0", "-1", "nan", "soon", "inf"):
        monkeypatch.setenv(hooks.LIMIT, given)
        with pytest.raises(errors.Failure, match="no number of seconds"):
            hooks.seconds()


def test_ansible_takes_none_for_an_inventory(tmp_path, hook, monkeypatch):
    """It executes each executable file of a folder that is one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = hook(hooks.PRE, f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    path.parent.rename(tmp_path / "mine" / "hooks")
    assert list(load([str(tmp_path / "mine")]).hosts) == ["board"]
    assert not (tmp_path / "executed").exists()
