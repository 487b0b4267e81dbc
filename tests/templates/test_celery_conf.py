"""templates/celery.conf.j2, read back by Supervisor's own parser and by Celery's."""

from __future__ import annotations

import getpass
import os
import re
import shlex

import pytest
from celeryhost import apps
from celeryhost.errors import Failure
from celeryhost.project.rendering import render
from supervisor.options import ServerOptions

BROKER = "redis://:p%40ss@localhost:6379/0"


@pytest.fixture
def read(root, tmp_path):
    """The programs that supervisord makes of an app's description, by name."""

    def read(app, release="r1"):
        described = apps.describe(
            {"name": "mysite", "user": getpass.getuser() if getpass.getuser() != "root" else "nobody"}
            | {"directory": str(tmp_path), "logs": str(tmp_path), "captured": f"{tmp_path}-captured"}
            | app
        )
        text = render(
            str(root / "templates"),
            "celery.conf.j2",
            app=described,
            broker_url=BROKER,
            release=release,
            celery_startsecs=7,
        )
        os.makedirs(f"{tmp_path}-captured", exist_ok=True)
        (tmp_path / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles = celery.conf\n")
        (tmp_path / "celery.conf").write_text(text)
        options = ServerOptions()
        options.realize(["-c", str(tmp_path / "supervisord.conf")])
        assert not options.parse_warnings
        return {config.name: config for group in options.process_group_configs for config in group.process_configs}

    return read


def words(program):
    """Its command; what every program begins with is gone."""
    setpriv, privileges, option, stopsignal, *command = shlex.split(program.command)
    assert (setpriv, privileges) == ("/usr/bin/setpriv", "--no-new-privs")
    assert (option, stopsignal) == ("--pdeathsig", program.stopsignal.name[3:])
    return command


def settings(program):
    """What Celery makes of the words behind `--`."""
    from celery.loaders.base import BaseLoader

    line = words(program)
    return BaseLoader(None).cmdline_config_parser(line[line.index("--") + 1 :], namespace="worker")


def option(program, name):
    return words(program)[words(program).index(name) + 1]


def test_worker_and_beat(read, tmp_path):
    programs = read({})
    assert list(programs) == ["mysite-beat", "mysite-worker"]
    worker = programs["mysite-worker"]
    assert words(worker)[:4] == [f"{tmp_path}/venv/bin/celery", "-A", "mysite", "worker"]
    assert option(worker, "-n") == "mysite-worker@%h"
    assert option(worker, "-f") == f"{tmp_path}/worker.log"
    assert worker.stdout_logfile == f"{tmp_path}-captured/worker.log"
    assert "-Q" not in words(worker)
    assert "-B" not in words(worker)
    assert not any(word.startswith("--time-limit") for word in words(worker))
    assert (worker.stdout_logfile_maxbytes, worker.redirect_stderr) == (10 << 20, True)
    assert (worker.startsecs, worker.startretries, worker.stopwaitsecs) == (7, 100, 300)
    assert (worker.stopasgroup, worker.killasgroup) == (False, True)
    assert worker.umask == 0o027
    assert settings(worker) == apps.WORKER_SETTINGS
    beat = programs["mysite-beat"]
    assert words(beat)[:4] == ["/usr/bin/flock", "-F", "/var/lib/mysite/beat.lock", f"{tmp_path}/venv/bin/python"]
    assert words(beat)[4:6] == [f"{apps.SUPPORT}/celeryhost_beat.py", f"{tmp_path}/venv/bin/celery"]
    assert option(beat, "-s") == "/var/lib/mysite/beat-schedule"
    assert "-S" not in words(beat)
    assert "--" not in words(beat)


def test_the_environment_and_not_the_command_line_has_the_password(read):
    for program in read({}).values():
        assert program.environment["CELERY_BROKER_URL"] == BROKER
        assert "p%40ss" not in program.command


def test_a_new_release_changes_each_entry(read):
    before, after = read({}, "r1"), read({}, "r2")
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "two words",
        "a,b=c",
        "50% of %(here)s and %%",
        "semicolon ;x and hash #y",
        "; at the start",
        "# at the start",
        "it's",
        'a "b" c',
        '{"json": [1, 2]}',
        "back\\slash \\n",
        "tab\there",
        "grüße, 世界",
        " blanks around ",
        "$HOME `id` $(id)",
    ],
)
def test_values_come_back_exactly(read, value):
    programs = read(
        {
            "environment": {"VALUE": value, "AFTER": "it"},
            "programs": [{"name": "web", "command": ["/bin/echo", value, "end"], "environment": {"MINE": value}}],
            "settings": {"task_default_queue": value},
        }
    )
    for program in programs.values():
        assert program.environment["VALUE"] == value
        assert program.environment["AFTER"] == "it"
    assert programs["mysite-web"].environment["MINE"] == value
    assert words(programs["mysite-web"]) == ["/bin/echo", value, "end"]
    assert settings(programs["mysite-worker"])["task_default_queue"] == value
    assert settings(programs["mysite-beat"]) == {"task_default_queue": value}


