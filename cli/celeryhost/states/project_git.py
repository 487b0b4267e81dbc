"""A git checkout that belongs to another account, at one commit."""

from __future__ import annotations

import os

from ..account import last_line, run
from ..errors import Failure
from .changing import changing, is_halfway

ARGUMENTS = {
    "repo": {"type": "str", "required": True},
    "version": {"type": "str", "default": "HEAD"},
    "dest": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "moment": {"type": "path"},
}

# Never ask: a question would hang where nobody sees it.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
}


class Checkout:
    def __init__(self, params):
        self.dest, self.owner = params["dest"], params["owner"]
        self.repo, self.version = params["repo"], params["version"]

    def git(self, *words, fail=True):
        """Output of git, or None when it failed and may."""
        code, output = run(self.owner, "git", *words, cwd=self.dest, environment=ENVIRONMENT)
        if code and fail:
            cause = output.partition("fatal: Could not read from remote repository")[0]  # then comes general advice
            raise Failure(f"source {self.repo} at {self.version}: git {words[0]}: {last_line(cause or output)}")
        return None if code else output.strip()

    def head(self):
        return self.git("rev-parse", "-q", "--verify", "HEAD^{commit}", fail=False) or ""

    def offered(self):
        """The commit that the repository has under this name; the name itself when it is no branch or tag."""
        names = dict(
            reversed(line.split("\t"))
            for line in self.git("ls-remote", "--", self.repo, self.version, f"{self.version}^{{}}").splitlines()
            if "\t" in line
        )
        for name in (
            f"refs/tags/{self.version}^{{}}",
            f"refs/tags/{self.version}",
            f"refs/heads/{self.version}",
            "HEAD",
        ):
            if name in names and (name != "HEAD" or self.version == "HEAD"):
                return names[name]
        return self.version

    def fetch(self):
        """The commit, fetched without its history, unless a person's own clone is there or the server refuses."""
        if not os.path.isdir(f"{self.dest}/.git"):
            self.git("init", "-q")
        shallow = ["--depth=1"] if not self.head() or os.path.exists(f"{self.dest}/.git/shallow") else []
        if self.git("fetch", "-q", *shallow, "--", self.repo, self.version, fail=False) is not None:
            return self.git("rev-parse", "FETCH_HEAD^{commit}")
        self.git("fetch", "-q", "--force", "--tags", "--", self.repo, "+refs/heads/*:refs/remotes/origin/*")
        return self.git("rev-parse", "-q", "--verify", f"{self.version}^{{commit}}")

    def checkout(self, commit):
        lock = f"{self.dest}/.git/index.lock"
        killed = os.path.exists(lock)
        if killed:
            os.unlink(lock)
        # What a killed run has written already looks like somebody's own files.
        force = ["--force"] if killed or not self.head() else []
        self.git("checkout", "-q", *force, "--detach", commit)
        if os.path.exists(f"{self.dest}/.gitmodules"):
            self.git("submodule", "update", "-q", "--init", "--recursive")


def bring(params, check):
    checkout = Checkout(params)
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
    return {"changed": halfway or commit != before, "revision": commit, "diff": diff}
