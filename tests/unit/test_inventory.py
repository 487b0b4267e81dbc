"""Ansible's host patterns, and the cache in front of ansible-inventory."""

from __future__ import annotations

import os
import stat

import pytest
from celeryhost.errors import FAILED, UNKNOWN, USAGE, Failure
from celeryhost.hosts import inventory
from celeryhost.hosts.inventory import Inventory, load, select, targets

FLEET = Inventory(
    {name: {} for name in ("board", "web1", "web2", "web3", "fe80::1", "db.example.org")},
    {"web": ["web1", "web2", "web3"], "redis": ["board"], "eu": ["web1", "board"], "empty": []},
)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("all", "board web1 web2 web3 fe80::1 db.example.org"),
        ("*", "board web1 web2 web3 fe80::1 db.example.org"),
        ("board", "board"),
        ("fe80::1", "fe80::1"),
        ("web", "web1 web2 web3"),
        ("web2:board", "web2 board"),
        ("web2,board", "web2 board"),
        ("web, redis", "web1 web2 web3 board"),
        ("web*", "web1 web2 web3"),
        ("*.example.org", "db.example.org"),
        ("re*", "board"),
        ("web:!web2", "web1 web3"),
        ("!web2:web", "web1 web3"),
        ("!web:!fe80*", "board db.example.org"),
        ("web:&eu", "web1"),
        ("all:&eu:!redis", "web1"),
        ("web[0]", "web1"),
        ("web[-1]", "web3"),
        ("web[0:1]", "web1 web2"),
        ("web[1:]", "web2 web3"),
        ("web[0-1]:board", "web1 web2 board"),
        ("~web[13]", "web1 web3"),
        ("web1,web1,eu", "web1 board"),
    ],
)
def test_pattern(pattern, names):
    assert select(FLEET, pattern) == names.split()


@pytest.mark.parametrize(
    ("pattern", "code", "said"),
    [
        ("wbe1", UNKNOWN, "no host or group 'wbe1' in the inventory; did you mean 'web1'"),
        ("web:!baord", UNKNOWN, "no host or group 'baord' in the inventory; did you mean 'board'"),
        ("zzz", UNKNOWN, "no host or group 'zzz' in the inventory; see them all: -H all"),
        ("web[7]", UNKNOWN, "'web[7]'"),
        ("redis:&web", UNKNOWN, "no host of the inventory matches 'redis:&web'"),
        ("empty", UNKNOWN, "no host of the inventory matches 'empty'"),
        ("", USAGE, "'' is no host pattern"),
        (":!", USAGE, "':!' is no host pattern"),
        ("~(", USAGE, "host pattern ~( is no regular expression"),
    ],
)
def test_pattern_that_means_nothing(pattern, code, said):
    with pytest.raises(Failure) as caught:
        select(FLEET, pattern)
    assert (caught.value.code, said in str(caught.value)) == (code, True), str(caught.value)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """An inventory folder; the cache is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "inventory"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text("""
web: {hosts: {"web[1:2]": {ansible_port: 2222}}}
eu: {children: {web: , redis: }}
redis: {hosts: {board: {ansible_host: 192.0.2.7, ansible_ssh_pass: hush}}}
""")
    (folder / "group_vars" / "all.yml").write_text("ansible_user: pi\nredis_password: hush\n")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The sources of each question to Ansible, which is really asked."""
    questions = []

    def ask(sources, really=inventory._ask_ansible):
        questions.append(sources)
        return really(sources)

    monkeypatch.setattr(inventory, "_ask_ansible", ask)
    return questions


def test_groups_and_connection_variables_are_read(hosts):
    found = load([str(hosts)])
    assert found.groups["eu"] == ["web1", "web2", "board"]
    assert found.hosts["web1"] == {"ansible_port": 2222, "ansible_user": "pi"}
    assert found.hosts["board"] == {"ansible_host": "192.0.2.7", "ansible_user": "pi"}


def test_cache_is_private_and_holds_no_password(hosts, tmp_path):
    load([str(hosts)])
    [file] = (tmp_path / "cache" / "celeryhost").iterdir()
    assert "hush" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_cache_holds_until_a_file_changes(hosts, asked):
    first = load([str(hosts)])
    assert load([str(hosts)]) == first
    assert len(asked) == 1
    (hosts / "group_vars" / "all.yml").write_text("ansible_user: odroid\n")
    assert load([str(hosts)]).hosts["web1"]["ansible_user"] == "odroid"
    (hosts / "group_vars" / "web.yml").write_text("ansible_user: web\n")
    assert load([str(hosts)]).hosts["web1"]["ansible_user"] == "web"
    assert len(asked) == 3


def test_group_vars_beside_a_file_count_too(hosts, asked):
    source = [str(hosts / "hosts.yml")]
    load(source)
    (hosts / "group_vars" / "all.yml").unlink()
    assert "ansible_user" not in load(source).hosts["web1"]
    assert len(asked) == 2


def test_damaged_cache_is_made_anew(hosts, asked, tmp_path):
    load([str(hosts)])
    [file] = (tmp_path / "cache" / "celeryhost").iterdir()
    for damage in ("", "{", "[]", "{}"):
        file.write_text(damage)
        load([str(hosts)])
    assert len(asked) == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hosts", '#!/bin/sh\necho \'{"_meta": {"hostvars": {}}, "web": {"hosts": ["one"]}}\'\n'),
        ("built.yml", "plugin: ansible.builtin.constructed\n"),
    ],
)
def test_dynamic_inventory_is_asked_again_after_a_while(name, text, hosts, asked, monkeypatch):
    (hosts / name).write_text(text)
    (hosts / name).chmod(0o755 if text.startswith("#!") else 0o644)
    now = 1_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    for later in (0, 1, inventory.DYNAMIC_SECONDS + 1, inventory.DYNAMIC_SECONDS + 2):
        now = 1_000_000.0 + later
        load([str(hosts)])
    assert len(asked) == 2


def test_host_list_is_an_inventory(hosts):
    assert [host.name for host in targets("one,two,", "two")] == ["two"]


def test_ansible_inventory_variable_is_the_default(hosts, monkeypatch):
    monkeypatch.setenv("ANSIBLE_INVENTORY", str(hosts))
    assert [host.name for host in targets(None, "redis")] == ["board"]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, USAGE, "does not exist"),
        ("web: [", FAILED, "hosts.yml"),
        ("all:\n", UNKNOWN, "has no hosts"),
    ],
)
def test_inventory_that_cannot_be_used(text, code, said, hosts):
    path = hosts / "hosts.yml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(Failure) as caught:
        targets(str(path), None)
    assert (caught.value.code, said in str(caught.value)) == (code, True), str(caught.value)
    assert "\n" not in str(caught.value)


def test_vault_without_its_password_is_an_error_not_a_question(hosts):
    secret = hosts / "group_vars" / "web.yml"
    secret.write_text("$ANSIBLE_VAULT;1.1;AES256\n" + "61" * 40 + "\n")
    with pytest.raises(Failure, match=r"[Vv]ault|[Dd]ecrypt") as caught:
        load([str(hosts)])
    assert "\n" not in str(caught.value)


def test_unwritable_cache_is_no_error(hosts, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert "board" in load([str(hosts)]).hosts
