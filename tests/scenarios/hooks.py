"""A person's own programs around `provision`, from a laptop to a real host."""

from __future__ import annotations

import os
import shutil
import subprocess

from celeryhost import errors

HOOK = """#!/bin/sh
echo "${0##*/} $CELERYHOST_COMMAND $CELERYHOST_HOSTS $CELERYHOST_APPS ${CELERYHOST_OUTCOME:-}" >>TOLD
[ "${0##*/}" = pre-deploy ] || exit 0
case $(cat ORDER) in no) echo not on a Friday; exit 1 ;; hang) sleep 1000 ;; esac
"""


def around_a_provisioning(board, laptop) -> None:
    """`laptop` is a folder with a checkout and inventory/mine, from which the board was provisioned."""
    folder, told, order = laptop / "inventory" / "hooks", laptop / "told", laptop / "order"
    folder.mkdir()
    for name in ("pre-deploy", "post-deploy", "failed-deploy"):
        (folder / name).write_text(HOOK.replace("TOLD", str(told)).replace("ORDER", str(order)))
        (folder / name).chmod(0o755)
    told.write_text("")
    try:
        for word, said in (("no", "pre-deploy ended with 1: not on a Friday"), ("hang", "did not end within 2 s")):
            order.write_text(word)
            done = _provision(laptop)
            assert done.returncode == errors.HOOK, done.stdout
            assert said in done.stdout
            assert "Look at the machine" not in done.stdout, "before anything"
        order.write_text("yes")
        assert _provision(laptop, "--check").returncode == errors.OK
        assert _provision(laptop).returncode == errors.OK
        assert [line.rstrip() for line in told.read_text().splitlines()] == [
            "pre-deploy provision board mysite",
            "failed-deploy provision board mysite refused",
            "pre-deploy provision board mysite",
            "failed-deploy provision board mysite refused",
            "pre-deploy provision board mysite",
            "post-deploy provision board mysite ok",
        ]
        noted = board.ssh("celeryhost audit -n 3").stdout.splitlines()
        assert ["nothing changed" in line for line in noted] == [False, False, True], noted
        assert ["refused" in line for line in noted] == [True, True, False], noted
        told.write_text("")
        board.ssh("celeryhost lock -m moving")
        assert _provision(laptop).returncode == errors.TIMEOUT
        assert told.read_text() == "", "nothing had begun that one of them could end"
    finally:
        board.ssh("celeryhost unlock")
        shutil.rmtree(folder)


def _provision(laptop, *options):
    return subprocess.run(
        [laptop / "celeryhost", "provision", "-i", laptop / "inventory" / "mine", *options],
        env=os.environ | {"CELERYHOST_HOOK_TIMEOUT": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
        check=False,
    )
