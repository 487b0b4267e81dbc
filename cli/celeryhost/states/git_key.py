"""The key by which git gets at a repository: made here or brought, root's, and let in by who keeps the repository."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
from typing import Any

from .. import account
from ..errors import Failure
from ..project.git_key import FIX, lent, without_secret
from .project_git import ENVIRONMENT, cause

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "text": {"type": "str", "no_log": True},
    "repo": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
}
REFUSED = re.compile("permission denied|not found|not be found|access denied|unauthorized|not allowed", re.IGNORECASE)


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    path, text = params["path"], params["text"]
    changed = not os.path.exists(path) if text is None else _read(path) != text
    if check and changed:
        return {"changed": True, "public": ""}
    if changed:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        _make(path) if text is None else _write(path, text, 0o600)
    public = _public(path)
    if not check and _read(f"{path}.pub") != public:
        _write(f"{path}.pub", public, 0o644)
    let_in = _let_in(params)
    if not let_in and not check:
        made = "is made" if changed and text is None else "is not let in yet"
        raise Failure(
            f"the key of {params['repo']} {made}, nothing else was changed; let it read the repository (a deploy key, "
            f"without write access), and run provision again:\n{public.strip()}"
        )
    return {"changed": changed or not let_in, "public": public}


def _let_in(params: dict[str, Any]) -> bool:
    """Whether the repository answers; another trouble than the key is left to who fetches."""
    try:
        user = pwd.getpwnam(params["owner"]).pw_name
    except KeyError:
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # its account is yet to be made
    with lent(params["path"], user) as more:
        repo, secret, variables = without_secret(params["repo"])
        words = ("git", *secret, "ls-remote", "--", repo, "HEAD")
        try:
            code, said = account.run(user, *words, cwd="/", environment=ENVIRONMENT | more | variables, seconds=60)
        except OSError as error:
            raise Failure(f"git: {error.strerror}; install the Debian package git") from None
    return code == 0 or not REFUSED.search(cause(said))


def _make(path: str) -> None:
    new = f"{path}.new"
    for name in (new, f"{new}.pub"):
        if os.path.lexists(name):
            os.unlink(name)
    name = f"celeryhost {os.path.basename(path).removesuffix('.git-key')} at {socket.gethostname()}"
    _keygen("-q", "-t", "ed25519", "-N", "", "-C", name, "-f", new)
    os.replace(f"{new}.pub", f"{path}.pub")
    os.replace(new, path)


def _public(path: str) -> str:
    known = _read(f"{path}.pub")
    public = _keygen("-y", "-P", "", "-f", path)
    return known if known and known.split()[:2] == public.split()[:2] else public


def _keygen(*words: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except OSError as error:
        raise Failure(f"ssh-keygen: {error.strerror}; {FIX}") from None
    if done.returncode:
        said = account.last_line(done.stderr)
        raise Failure(f"git_key: {words[-1]}: {said}; it wants a private key without a passphrase")
    return done.stdout


def _write(path: str, text: str, mode: int) -> None:
    with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    os.replace(f"{path}.new", path)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None
