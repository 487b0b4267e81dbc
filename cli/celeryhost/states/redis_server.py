"""The Redis on this machine, as it runs: looked at, and brought to settings without a restart."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ..celery.resp import Connection, Malformed, Refused, connected
from ..errors import Failure
from ..paths import REDIS_PACKAGES, redis_paths
from .machine_facts import candidates, installed

ARGUMENTS = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 6379},
    "password": {"type": "str", "default": "", "no_log": True},
    "requirepass": {"type": "str", "default": "", "no_log": True},
    "settings": {"type": "dict", "default": {}},
    "package": {"type": "str", "default": REDIS_PACKAGES[0]},
    "password_file": {"type": "path", "no_log": False},
    "timeout": {"type": "int", "default": 900},
    "overcommit": {"type": "bool", "default": False},
}

OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
DATA = ("dump.rdb", "appendonly.aof", "appendonlydir")
# How it says that it lets nobody in; all else it says to those whom it has let in.
LOCKED = ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "ERR")
SECONDS = 10  # for an answer, where a disk may have to come first
UNITS = {"b": 1, "k": 1000, "kb": 1 << 10, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}


class Redis:
    """One connection, for one command after another. Raises OSError when nobody answers, Refused for a refusal."""

    def __init__(self, host: str, port: int) -> None:
        place = urlsplit(f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}")
        self.connection = Connection(connected(place, SECONDS))

    def __call__(self, *words: object) -> Any:
        try:
            [reply] = self.connection.ask([[*map(str, words)]], time.monotonic() + SECONDS)
        except Malformed as problem:
            raise OSError(str(problem)) from None
        return _text(reply)

    def info(self, section: str) -> dict[str, str]:
        return dict(line.split(":", 1) for line in self("INFO", section).splitlines() if ":" in line)

    def config(self, *names: str) -> dict[str, str]:
        return {name: self("CONFIG", "GET", name)[-1] for name in names}


def _text(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_text(each) for each in reply]
    return reply.decode(errors="replace") if isinstance(reply, bytes) else None if reply is None else str(reply)


def read(path: str | None) -> str:
    try:
        with open(path or "", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def configured_ports(*paths: str) -> list[int]:
    """The ports the configuration files name; the first file that names one wins in Redis, too, as it comes last."""
    return [int(port) for path in paths for port in re.findall(r"^port\s+(\d+)", read(path), re.MULTILINE)[-1:]]


def amount(text: str | int) -> int:
    """A memory size in bytes: Redis's units, where `mb` is 1024 kb and `m` a million."""
    found = re.fullmatch(r"(\d+)([a-z]*)", str(text).strip().lower())
    if not found:
        raise ValueError(f"{text!r} is no size")
    number, unit = found.groups()
    return int(number) * UNITS[unit or "b"]


def connect(host: str, ports: list[int]) -> Redis | None:
    """A connection to the first port where a Redis answers, else None."""
    for port in ports:
        try:
            redis = Redis(host, port)
            with contextlib.suppress(Refused):  # it wants a password, or still loads
                redis("PING")
            return redis
        except OSError:
            continue
    return None


def log_in(redis: Redis, passwords: list[str]) -> str | None:
    """The password that lets us in, "" when none is asked for; None when all are refused."""
    for password in ("", *passwords):
        try:
            if password:
                redis("AUTH", password)
            redis("PING")
            return password
        except Refused as error:
            if not str(error).startswith(LOCKED):
                return password
    return None


def misconf(redis: Redis) -> str:
    """Why it refuses to write, "" when it does not."""
    try:
        redis("PING")
    except Refused as error:
        return str(error) if str(error).startswith("MISCONF") else ""
    return ""


