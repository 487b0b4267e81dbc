"""Other people's programs: a restart of supervisord would start what a person has stopped."""

from celeryhost.states import supervisord


def test_a_program_that_a_person_has_stopped_counts(daemon):
    daemon.program("importer", autostart="false")
    daemon.program("never", autostart="false")
    daemon.program("old", "celery -A shop beat")
    daemon.program("stopped")
    daemon.start()
    for name in ("old", "stopped"):
        daemon.rpc.call("stopProcess", name)
    daemon.rpc.call("startProcess", "importer")
    found, _ = supervisord.look({"config": str(daemon.config), "programs": str(daemon.folder / "conf.d")})
    assert (found["foreign"], found["beats"]) == (["importer", "old", "stopped"], ["old"])


def test_supervisorctls_own_word_for_a_group(daemon):
    daemon.program("one")
    daemon.program("two")
    daemon.config.write_text(f"{daemon.config.read_text()}[group:both]\nprograms=one,two\n")
    daemon.start()
    before = {process.name: process.pid for process in daemon.known()}
    assert daemon.run("restart", "both:").returncode == 0
    assert all(process.pid != before[process.name] for process in daemon.known())


def test_a_changed_group_is_said_to_be_replaced_as_a_whole(daemon):
    path = daemon.program("one")
    daemon.program("two")
    daemon.config.write_text(f"{daemon.config.read_text()}[group:both]\nprograms=one,two\n")
    daemon.start()
    daemon.rpc.call("stopProcess", "both:two")
    path.write_text(path.read_text().replace("sleep 1000", "sleep 1001"))
    said = daemon.run("apply", "--dry-run").stdout
    assert "the whole group: one, two; starts two, which had stopped" in said
