"""supervisord's XML-RPC, spoken over its unix socket or http.

Written by hand because `import xmlrpc.client` alone costs 25 ms, more than all of `status` may take
(bench/). The methods: http://supervisord.org/api.html
"""

from __future__ import annotations

import _socket  # the C half of socket: the other half's imports are a fifth of what `status` takes
import errno
import os
import pyexpat as expat  # xml.parsers.expat is nothing else, and three files to find
import sys
import time
from binascii import b2a_base64

from ..errors import DENIED, DOWN, Failure

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of what `status` may
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .locate import Server


# Fault codes of supervisor/xmlrpc.py that callers tell apart.
SHUTDOWN_STATE = 6
BAD_NAME = 10
SPAWN_ERROR = 50
ALREADY_STARTED = 60
NOT_RUNNING = 70
ALREADY_ADDED = 90
CANT_REREAD = 92


_PEER = getattr(_socket, "SO_PEERCRED", None)  # pid, uid and gid: three ints
LIMIT = 64 << 20  # bytes of an answer: a thousand programs take two million


class Fault(Exception):
    """supervisord refused a call: `code` is one of its fault codes, `text` what it says."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (fault {code})")
        self.code = code
        self.text = text


class Supervisor:
    """A supervisord. `server` is a locate.Server; `timeout` in seconds bounds each call.

    `believed`: whether every answer so far came from a process of root's or of one's own on this machine. What another
    says of a process, its account or its command is printed, and nothing is executed for it.
    """

    def __init__(self, server: Server, timeout: float = 10) -> None:
        self.server = server
        self.timeout = timeout
        self.believed = True

    def call(self, method: str, *params: object) -> Any:
        """The result of `supervisor.METHOD`; raises Fault, or Failure (DOWN, DENIED)."""
        name = method if "." in method else f"supervisor.{method}"
        result = _decode(self._post(_request(name, params)), self.server.url)
        if isinstance(result, Fault):
            if result.code == SHUTDOWN_STATE:
                raise self._shutting_down()
            raise result
        return _checked(method, result, self.server.url)

    def multicall(self, calls: Iterable[Sequence[Any]]) -> list[Any]:
        """One round trip for many `(method, *params)`: a list of results, a Fault in place of each that was refused."""
        names: list[dict[str, Any]] = [
            {"methodName": f"supervisor.{method}", "params": list(params)} for method, *params in calls
        ]
        if not names:
            return []
        results = self.call("system.multicall", names)
        if not isinstance(results, list) or len(results) != len(names):
            raise _unintelligible(self.server.url)
        results = [
            _fault(result, self.server.url)
            if isinstance(result, dict) and "faultCode" in result
            else _checked(name["methodName"].partition(".")[2], result, self.server.url)
            for name, result in zip(names, results, strict=True)
        ]
        if any(isinstance(result, Fault) and result.code == SHUTDOWN_STATE for result in results):
            raise self._shutting_down()
        return results

    def _shutting_down(self) -> Failure:
        return Failure(f"supervisord at {self.server.url} is shutting down", DOWN, "start it again")

    def _post(self, body: bytes) -> bytes:
        url, user, password = self.server[:3]
        head = f"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n"
        if user is not None:
            token = b2a_base64(f"{user}:{password or ''}".encode(), newline=False).decode()
            head += f"Authorization: Basic {token}\r\n"
        deadline = time.monotonic() + self.timeout
        parts, left = [], LIMIT
        try:
            connection = self._connected(url)
            try:
                connection.sendall(head.encode() + b"\r\n" + body)
                while left > 0:
                    connection.settimeout(max(0.001, deadline - time.monotonic()))
                    if not (part := connection.recv(65536)):
                        break
                    parts.append(part)
                    left -= len(part)
            finally:
                connection.close()
        except OSError as error:
            raise _unanswered(error, url, self.timeout) from None
        if left <= 0:
            raise _unintelligible(url)
        status, _, rest = b"".join(parts).partition(b"\r\n")
        code = status.split(b" ")[1:2]
        if code == [b"200"]:
            return rest.partition(b"\r\n\r\n")[2]
        if code == [b"401"]:
            fix = "give the user with -u and the password in SUPERVISOR_PASSWORD"
            raise Failure(f"supervisord at {url} refuses user {user or '(none)'}", DENIED, fix)
        said = status.decode(errors="replace") or "nothing"
        raise Failure(f"what listens at {url} is no supervisord: it answered {said}", DOWN, "check the server URL")

    def _connected(self, url: str) -> _socket.socket:
        if url.startswith("unix://"):
            connection = _socket.socket(_socket.AF_UNIX)
            connection.settimeout(self.timeout)
            try:
                connection.connect(url[len("unix://") :])
            except OSError:
                connection.close()
                raise
            peer = connection.getsockopt(_socket.SOL_SOCKET, _PEER, 12) if _PEER else bytes(12)
            self.believed &= int.from_bytes(peer[4:8], sys.byteorder) in (0, os.geteuid())
            return connection
        import socket

        place = url[len("http://") :].partition("/")[0]
        host, _, port = place.rpartition(":") if place.rpartition(":")[2].isdigit() else (place, "", "80")
        connection = socket.create_connection((host.strip("[]"), int(port)), self.timeout)
        here = connection.getpeername()[0] == connection.getsockname()[0]
        self.believed &= here and _listeners(int(port)) <= {0, os.geteuid()}
        return connection


def _listeners(port: int) -> set[int]:
    """The uids of those who listen at a port of this machine (proc_net(5))."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        found |= {int(row[7]) for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    return found


