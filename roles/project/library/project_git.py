#!/usr/bin/python
"""A git checkout that belongs to another account, at one commit."""

from __future__ import annotations

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.celeryhost.account import last_line, run

DOCUMENTATION = r"""
module: project_git
short_description: Have a commit of a git repository checked out in a folder
description:
  - Works in a folder that has other things in it already, such as the virtual environment, and goes on where a killed
    run stopped.
  - git runs as O(owner) and with that account's keys; C(ansible.builtin.git) would need sudo to become it.
  - A changed file of the repository is kept, and the module fails.
options:
  repo:
    description: URL of the repository.
    type: str
    required: true
  version:
    description: Branch, tag or commit.
    type: str
    default: HEAD
  dest:
    description: The folder; it must be there and be O(owner)'s, except in check mode.
    type: path
    required: true
  owner:
    description: The account.
    type: str
    required: true
author: celeryhost
"""

EXAMPLES = r"""
- name: Have the code
  project_git:
    repo: https://git.example/me/mysite.git
    version: v1.4
    dest: /srv/mysite
    owner: mysite
"""

RETURN = r"""
revision: {description: The commit; empty where check mode cannot know it., type: str}
"""

# Never ask: a question would hang where nobody sees it.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
}


class Checkout:
    def __init__(self, module):
        self.module = module
        self.dest, self.owner = module.params["dest"], module.params["owner"]
        self.repo, self.version = module.params["repo"], module.params["version"]

    def git(self, *words, fail=True):
        """Output of git, or None when it failed and may."""
        code, output = run(self.owner, "git", *words, cwd=self.dest, environment=ENVIRONMENT)
        if code and fail:
            self.module.fail_json(msg=f"source {self.repo} at {self.version}: git {words[0]}: {last_line(output)}")
        return None if code else output.strip()

    def head(self):
        return self.git("rev-parse", "-q", "--verify", "HEAD^{commit}", fail=False) or ""

    def offered(self):
        """The commit that the repository has under this name; the name itself when it is no branch or tag."""
        names = dict(
            reversed(line.split("\t"))
            for line in self.git("ls-remote", self.repo, self.version, f"{self.version}^{{}}").splitlines()
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
        if self.git("fetch", "-q", *shallow, self.repo, self.version, fail=False) is not None:
            return self.git("rev-parse", "FETCH_HEAD^{commit}")
        self.git("fetch", "-q", "--force", "--tags", self.repo, "+refs/heads/*:refs/remotes/origin/*")
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


def main():
    module = AnsibleModule(
        {
            "repo": {"required": True},
            "version": {"default": "HEAD"},
            "dest": {"type": "path", "required": True},
            "owner": {"required": True},
        },
        supports_check_mode=True,
    )
    checkout = Checkout(module)
    try:
        before, offered = checkout.head(), checkout.offered()
    except (KeyError, OSError) as error:
        if not module.check_mode:
            module.fail_json(msg=f"source {checkout.repo}: {error}")
        before, offered = "", ""
    if before and before.startswith(offered):
        module.exit_json(changed=False, revision=before)
    commit = offered
    if not module.check_mode:
        commit = checkout.fetch()
        checkout.checkout(commit)
    diff = {"before": f"{before}\n" if before else "", "after": f"{commit or checkout.version}\n"}
    module.exit_json(changed=commit != before, revision=commit, diff=diff)


if __name__ == "__main__":
    main()