def test_several_workers(read):
    programs = read(
        {
            "workers": [
                {"queues": ["celery", "slow"], "concurrency": 3},
                {"name": "big", "max_memory_per_child": 0, "max_tasks_per_child": 0, "time_limit": 7200},
            ]
        }
    )
    first, second = programs["mysite-worker"], programs["mysite-worker-big"]
    assert option(first, "-Q") == "celery,slow"
    assert "--concurrency=3" in words(first)
    assert "--max-tasks-per-child=10000" in words(first)
    assert option(second, "-n") == "mysite-worker-big@%h"
    assert "--time-limit=7200" in words(second)
    assert second.stopwaitsecs == 7230
    assert settings(second)["broker_transport_options"] == {"visibility_timeout": 7260}
    assert not any(word.startswith("--max-") for word in words(second))


def test_further_arguments_stay_one_word_each(read):
    worker = read({"workers": [{"arguments": ["--hostname", "it's 100%", "-E"]}]})["mysite-worker"]
    assert words(worker)[words(worker).index("--hostname") :][:3] == ["--hostname", "it's 100%", "-E"]


def test_beat_off(read):
    assert list(read({"beat": False})) == ["mysite-worker"]


def test_beat_of_the_database(read):
    beat = read({"beat": {"scheduler": "django_celery_beat.schedulers:DatabaseScheduler"}})["mysite-beat"]
    assert option(beat, "-S") == "django_celery_beat.schedulers:DatabaseScheduler"


def test_embedded_beat(read):
    programs = read({"development": True, "beat": {"embedded": True}, "workers": [{}, {"name": "second"}]})
    assert list(programs) == ["mysite-worker", "mysite-worker-second"]
    assert "-B" in words(programs["mysite-worker"])
    assert option(programs["mysite-worker"], "-I") == "celeryhost_worker,celeryhost_beat"
    assert option(programs["mysite-worker-second"], "-I") == "celeryhost_worker"
    assert option(programs["mysite-worker"], "-s") == "/var/lib/mysite/beat-schedule"
    assert "-B" not in words(programs["mysite-worker-second"])


def test_flower(read, tmp_path):
    programs = read({"flower": {"memory": 200, "arguments": ["--url_prefix=flower"]}, "data": str(tmp_path)})
    flower = programs["mysite-flower"]
    assert words(flower)[:6] == ["/usr/bin/prlimit", "--data=200000000", "/usr/bin/choom", "-n", "500", "--"]
    assert words(flower)[9:14] == ["sh", f"{tmp_path}/venv/bin/celery", "-A", "mysite", "flower"]
    assert flower.environment["FLOWER_PASSWORD_FILE"] == "/etc/celeryhost/mysite-flower.password"
    assert {"--address=127.0.0.1", "--port=5555", "--max-tasks=1000", "--url_prefix=flower"} <= set(words(flower))
    assert f"--db={tmp_path}/flower" in words(flower)
    assert (flower.stdout_logfile, flower.stdout_logfile_maxbytes) == (f"{tmp_path}-captured/flower.log", 10 << 20)
    assert "-E" in words(programs["mysite-worker"])


def test_no_events_without_flower(read):
    programs = read({})
    assert "mysite-flower" not in programs
    assert "-E" not in words(programs["mysite-worker"])


def test_further_programs(read, tmp_path):
    web = read({"programs": [{"name": "web", "command": "gunicorn mysite.wsgi", "stopsignal": "QUIT"}]})["mysite-web"]
    assert words(web) == [f"{tmp_path}/venv/bin/gunicorn", "mysite.wsgi"]
    assert (web.stdout_logfile, web.stdout_logfile_maxbytes) == (f"{tmp_path}-captured/web.log", 10 * 1024 * 1024)


def test_without_a_user(read, root, tmp_path):
    described = apps.describe({"name": "mysite"}) | {"user": None}
    text = render(
        str(root / "templates"), "celery.conf.j2", app=described, broker_url=None, release=None, celery_startsecs=7
    )
    assert "user=" not in text
    assert "CELERY_BROKER_URL" not in text


def test_a_percent_in_a_logs_name_which_supervisor_expands_twice(read, tmp_path):
    os.makedirs(f"{tmp_path}-captured/50%")
    for program in read({"logs": str(tmp_path), "captured": f"{tmp_path}-captured/50%"}).values():
        assert program.stdout_logfile.startswith(f"{tmp_path}-captured/50%/")


def test_one_variable_is_the_size_of_every_log(root):
    """Of what is written on a host; `dev` lets a person read Redis's while it is up, whole."""
    texts = {path.name: path.read_text() for path in (root / "templates").iterdir()}
    sizes = {name: re.findall(r"(?:maxsize|maxbytes ?=) ?(.*)", text) for name, text in texts.items()}
    assert {name for name, found in sizes.items() if found} > {"celery.conf.j2", "supervisord.conf.j2"}
    assert sizes.pop("development-redis.conf.j2") == ["0"]
    assert {size.split()[1] for found in sizes.values() for size in found} == {"machine_log_size"}


@pytest.mark.parametrize("size", ["10MB", "", "a lot", "10"])
def test_a_size_of_logs_that_one_of_both_programs_does_not_know_is_refused(size):
    with pytest.raises(Failure, match=r"machine_log_size is .*, which is no.* write one such as 10M"):
        apps.log_size(size)