def _unanswered(error: OSError, url: str, timeout: float) -> Failure:
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(f"you may not open {url}", DENIED, "join group `supervisor` and log in again, or use sudo")
    if isinstance(error, TimeoutError):
        return Failure(f"supervisord at {url} did not answer within {timeout:g} s", DOWN, "see its log")
    fix = "start it: systemctl start supervisor, or service supervisor start"
    return Failure(f"no supervisord answers at {url} ({error.strerror or error})", DOWN, fix)


def _request(method: str, params: Sequence[object]) -> bytes:
    values = "".join(f"<param>{_encode(value)}</param>" for value in params)
    text = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{values}</params></methodCall>"
    return text.encode("utf-8", "surrogateescape")


def _encode(value: Any) -> str:
    if isinstance(value, bool):
        inner = f"<boolean>{int(value)}</boolean>"
    elif isinstance(value, int):
        inner = f"<int>{value}</int>"
    elif isinstance(value, str):
        text = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        inner = f"<string>{text}</string>"
    elif isinstance(value, dict):
        members = "".join(f"<member><name>{key}</name>{_encode(item)}</member>" for key, item in value.items())
        inner = f"<struct>{members}</struct>"
    else:
        inner = f"<array><data>{''.join(map(_encode, value))}</data></array>"
    return f"<value>{inner}</value>"


_SCALARS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "i4": int,
    "boolean": lambda text: text == "1",
    "string": str,
    "double": float,
}


def _decode(body: bytes, url: str) -> Any:
    """What a methodResponse holds: a value, or a Fault."""
    stack: list[list[Any]] = [[]]  # open containers; a struct is the flat list name, value, name, value…
    text: list[str] = []
    kinds: list[str] = []  # the type tag seen in each open <value>
    fault = False

    def opened(tag: str, _: dict[str, str]) -> None:
        nonlocal fault
        text.clear()
        if tag == "value":
            kinds.append("string")
        elif tag in _SCALARS or tag in ("array", "struct"):
            kinds[-1] = tag
            if tag in ("array", "struct"):
                stack.append([])
        elif tag == "fault":
            fault = True

    def closed(tag: str) -> None:
        if tag == "name":
            stack[-1].append("".join(text))
        elif tag == "value":
            kind = kinds.pop()
            value: Any
            if kind == "array":
                value = stack.pop()
            elif kind == "struct":
                flat = stack.pop()
                value = dict(zip(flat[::2], flat[1::2], strict=True))
            else:
                value = _SCALARS[kind]("".join(text))
            stack[-1].append(value)
            text.clear()

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = opened, closed, text.append
    try:
        parser.Parse(body, True)
        (result,) = stack[0]
    except (expat.ExpatError, ValueError, IndexError, KeyError, TypeError):
        raise _unintelligible(url) from None
    return _fault(result, url) if fault else result


def _unintelligible(url: str) -> Failure:
    return Failure(
        f"the answer of {url} is no XML-RPC of supervisord's", DOWN, "check that a supervisord listens there"
    )


def _fault(result: Any, url: str) -> Fault:
    if not _has(result, {"faultCode": int, "faultString": str}):
        raise _unintelligible(url)
    return Fault(result["faultCode"], result["faultString"])


# What the callers rely on in the results of these methods.
_PROCESS: dict[str, type] = dict.fromkeys(("pid", "start", "stop", "now", "exitstatus"), int)
_PROCESS |= dict.fromkeys(("group", "name", "statename", "spawnerr", "description"), str)
_PROCESS |= dict.fromkeys(("stdout_logfile", "stderr_logfile"), str)
_CONFIG: dict[str, type] = {"group": str, "name": str}
_CONFIG_MAYBE: dict[str, type] = {"command": str} | dict.fromkeys(
    ("stopwaitsecs", "startsecs", "group_prio", "process_prio", "autostart"), int
)
_SINGLE = {"getPID": int, "getSupervisorVersion": str, "getIdentification": str, "readLog": str}
_SINGLE |= {"readProcessStdoutLog": str, "readProcessStderrLog": str}


def _checked(method: str, result: Any, url: str) -> Any:
    """`result` if it is what `method` returns; raises Failure (DOWN)."""
    if method == "getProcessInfo":
        known = _has(result, _PROCESS)
    elif method == "getAllProcessInfo":
        known = isinstance(result, list) and all(_has(info, _PROCESS) for info in result)
    elif method == "getAllConfigInfo":
        known = isinstance(result, list) and all(
            _has(info, _CONFIG) and all(isinstance(info.get(key, kind()), kind) for key, kind in _CONFIG_MAYBE.items())
            for info in result
        )
    elif method == "reloadConfig":
        lists = result[0] if isinstance(result, list) and len(result) == 1 else None
        whole = isinstance(lists, list) and len(lists) == 3 and all(isinstance(names, list) for names in lists)
        known = whole and all(isinstance(name, str) for names in lists or () for name in names)
    else:
        known = isinstance(result, _SINGLE.get(method, object))
    if not known:
        raise _unintelligible(url)
    return result


def _has(info: object, kinds: dict[str, type]) -> bool:
    return isinstance(info, dict) and all(isinstance(info.get(key), kind) for key, kind in kinds.items())
