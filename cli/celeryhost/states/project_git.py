"""A git checkout that belongs to another account, at one commit."""

from __future__ import annotations

import os
from typing import Any

from ..account import last_line, run
from ..errors import Failure
from ..project.git_key import lent, without_secret
from .changing import changing, is_halfway

ARGUMENTS = {
    "repo": {"type": "str", "required": True},
    "version": {"type": "str", "default": "HEAD"},
    "dest": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "moment": {"type": "path"},
    "key": {"type": "path"},
}

SECONDS = 120  # that a question may take: a server may take it and never answer
LONG = ("fetch", "checkout", "submodule")  # take longer the larger the repository is
LONG_SECONDS = 3600  # and yet have an end: hooks and filters of an app may have none

# Never ask: a question would hang where nobody sees it.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
}


def cause(output: str) -> str:
    """What git says, without the general advice that comes behind it."""
    return output.partition("fatal: Could not read from remote repository")[0] or output


class Checkout:
    def __init__(self, params: dict[str, Any], environment: dict[str, str]) -> None:
        self.repo, self.words, secrets = without_secret(params["repo"])
        self.environment = ENVIRONMENT | environment | secrets
        self.dest, self.owner, self.version = params["dest"], params["owner"], params["version"]

    def git(self, *words: str, fail: bool = True) -> str | None:
        """Output of git, or None when it failed and may."""
        seconds = LONG_SECONDS if words[0] in LONG else SECONDS
        code, output = run(
            *(self.owner, "git", *self.words, *words),
            cwd=self.dest,
            environment=self.environment,
            seconds=seconds,
        )
        if code and fail:
            said = last_line(cause(output))
            raise Failure(f"source {self.repo} at {self.version}: git {words[0]}: {said}{self.advice(said)}")
        return None if code else output.strip()

    def output(self, *words: str) -> str:
        """Output of git; raises Failure."""
        return self.git(*words) or ""

    def advice(self, said: str) -> str:
        if "could not read Username" in said or (
            "ermission denied" in said and not self.environment.get("SSH_AUTH_SOCK")
        ):
            return "; for a private repository write source: git@HOST:PATH and git_key: generate"
        return ""

    def head(self) -> str:
        return self.git("rev-parse", "-q", "--verify", "HEAD^{commit}", fail=False) or ""

    def offered(self) -> str:
        """The commit that the repository has under this name; the name itself when it is no branch or tag."""
        told = self.output("ls-remote", "--", self.repo, self.version, f"{self.version}^{{}}")
        lines = (line.partition("\t") for line in told.splitlines() if "\t" in line)
        names = {name: commit for commit, _, name in lines}
        for name in (
            f"refs/tags/{self.version}^{{}}",
            f"refs/tags/{self.version}",
            f"refs/heads/{self.version}",
            "HEAD",
        ):
            if name in names and (name != "HEAD" or self.version == "HEAD"):
                return names[name]
        return str(self.version)

    def fetch(self) -> str:
        """The commit, fetched without its history, unless a person's own clone is there or the server refuses."""
        if not os.path.isdir(f"{self.dest}/.git"):
            self.git("init", "-q")
        shallow = ["--depth=1"] if not self.head() or os.path.exists(f"{self.dest}/.git/shallow") else []
        if self.git("fetch", "-q", *shallow, "--", self.repo, self.version, fail=False) is not None:
            return self.output("rev-parse", "FETCH_HEAD^{commit}")
        self.git("fetch", "-q", "--force", "--tags", "--", self.repo, "+refs/heads/*:refs/remotes/origin/*")
        for name in (f"refs/tags/{self.version}", f"refs/remotes/origin/{self.version}", self.version):
            if commit := self.git("rev-parse", "-q", "--verify", f"{name}^{{commit}}", fail=False):
                return commit
        raise Failure(f"source {self.repo} has no branch, tag or commit {self.version}; correct `version`")

    def checkout(self, commit: str) -> None:
        lock = f"{self.dest}/.git/index.lock"
        killed = os.path.exists(lock)
        if killed:  # as its owner: .git may be a link
            run(self.owner, "rm", "-f", "--", lock, cwd="/")
        # What a killed run has written already looks like somebody's own files.
        force = ["--force"] if killed or not self.head() else []
        self.git("checkout", "-q", *force, "--detach", commit)
        if os.path.exists(f"{self.dest}/.gitmodules"):
            self.git("submodule", "update", "-q", "--init", "--recursive")

    def warnings(self) -> list[str]:
        """Git LFS is not known here, and a file of it would be read as what it is not."""
        if self.git("grep", "-qI", "filter=lfs", "HEAD", "--", ":(glob)**/.gitattributes", fail=False) is None:
            return []
        return [
            f"source {self.repo} keeps files in Git LFS, which is not fetched: they are pointers of a few lines here"
        ]


def bring(params: dict[str, Any], check: bool) -> dict[str, Any]:
    with lent(params.get("key"), params["owner"]) as environment:
        return _bring(Checkout(params, environment), params, check)


def _bring(checkout: Checkout, params: dict[str, Any], check: bool) -> dict[str, Any]:
    try:
        before, offered = checkout.head(), checkout.offered()
    except (KeyError, OSError) as error:
        if not check:
            raise Failure(f"source {checkout.repo}: {error}") from None
        before, offered = "", ""
    halfway = is_halfway(params["moment"])
    if before and before.startswith(offered) and not halfway:
        return {"changed": False, "revision": before}
    commit = offered
    if not check:
        commit = checkout.fetch()
        with changing(params["moment"]):
            checkout.checkout(commit)
    diff = {"before": f"{before}\n" if before else "", "after": f"{commit or checkout.version}\n"}
    warnings = [] if check else checkout.warnings()
    return {"changed": halfway or commit != before, "revision": commit, "diff": diff, "warnings": warnings}
