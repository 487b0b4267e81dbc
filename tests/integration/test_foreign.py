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
