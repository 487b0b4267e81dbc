"""What a deploy that does not work does to a provisioned host, and that no run forgets it."""

from __future__ import annotations

from celeryhost.errors import FAILED, UNPROVEN

TASKS = "celeryhost/examples/mysite/app/tasks.py"
# Later than its startsecs and before it is ready, over and over; as the app is loaded before that, nothing happens.
DIES = "import sys, time\nif 'worker' in sys.argv:\n    time.sleep(6)\n    raise SystemExit('out of luck')"


def refuse_and_mend(host, provision: str) -> None:
    """Deploy to `host` what does not load, then what does not live, then what was there before."""
    host.ssh(f"cp {TASKS} /root/tasks.py")
    before = processes(host)
    host.ssh(f"echo 'def broken(:' >>{TASKS}")
    for _ in range(2):
        done = deploy(host, provision)
        assert done.returncode == FAILED, done.stdout
        assert "SyntaxError: invalid syntax (/srv/mysite/app/tasks.py:" in done.stdout, done.stdout
        assert processes(host) == before, "what ran runs on"
    assert "another version runs than is on disk" in host.ssh("celeryhost doctor", check=False).stdout

    host.ssh(f"cp /root/tasks.py {TASKS}")
    assert deploy(host, provision).returncode == 0
    assert not {pid for name, pid in processes(host) if "mysite" in name} & {pid for _, pid in before}, "not known what"

    host.ssh(f"cat >>{TASKS}", input=DIES)
    for _ in range(2):
        done = deploy(host, provision)
        assert (done.returncode, "mysite-worker" in done.stdout) == (UNPROVEN, True), done.stdout
        assert "Nothing differs" not in done.stdout

    host.ssh(f"cp /root/tasks.py {TASKS}")
    assert deploy(host, provision).returncode == 0
    assert "Nothing differs" in deploy(host, provision).stdout


def deploy(host, provision):
    return host.ssh(f"cd celeryhost && {provision}", check=False)


def processes(host):
    """{(program, pid)} of what runs."""
    lines = host.ssh("celeryhost status", check=False).stdout.splitlines()[1:]
    return {(words[0], words[2]) for words in map(str.split, lines)}