def wait(redis: Redis, unfinished: Callable[[dict[str, str]], object], seconds: float) -> dict[str, str]:
    """Until `unfinished` is no longer true of INFO persistence; raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        state = redis.info("persistence")
        if not unfinished(state):
            return state
        if time.monotonic() > end:
            raise TimeoutError(f"Redis was not done with its data after {seconds} s (redis_timeout)")
        time.sleep(0.2)


def overcommit() -> bool:
    """Have the kernel fork Redis when memory is half full, as a sysctl file does from the next boot; returns `changed`.

    A container's kernel belongs to its host, which may not let us.
    """
    if read(OVERCOMMIT).strip() == "1":
        return False
    try:
        with open(OVERCOMMIT, "w", encoding="ascii") as setting:
            setting.write("1")
    except OSError:
        return False
    return True


def look(redis: Redis) -> dict[str, Any]:
    """What RETURN says about a running server that let us in."""
    names = ("bind", "port", "maxmemory", "maxmemory-policy", "appendonly", "appendfsync")
    counts = (re.match(r"keys=(\d+)", text) for text in redis.info("keyspace").values())
    keys = sum(int(count[1]) for count in counts if count)
    server = redis.info("server")
    return {
        "version": server["redis_version"],
        "config_file": server["config_file"],
        "keys": keys,
        "clients": int(redis.info("clients")["connected_clients"]) - 1,
        "config": redis.config(*names),
    }


def apply(redis: Redis, params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Settings that differ are set; returns `changed`, `diff` and `restart` (those that wait for one)."""
    wanted = {name: str(value) for name, value in params["settings"].items()}
    if "maxmemory" in wanted:
        wanted["maxmemory"] = str(amount(wanted["maxmemory"]))
        used = int(redis.info("memory")["used_memory"])
        if 0 < int(wanted["maxmemory"]) < used:
            given = params["settings"]["maxmemory"]
            raise Refused(f"redis_maxmemory: {given} is less than the {used >> 20} MB in use")
    if params["requirepass"]:
        wanted["requirepass"] = params["requirepass"]
    now = redis.config(*wanted)
    differ = {name: value for name, value in wanted.items() if now.get(name) != value}
    later = []
    if not check:
        for name, value in differ.items():
            if name == "save":  # not before the append-only file has all
                continue
            try:
                redis("CONFIG", "SET", name, value)
            except Refused as error:
                if name not in ("bind", "port"):  # which Redis before 7.0 only reads at its start
                    raise Refused(f"CONFIG SET {name}: {error}") from None
                later.append(name)
        if wanted.get("appendonly") == "yes":
            busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
            state = wait(redis, lambda state: any(state.get(key) == "1" for key in busy), params["timeout"])
            if state.get("aof_last_bgrewrite_status") != "ok":
                raise Refused("it could not write its append-only file (see its log): is the disk full?")
        if "save" in differ:
            redis("CONFIG", "SET", "save", differ["save"])
    elif wanted.get("appendonly") == "yes" and redis.info("persistence").get("aof_last_bgrewrite_status") != "ok":
        differ["appendonly"] = "yes"  # the task says why
    shown = sorted(set(differ) - {"requirepass"})
    diff = {
        "before": "".join(f"{name} {now.get(name, '')}\n" for name in shown),
        "after": "".join(f"{name} {wanted[name]}\n" for name in shown),
    }
    return {"changed": bool(differ), "diff": diff, "restart": later}


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    stored = read(params["password_file"]).strip()
    package = params["package"]
    places = redis_paths(package)
    ours, configured = bool(stored), os.path.exists(places["own_config"])
    where = f"{params['host']}:{params['port']}"
    redis = connect(params["host"], [params["port"], *configured_ports(places["own_config"], places["config"])])
    result: dict[str, Any] = {"changed": False, "running": redis is not None, "locked": False, "restart": []}
    try:
        if redis is None:
            if params["settings"] and not check:
                raise Failure(f"No Redis answers at {where}; see {places['log']}.")
            there = any(os.path.exists(f"{places['data']}/{name}") for name in DATA)
            candidate = "" if package in installed() else candidates([package])[package]
            return result | {"shared": configured and not ours, "empty": not there, "candidate": candidate}
        passwords = [word for word in (params["requirepass"], params["password"], stored) if word]
        password = log_in(redis, passwords)
        if password is None:
            if params["settings"]:
                raise Refused("it refuses the password; set redis_password to its requirepass")
            return result | {"locked": True, "shared": not ours, "empty": False}
        wait(redis, lambda state: state.get("loading") == "1", params["timeout"])
        result.update(look(redis))
        used = password or result["keys"] > 0 or result["clients"] > 0
        result.update(shared=not ours and (configured or bool(used)), empty=False)
        result["misconf"] = misconf(redis)
        if params["settings"]:
            result.update(apply(redis, params, check))
            if not check:
                result.update(look(redis))
                result["changed"] |= params["overcommit"] and overcommit()
    except (Refused, OSError, TimeoutError) as error:
        raise Failure(f"Redis at {where}: {error}") from None
    return result
