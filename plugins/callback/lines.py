"""One line a task: when it began, what it does, what came of it; a failure with its reason in full."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from ansible import constants as C  # noqa: N812 - Ansible's own name for it
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from celeryhost.controller.locking import REPORT
from celeryhost.errors import FAILED, HOOK, OK, UNREACHABLE
from celeryhost.paths import COLLECTION
from celeryhost.plain import plain, plain_lines

DOCUMENTATION = """
name: lines
type: stdout
short_description: one line a task
description: One line a task, with the time since the start, its name and what came of it on each host.
extends_documentation_fragment: [default_callback, result_format_callback]
requirements: [set as stdout callback in ansible.cfg]
"""

_COLORS = {
    "ok": C.COLOR_OK,
    "changed": C.COLOR_CHANGED,
    "skipped": C.COLOR_SKIP,
    "ignored": C.COLOR_WARN,
    "FAILED": C.COLOR_ERROR,
    "UNREACHABLE": C.COLOR_UNREACHABLE,
}
_WIDTH = 60  # of a task's name, so that results stand in a column
_SILENT = ("ansible.builtin.validate_argument_spec", "validate_argument_spec")  # Ansible adds one to each role
_COLOURED = re.compile(r"(\x1b\[(?:0|[01];3[0-7])m)")  # as Ansible colours a diff
_DOT = 5  # seconds between two dots of a line that waits
_TAIL = 30  # lines of a failing command's output
# What ansible-core 2.19 and later put before the words of a filter that refuses.
_WRAPPED = re.compile(
    r"^(?:Task failed: )?Finalization of task args for .*?: The filter plugin '\S+' failed: ", re.DOTALL
)
_UNDEFINED = re.compile(r"'\w+' is undefined")
# How sudo and Ansible say that a password is missing or wrong.
_SUDO = ("sudo password", "a password is required", "duplicate become password prompt", "incorrect password attempt")


class CallbackModule(Default):
    """Nothing is printed that a person provisioning a host does not need; -v adds each result."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "celeryhost.celeryhost.lines"

    def __init__(self):
        super().__init__()
        self._began = time.monotonic()
        self._hosts = 0  # of this play
        self._task = None  # the task whose line is open
        self._moved = self._began  # when that line last grew
        self._results = {}  # of that task, by host
        self._notes = []  # to print once the line is complete
        self._warnings = []  # results that may hold some
        self._on_terminal = sys.stdout.isatty()
        self._kept = {}  # of each host whose lock this run has, the file that takes how it went
        self._codes = {}  # of each host that failed, its exit code

    def v2_playbook_on_play_start(self, play):
        self._close()
        self._play = play
        variables = play.get_variable_manager().get_vars(play=play, include_hostvars=False)
        self._hosts = len(variables["ansible_play_hosts_all"])
        if self._hosts:
            self._display.display(f"{play.get_name().strip()}{' (check mode)' if play.check_mode else ''}")

    def v2_playbook_on_no_hosts_matched(self):
        pass  # another play has them; the line of the recap says which hosts were there

    def v2_playbook_on_no_hosts_remaining(self):
        self._close()

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._close()
        if not isinstance(task, TaskInclude) and task.action not in (*_SILENT, *C._ACTION_META):
            self._open(task)

    def v2_playbook_on_handler_task_start(self, task):
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_include(self, included_file):
        pass

    def v2_runner_on_ok(self, result):
        if not isinstance(result._task, TaskInclude):
            said = result._result.get("_ansible_verbose_always") and result._result.get("msg")
            self._note(result, said if isinstance(said, str) else "\n".join(map(str, said or [])), C.COLOR_OK)
            if result._result.get("outcome") and result._task.action == f"{COLLECTION}.lock":
                self._kept[result._host.get_name()] = result._result["outcome"]
            self._came(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_skipped(self, result):
        self._came(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            parts = [result._result, *(result._result.get("results") or ())]
            told = [part.get("exit_code") for part in parts if isinstance(part, dict)]
            code = next((code for code in told if isinstance(code, int)), 1)
            self._codes[result._host.get_name()] = code
            if REPORT in os.environ:
                os.write(int(os.environ[REPORT]), b"%d\n" % code)
        self._note(result, self._reason(result), C.COLOR_WARN if ignore_errors else C.COLOR_ERROR)
        self._came(result, "ignored" if ignore_errors else "FAILED")

    def v2_runner_on_unreachable(self, result):
        fix = "check that it is up, and that ssh to it works with the address, user and key of the inventory"
        self._note(result, f"{self._reason(result)}\n{fix}", C.COLOR_UNREACHABLE)
        self._came(result, "UNREACHABLE")

    def v2_runner_item_on_ok(self, result):
        pass

    v2_runner_item_on_failed = v2_runner_item_on_skipped = v2_runner_item_on_ok

    def v2_runner_retry(self, result):
        if result._task.action.endswith("background_job"):  # no failure: it is not done yet
            self._wait()
            return
        left = result._result["retries"] - result._result["attempts"]
        self._note(result, f"tried again, {left} tries left: {self._reason(result)}", C.COLOR_DEBUG)

    def v2_runner_on_async_poll(self, result):
        self._wait()

    def v2_runner_on_async_ok(self, result):
        pass

    def v2_runner_on_async_failed(self, result):
        pass

    def v2_on_file_diff(self, result):
        for part in result._result.get("results") or [result._result]:
            if isinstance(part, dict) and part.get("diff") and part.get("changed"):
                self._note(result, self._get_diff(part["diff"]).rstrip("\n"), None, is_diff=True)

    def v2_playbook_on_stats(self, stats):
        self._close()
        self._display.display(f"Took {self._clock()}")
        for host in sorted(stats.processed):
            count = stats.summarize(host)
            worst = next((key for key in ("failures", "unreachable", "changed") if count[key]), "ok")
            color = {"failures": C.COLOR_ERROR, "unreachable": C.COLOR_UNREACHABLE, "changed": C.COLOR_CHANGED}
            words = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")
            line = " ".join(f"{word}={count['failures' if word == 'failed' else word]}" for word in words)
            self._display.display(f"{host} : {line}", color=color.get(worst, C.COLOR_OK))

        if REPORT in os.environ and any(stats.changed.values()):
            os.write(int(os.environ[REPORT]), b"changed\n")
        for host, path in self._kept.items():
            with contextlib.suppress(OSError):
                Path(path).write_text(json.dumps(self._how_it_went(stats.summarize(host), host)), encoding="utf-8")

    def _how_it_went(self, count, host) -> dict:
        """What is noted of a run on the host itself."""
        code = UNREACHABLE if count["unreachable"] else self._codes.get(host, FAILED) if count["failures"] else OK
        outcome = "ok" if code == OK else "refused" if code == HOOK else "failed"
        return {"outcome": outcome, "exit_code": code, "changed": bool(count["changed"])}

    def _wait(self) -> None:
        """A dot on the open line, so that a long wait does not look like a hang."""
        if time.monotonic() - self._moved >= _DOT:
            self._moved = time.monotonic()
            self._display.display(".", newline=False)

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02}"

    def _open(self, task) -> None:
        self._task = task
        self._moved = time.monotonic()
        name = task.get_name().strip().removeprefix(f"{COLLECTION}.").replace(" : ", ": ", 1)
        if self._on_terminal:  # a line that wraps can't be taken back
            name = name[: shutil.get_terminal_size().columns - 20]
        self._display.display(f"  {self._clock():>6}  {name:<{_WIDTH}} ", newline=False)

    def _came(self, result, outcome: str) -> None:
        if self._task is None:  # of an include, or a task that says something only when it fails
            if outcome in ("skipped", "ok"):
                return
            self._open(result._task)
        self._results[result._host.get_name()] = outcome
        self._warnings.append(result._result)
        if self._display.verbosity:
            self._note(result, self._dump_results(self._without_items(result._result)), C.COLOR_VERBOSE)
        if len(self._results) == self._hosts:
            self._close()

    @staticmethod
    def _without_items(found: dict) -> dict:
        """A loop's results without what was looped over: the description of an app has its environment in it."""
        parts = found.get("results")
        if not isinstance(parts, list):
            return found
        return found | {"results": [{key: part[key] for key in part if key != "item"} for part in parts]}

    def _note(self, result, text: str, color, is_diff: bool = False) -> None:
        if text:
            host = "" if result._task.run_once else result._host.get_name()  # once: it is about all of them
            self._notes.append((host, text, color, is_diff))

    def _close(self) -> None:
        """Complete the open line with what came of the task, then print what there is to say about it."""
        if self._task is not None:
            outcomes = {}
            for host, outcome in self._results.items():
                outcomes.setdefault(outcome, []).append(host)
            if set(outcomes) <= {"skipped"} and self._on_terminal:
                self._display.display("\r\033[K", newline=False)
            else:
                self._complete(outcomes)
        for host, text, color, is_diff in self._notes:
            if self._hosts > 1 and host:
                text = f"{host}: {text}"
            lines = (self._tame(line, is_diff) for line in text.split("\n"))
            self._display.display("\n".join(f"          {line}" for line in lines), color=color)
        for result in self._warnings:
            self._handle_warnings(result)
        self._task, self._results, self._notes, self._warnings = None, {}, [], []

    @staticmethod
    def _tame(line: str, is_diff: bool = False) -> str:
        """What a host has said, as the terminal may get it: of a diff Ansible's own colours stay."""
        parts = _COLOURED.split(line.rstrip("\r")) if is_diff else [line.rstrip("\r")]
        return "".join(part if _COLOURED.fullmatch(part) else plain(part.expandtabs(4)) for part in parts)

    def _handle_warnings(self, res):
        """Ansible would print them as they come."""
        for kind in ("warnings", "deprecations"):
            for each in res.pop(kind, None) or ():
                self._display.warning(plain_lines(each.get("msg") if isinstance(each, dict) else each))

    def _complete(self, outcomes) -> None:
        """`changed`; on several hosts that differ `ok 3, changed: board, server`, the largest share by number."""
        shares = sorted(outcomes.items(), key=lambda share: -len(share[1])) or [("skipped", [])]
        for index, (outcome, hosts) in enumerate(shares):
            text = outcome
            if len(shares) > 1:
                text += f": {', '.join(hosts)}" if index or len(hosts) == 1 else f" {len(hosts)}"
            self._display.display(f"{', ' if index else ''}{text}", color=_COLORS[outcome], newline=False)
        self._display.display("")

    def _reason(self, result) -> str:
        """Why a task failed: what the module says, then the end of what a command wrote."""
        items = [item for item in result._result.get("results") or () if isinstance(item, dict)]
        # ansible-core 2.21 has no `failed` there, and an exception in what failed alone.
        failed = [item for item in items if item.get("failed") or "exception" in item]
        lines = []
        for part in failed or [result._result]:
            said = _WRAPPED.sub("", str(part.get("msg") or part.get("censored") or "").strip())
            if failed and "item" in part:
                said = f"{self._get_item_label(part)}: {said}"
            lines += said.splitlines()
            for stream in ("module_stderr", "stderr", "stdout"):
                written = str(part.get(stream) or "").strip()
                if written and written not in said:
                    lines += written.splitlines()[-_TAIL:]
        if any(sign in line.lower() for line in lines for sign in _SUDO):
            return "sudo wants a password and was given none, or a wrong one: call again with -K"
        start = context.CLIARGS.get("start_at_task")
        if start and (missing := next(filter(None, map(_UNDEFINED.search, lines)), None)):
            return (
                f"{missing[0]}: --start-at-task {start!r} passes over the task that finds it out; "
                "start at 'Look at the machine*', or run one role alone with --tags ROLE"
            )
        return "\n".join(lines)
