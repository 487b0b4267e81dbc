"""What did not prove itself is not as it is to be: programs that end over and over, against a real supervisord."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
from celeryhost import proc
from celeryhost.checks import FAIL, supervision
from celeryhost.checks import programs as checks
from celeryhost.checks.host import Host
from celeryhost.commands import status_view
from celeryhost.errors import UNPROVEN, Failure
from celeryhost.states import proven, supervisor_programs
from celeryhost.states.changing import NOW, changing, is_halfway
from celeryhost.supervisor import conffile, locate
from celeryhost.supervisor.loops import MANY, loops
from celeryhost.supervisor.rpc import Supervisor
from celeryhost.supervisor.status import look
from conftest import wait_for
from test_install import OWN, section

DIES = "sh -c 'sleep 1.5; echo no such table; exit 1'"  # later than its startsecs


class Site:
    """An entry, its proof, and both modules that bring it about."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.path, self.proof = daemon.folder / "conf.d/mysite-celery.conf", daemon.folder / "proven"
        self.config = str(daemon.config)
        self.supervisor = Supervisor(locate.find(self.config))

    @property
    def host(self):
        return Host(SimpleNamespace(config=self.config, url=None, user=None))

    def bring(self, text, check=False, meanwhile=None):
        files = [{"path": str(self.path), "content": text, "state": "present"}]
        known = {"files": files, "config": self.config, "started": True, "timeout": None, "mode": "0600"}
        known |= dict(zip(("owner", "group"), OWN, strict=True))
        known |= {"meanwhile": meanwhile or {}, "proof": str(self.proof)}
        return supervisor_programs.bring(known, check)

    def prove(self, found):
        known = {"path": str(self.proof), "config": self.config, "logs": {}, "seconds": 0}
        return proven.bring(known | {"key": found["key"], "pids": found["pids"], "tasks": found["meanwhile"]}, False)

    def why(self, text):
        found = self.bring(text, check=True)
        assert found["changed"] == ("why" in found)
        return found.get("why")


@pytest.fixture
def site(daemon):
    daemon.program("foreign")
    daemon.start()
    return Site(daemon)


def test_one_that_dies_after_it_was_running_is_no_proof_until_it_is_mended(site):
    text = section("mysite-worker", DIES, startsecs=1, stdout_logfile=f"{site.daemon.folder}/log/w.log")
    for _ in range(2):
        with pytest.raises(
            Failure, match=r"mysite-worker: ended soon after it was RUNNING(.|\n)*no such table"
        ) as failure:
            site.bring(text, meanwhile={"mysite": ["sleep", "60"]})
        assert failure.value.code == UNPROVEN
        assert site.why(text)
    mended = section("mysite-worker", startsecs=1)
    found = site.bring(mended, meanwhile={"mysite": ["true"]})
    assert site.why(mended) == "what is there was not seen to work"
    site.prove(found)
    assert site.why(mended) is None
    found = site.bring(mended)  # and killed, or its task fails
    assert not site.proof.exists()
    assert site.why(mended) == "what is there was not seen to work"
    os.kill(site.daemon.pid("mysite-worker"), signal.SIGKILL)
    with pytest.raises(Failure, match="mysite-worker: ended soon"):
        wait_for(lambda: site.daemon.pid("mysite-worker") != found["pids"]["mysite-worker"])
        site.prove(found)
    assert site.why(mended) == "what is there was not seen to work"


def test_one_that_begins_to_die_is_a_difference_although_it_is_running(site):
    flag = site.daemon.folder / "dies"
    command = f"sh -c 'test -e {flag} || exec sleep 1000; sleep 1.5; exit 1'"
    text = section("mysite-worker", command, startsecs=1, startretries=99)
    site.prove(site.bring(text))
    flag.touch()
    assert site.why(text) is None
    os.kill(site.daemon.pid("mysite-worker"), signal.SIGKILL)
    wait_for(lambda: loops(site.supervisor, site.daemon.known()))
    wait_for(lambda: site.daemon.state("mysite-worker") == "RUNNING")
    assert site.why(text) == "mysite-worker ends over and over"
    assert loops(site.supervisor, site.daemon.known())["mysite-worker"].lives >= MANY
    (found,) = [finding for finding in supervision.programs(site.host) if finding.level == FAIL]
    assert (found.subject, found.symptom.split(", ")[1]) == ("mysite-worker", "EXITED in turn")
    with pytest.raises(Failure, match="mysite-worker: ended soon"):
        site.bring(text)
    flag.unlink()
    dying = site.daemon.pid("mysite-worker")  # it has read the flag
    wait_for(lambda: site.daemon.pid("mysite-worker") not in (0, dying))
    site.prove(site.bring(text))
    assert site.why(text) is None


def test_one_that_was_started_before_its_code_changed_is_replaced(site, tmp_path, monkeypatch, capsys):
    """As after a deploy that was refused and one that went back: the entry is the same, what was imported is not."""
    monkeypatch.setattr(proc, "ETC", str(tmp_path))
    moment = tmp_path / "mysite.code"
    text = section("mysite-worker")
    site.prove(site.bring(text))
    assert not site.bring(text, check=True)["changed"], "nothing is known of its code"
    with changing(str(moment)):
        meanwhile = site.bring(text, check=True)
    for found in (meanwhile, site.bring(text, check=True)):
        ((change),) = found["plan"]["changes"]
        assert (change["program"], change["action"], list(change["options"])) == ("mysite-worker", "change", ["code"])
    report = look(site.supervisor)
    assert {row.name: row.outdated for row in report.rows} == {"foreign": False, "mysite-worker": True}
    status_view.write(report)
    assert capsys.readouterr().err.startswith("celeryhost: started before the code on disk was brought: mysite-worker;")
    app = SimpleNamespace(parts=[], others=[conffile.load(site.config)["mysite-worker"]])
    assert [finding.level for finding in checks.code(site.host, app)] == [FAIL]
    assert list(site.bring(text)["restarted"]) == ["mysite-worker"]
    assert not any(row.outdated for row in look(site.supervisor).rows)
    assert not site.bring(text)["restarted"]
    moment.write_text("another-boot 1e9\n")
    assert not any(row.outdated for row in look(site.supervisor).rows)
    with pytest.raises(KeyboardInterrupt), changing(str(moment)):
        raise KeyboardInterrupt
    assert not is_halfway(str(moment))
    moment.write_text(NOW)
    assert is_halfway(str(moment)) and look(site.supervisor, ["mysite-worker"]).rows[0].outdated
