"""A key of root's by which git gets at a repository, with a real sshd, ssh-agent and git, as another account."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from celeryhost import account
from celeryhost.errors import Failure
from celeryhost.project import git_key
from celeryhost.states import git_key as state
from celeryhost.states import project_git
from sshd import sshd

OWNER = "nobody"  # has no home, so no known_hosts is written
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another account")


def git(folder, *words):
    identity = ["-c", "user.name=me", "-c", "user.email=me@example", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


class Server:
    """A repository with a submodule behind an sshd that lets in whom it is told to."""

    def __init__(self, folder, host):
        self.folder = folder
        self.url = f"ssh://root@127.0.0.1:{host['ansible_port']}{folder}"
        for name in ("part", "site"):
            (folder / name).mkdir()
            git(folder / name, "init", "-q", "-b", "main")
            (folder / name / f"{name}.txt").write_text(name)
            git(folder / name, "add", ".")
            git(folder / name, "commit", "-qm", name)
        git(folder / "site", "submodule", "add", "-q", str(folder / "part"), "part")
        git(folder / "site", "config", "-f", ".gitmodules", "submodule.part.url", f"{self.url}/part")
        git(folder / "site", "commit", "-qam", "with a part")
        (folder / "here").mkdir(mode=0o755)
        os.chown(folder / "here", pwd.getpwnam(OWNER).pw_uid, -1)
        self.keyed = {"path": str(folder / "etc" / "site.git-key"), "repo": f"{self.url}/site", "owner": OWNER}
        self.keyed |= {"text": None}
        self.code = {"repo": f"{self.url}/site", "version": "main", "owner": OWNER, "dest": str(folder / "here")}
        self.code |= {"moment": str(folder / "moment"), "key": self.keyed["path"]}

    def let_in(self, public: str):
        with (self.folder / "sshd" / "key.pub").open("a") as keys:
            keys.write(public)


@pytest.fixture
def server():
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))  # which another account can reach
    folder.chmod(0o755)
    with sshd(folder / "sshd") as host:
        yield Server(folder, host)
    shutil.rmtree(folder)


def test_a_key_is_made_shown_and_used_once_it_is_let_in(server):
    assert state.bring(server.keyed, True)["changed"]
    assert not os.path.exists(server.keyed["path"]), "check mode changes nothing"
    with pytest.raises(Failure, match="is made, nothing else was changed; let it read the repository") as first:
        state.bring(server.keyed, False)
    public = str(first.value).splitlines()[1]
    assert public.startswith("ssh-ed25519 AAAA")
    found = os.stat(server.keyed["path"])
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)
    with pytest.raises(Failure, match="is not let in yet") as second:
        state.bring(server.keyed, False)
    assert str(second.value).splitlines()[1] == public, "it is the same"
    assert state.bring(server.keyed, True)["changed"]

    server.let_in(f"{public}\n")
    assert state.bring(server.keyed, False) == {"changed": False, "public": f"{public}\n"}
    assert not state.bring(server.keyed, True)["changed"]
    assert project_git.bring(server.code, False)["changed"]
    assert (server.folder / "here" / "part" / "part.txt").read_text() == "part", "its submodule too"
    assert not project_git.bring(server.code, True)["changed"]
    assert account.run(OWNER, "cat", server.keyed["path"], cwd="/")[0] != 0, "the account itself can't read it"
    with pytest.raises(Failure, match=r"Permission denied.*; for a private repository write source: git@.* git_key"):
        project_git.bring(server.code | {"key": None}, False)


def test_a_key_of_the_controllers_is_brought(server):
    text = (server.folder / "sshd" / "key").read_text()
    assert state.bring(server.keyed | {"text": text}, True)["changed"]
    assert state.bring(server.keyed | {"text": text}, False)["changed"]
    assert not state.bring(server.keyed | {"text": text}, False)["changed"]
    assert project_git.bring(server.code, False)["changed"]


def test_a_key_with_a_passphrase_or_none_at_all_is_refused(server, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "k"], check=True)
    for text in ((tmp_path / "k").read_text(), "nothing\n"):
        with pytest.raises(Failure, match="private key without a passphrase"):
            state.bring(server.keyed | {"text": text}, False)


def test_another_trouble_is_not_the_keys(server):
    with pytest.raises(Failure, match="is made"):
        state.bring(server.keyed, False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"ssh://root@127.0.0.1:{closed.getsockname()[1]}/site"
        assert not state.bring(server.keyed | {"repo": away}, False)["changed"]
        with pytest.raises(Failure, match="Connection refused"):
            project_git.bring(server.code | {"repo": away}, False)


def test_the_agent_ends_and_nobody_else_gets_the_key(server, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True)
    with git_key.lent(str(tmp_path / "k"), OWNER) as environment:
        code, said = account.run(OWNER, "ssh-add", "-L", cwd="/", environment=environment)
        assert (code, said.split()[0]) == (0, "ssh-ed25519"), said
        folder = os.path.dirname(environment["SSH_AUTH_SOCK"])
        assert account.run(OWNER, "rm", environment["SSH_AUTH_SOCK"], cwd="/")[0] != 0
    assert not os.path.exists(folder)
    with socket.socket(socket.AF_UNIX) as other:
        path = str(tmp_path / "s")
        other.bind(path)
        other.listen()
        with pytest.raises(Failure, match="in the place of ssh-agent, and gets no key"):
            git_key._same(path, 1)
        git_key._same(path, os.getpid())
        os.symlink(path, f"{path}.link")
        with pytest.raises(Failure, match="is no socket, and gets no key"):
            git_key._same(f"{path}.link", os.getpid())


def test_git_lfs_is_said(server):
    state_of = server.folder / "site"
    (state_of / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    git(state_of, "add", ".")
    git(state_of, "commit", "-qm", "lfs")
    text = (server.folder / "sshd" / "key").read_text()
    state.bring(server.keyed | {"text": text}, False)
    [warning] = project_git.bring(server.code, False)["warnings"]
    assert "keeps files in Git LFS, which is not fetched" in warning
