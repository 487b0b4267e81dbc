"""Releases on a host: what a deploy leaves alone, how it goes back, and what a person goes back to."""

from __future__ import annotations

import json
import re

from celeryhost.errors import FAILED, OK, UNKNOWN

from .refused import DIES, TASKS

PROVISION = "./celeryhost provision"
INVENTORY = "inventory/local/group_vars/all.yml"
BASE = "/srv/mysite"
COUNT = """python3 -c "import sqlite3
print(sqlite3.connect('/srv/mysite/{}').execute('select count(*) from django_migrations').fetchone()[0])"
"""


def test_releases(host, root, checkout):
    board = host()
    board.copy(root, "celeryhost", files=checkout)
    board.ssh(f"cd celeryhost && sed -i 's/  - name: mysite/&\\n    keep: false/' {INVENTORY}")
    code, said = run(board, PROVISION)
    assert code == OK, said
    in_place = board.ssh(COUNT.format("db.sqlite3")).stdout
    board.ssh(f"cd celeryhost && sed -i 's/    keep: false/    keep: 2/' {INVENTORY}")

    assert run(board, PROVISION)[0] == OK
    (first,) = releases(board)
    assert first["state"] == "running"
    assert board.ssh(COUNT.format("shared/db.sqlite3")).stdout == in_place
    assert folders(board) == {first["code"]}
    assert "Nothing differs" in run(board, PROVISION)[1]

    board.ssh(f"cp {TASKS} /root/tasks.py && echo '# a change' >>{TASKS}")
    assert run(board, "./celeryhost deploy")[0] == OK
    first, second = releases(board)
    assert (first["state"], second["state"]) == ("proven", "running")
    assert first["virtualenv"] == second["virtualenv"], "one set of requirements, one environment"
    assert folders(board) == {second["code"]}

    refused_before_the_switch(board)
    gone_back_by_itself(board)
    gone_back_by_a_person(board)


def refused_before_the_switch(board):
    before, link = processes(board), board.ssh(f"readlink {BASE}/current").stdout
    board.ssh(f"echo 'def broken(:' >>{TASKS}")
    code, said = run(board, "./celeryhost deploy")
    assert (code, "SyntaxError: invalid syntax" in said, "what runs is not touched" in said) == (FAILED, True, True)
    assert (processes(board), board.ssh(f"readlink {BASE}/current").stdout) == (before, link)


def gone_back_by_itself(board):
    runs = next(each["id"] for each in releases(board) if each["state"] == "running")
    board.ssh(f"cp /root/tasks.py {TASKS}; cat >>{TASKS}", input=DIES)
    code, said = run(board, "./celeryhost deploy")
    assert (code, f"went back to release {runs}" in said) == (FAILED, True), said
    assert {each["id"]: each["state"] for each in releases(board)}[runs] == "running"
    assert releases(board)[-1]["state"] == "failed"
    assert board.ssh("celeryhost run app.tasks.sum 20 3").stdout == "23\n"
    assert "Nothing differs" not in run(board, f"{PROVISION} --check")[1]


def gone_back_by_a_person(board):
    board.ssh(f"cp /root/tasks.py {TASKS}; echo '# another' >>{TASKS}")
    assert run(board, "./celeryhost deploy")[0] == OK
    *_, before, now = [each for each in releases(board) if each["state"] in ("proven", "running")]
    assert now["state"] == "running"

    code, said = run(board, "celeryhost rollback mysite 2020")
    assert (code, "has no release '2020'" in said) == (UNKNOWN, True)
    code, said = run(board, "celeryhost rollback mysite")
    assert (code, said) == (OK, f"mysite: went back to {before['id']}, from {now['id']}\n")
    assert folders(board) == {before["code"]}
    assert board.ssh("celeryhost run app.tasks.sum 20 4").stdout == "24\n"

    code, said = run(board, "./celeryhost deploy")
    assert (code, "was rolled back" in said) == (OK, True), said
    assert folders(board) == {before["code"]}


def run(board, command):
    """(exit code, what it says)"""
    done = board.ssh(f"cd celeryhost && {command} 2>&1", check=False)
    return done.returncode, done.stdout


def releases(board):
    (app,) = json.loads(board.ssh("celeryhost releases --json").stdout)["apps"]
    return app["releases"]


def processes(board):
    """{(program, pid)} of what runs."""
    lines = board.ssh("celeryhost status", check=False).stdout.splitlines()[1:]
    return {(words[0], words[2]) for words in map(str.split, lines)}


def folders(board):
    """Where the app's processes run, by what the kernel says of them."""
    pids = board.ssh("pgrep -u mysite").stdout.split()
    places = {board.ssh(f"readlink /proc/{pid}/cwd", check=False).stdout.strip() for pid in pids}
    return {place for place in places if re.match(BASE, place)}
