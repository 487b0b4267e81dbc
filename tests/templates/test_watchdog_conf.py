"""templates/watchdog.conf.j2, read back by Supervisor's own parser."""

from __future__ import annotations

import getpass
import json

from celeryhost import apps
from celeryhost.project.rendering import render
from celeryhost.supervisor import conffile
from supervisor.options import ServerOptions

BROKER = "redis://:p%25ss%22w@localhost:6379/0"


def test_what_the_watchdog_is_given(root, tmp_path):
    told = {"celery_watchdog_command": """mail -s "it's 100%" me""", "celery_watchdog_webhook": "https://x/a%20b;c"}
    described = apps.describe_all([{"name": "mysite"}])
    text = render(
        str(root / "templates"),
        "watchdog.conf.j2",
        apps=described,
        broker_url=BROKER,
        release="r1",
        user=getpass.getuser(),
        log=f"{tmp_path}/watchdog.log",
        **told,
    )
    (tmp_path / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles = watchdog.conf\n")
    (tmp_path / "watchdog.conf").write_text(text)
    options = ServerOptions()
    options.realize(["-c", str(tmp_path / "supervisord.conf")])
    assert not options.parse_warnings
    [group] = options.process_group_configs
    [listener] = group.process_configs
    assert {event.__name__ for event in group.pool_events} == {"ProcessStateFatalEvent", "ProcessStateStoppedEvent"}
    settings = json.loads(listener.environment["CELERYHOST_WATCHDOG_SECRETS"])
    assert settings["command"] == ["mail", "-s", "it's 100%", "me"]
    assert settings["webhook"] == told["celery_watchdog_webhook"]
    assert {program["name"]: program["broker"] for program in settings["programs"]} == {
        "mysite-worker": BROKER,
        "mysite-beat": BROKER,
    }
    assert "p%25ss" not in listener.command
    assert not any(secret in conffile.hide(text) for secret in ("p%%25ss", "https://x", "mail"))
