"""The description of an app: defaults, checks and their messages, and the ways to write values."""

from __future__ import annotations

import pytest
from celeryhost import apps
from celeryhost.errors import USAGE, Failure


def refused(app, *said):
    """`app` is refused with USAGE, in one line that holds all of `said`."""
    with pytest.raises(Failure) as caught:
        apps.describe(app)
    assert caught.value.code == USAGE
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in str(caught.value)


def test_name_and_source_are_enough():
    app = apps.describe({"name": "mysite", "source": "https://git.example/me/mysite.git"})
    made = {
        "base",
        "top",
        "checkout",
        "source_kind",
        "key",
        "support",
        "extensions",
        "tools",
        "results_place",
        "transport_options",
    }
    assert app.keys() == apps.APP.keys() | made
    assert (app["app"], app["directory"], app["virtualenv"], app["user"]) == (
        "mysite",
        "/srv/mysite/current",
        "/srv/mysite/venv",
        "mysite",
    )
    assert app["source_kind"] == "git"
    (worker,) = app["workers"]
    assert (worker["program"], worker["log"]) == ("mysite-worker", "/var/log/mysite/worker.log")
    assert (app["beat"]["program"], app["beat"]["log"]) == ("mysite-beat", "/var/log/mysite/beat.log")
    assert app["verify"] == {"task": None, "args": [], "kwargs": {}, "timeout": 60}


def test_manage_below_the_top_of_the_code():
    app = apps.describe({"name": "mysite", "subfolder": "./backend/", "programs": [{"name": "web", "command": "x"}]})
    assert (app["checkout"], app["directory"]) == ("/srv/mysite", "/srv/mysite/backend")
    assert app["virtualenv"] == "/srv/mysite/venv"
    assert app["programs"][0]["directory"] == "/srv/mysite/backend"


def test_the_given_description_is_left_alone():
    given = {"name": "mysite", "workers": [{"queues": ["a"]}]}
    apps.describe(given)["workers"][0]["queues"].append("b")
    assert given == {"name": "mysite", "workers": [{"queues": ["a"]}]}


def test_defaults_are_not_shared_between_apps():
    apps.describe({"name": "one"})["packages"].append("git")
    assert apps.describe({"name": "two"})["packages"] == []


def test_nothing_behind_a_key_means_its_default():
    app = apps.describe(dict.fromkeys(apps.APP) | {"name": "mysite"})
    assert app == apps.describe({"name": "mysite"})


def test_a_dash_in_the_name_is_an_underscore_in_the_module():
    assert apps.describe({"name": "my-site"})["app"] == "my_site"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("https://git.example/me/mysite", "git"),
        ("ssh://git@git.example/me/mysite.git", "git"),
        ("git@git.example:me/mysite.git", "git"),
        ("file:///srv/git/mysite.git", "git"),
        ("/home/me/mysite", "folder"),
        (None, None),
    ],
)
def test_kinds_of_source(source, kind):
    assert apps.describe({"name": "mysite", "source": source})["source_kind"] == kind


def test_the_django_extensions():
    app = apps.describe({"name": "mysite", "beat": {"scheduler": "django"}, "results": "django"})
    assert app["beat"]["scheduler"] == "django_celery_beat.schedulers:DatabaseScheduler"
    assert list(app["extensions"]) == ["django_celery_beat", "django_celery_results"]
    for part in (*app["workers"], app["beat"], {"environment": {}}):
        assert apps.environment(app, part)["CELERY_RESULT_BACKEND"] == "django-db"

    plain = apps.describe({"name": "mysite", "beat": {"scheduler": "celery.beat:PersistentScheduler"}})
    assert plain["extensions"] == {}
    assert "CELERY_RESULT_BACKEND" not in apps.environment(plain, plain["beat"])
    named = {"name": "mysite", "beat": {"scheduler": "django_celery_beat.schedulers:DatabaseScheduler"}}
    assert list(apps.describe(named)["extensions"]) == ["django_celery_beat"]
    assert apps.describe({"name": "mysite", "beat": False})["extensions"] == {}


def test_results_elsewhere():
    refused({"name": "mysite", "results": "rpc"}, "results of app mysite is 'rpc'", "CELERY_RESULT_BACKEND")
    both = {"CELERY_RESULT_BACKEND": "rpc://"}
    refused({"name": "mysite", "results": "django", "environment": both}, "results of app mysite", "one of the two")


ELEPHANT = {"elephant": {"port": "5433", "password": "p/w"}}


def test_a_database_is_in_the_environment_of_all_programs():
    web = {"name": "web", "command": "gunicorn", "environment": {"DB": "gis://<<postgresql.user>>:<<postgresql.port>>"}}
    (app,) = apps.describe_all([{"name": "elephant", "database": "postgresql", "programs": [web]}])
    (app,) = apps.with_databases([app], ELEPHANT)
    for part in (*app["workers"], app["beat"], *app["programs"], {"environment": {}}):
        found = apps.environment(app, part)
        assert found["DATABASE_URL"] == "postgresql://elephant:p%2Fw@127.0.0.1:5433/elephant"
        assert [found[f"PG{end}"] for end in ("HOST", "PORT", "DATABASE", "USER")] == [
            *("127.0.0.1", "5433"),
            *("elephant", "elephant"),
        ]
        assert found["PGPASSWORD"] == "p/w"
    assert apps.environment(app, app["programs"][0])["DB"] == "gis://elephant:5433"
    assert apps.with_databases(apps.describe_all([{"name": "plain"}]), ELEPHANT)[0]["environment"] == {}


def test_what_an_app_says_of_its_database_wins():
    mine = {"PGHOST": "/run/postgresql", "DJANGO_DB": "<<postgresql.password>>"}
    (app,) = apps.describe_all([{"name": "elephant", "database": "postgresql", "environment": mine}])
    (app,) = apps.with_databases([app], ELEPHANT)
    assert app["environment"].items() >= {"PGHOST": "/run/postgresql", "DJANGO_DB": "p/w", "PGPORT": "5433"}.items()


def test_databases_that_cannot_be():
    refused({"name": "mysite", "database": "mysql"}, "database of app mysite is 'mysql'", "DATABASE_URL")
    both = {"DATABASE_URL": "postgres://elsewhere/db"}
    refused(
        {"name": "mysite", "database": "postgresql", "environment": both}, "database of app mysite", "one of the two"
    )
    for name in ("template1", "pg_site"):
        refused({"name": name, "database": "postgresql"}, f"name of app {name} is", "rename")
    (app,) = apps.describe_all([{"name": "mysite", "environment": {"PW": "<<postgresql.password>>"}}])
    with pytest.raises(Failure, match=r"PW in environment of app mysite says .*database: postgresql"):
        apps.with_databases([app], {})
    one = [{"name": "mysite", "database": "postgresql"}]
    assert apps.database_problems({"a": one, "b": [{"name": "other"}]}) == []
    (problem,) = apps.database_problems({"a": one, "b": one})
    assert "on a and b" in problem


def test_further_workers_have_a_name():
    app = apps.describe({"name": "mysite", "workers": [{}, {"name": "slow", "concurrency": "1"}]})
    assert [worker["program"] for worker in app["workers"]] == ["mysite-worker", "mysite-worker-slow"]
    assert app["workers"][1]["concurrency"] == 1


def test_grace_is_more_than_the_longest_task():
    def grace(**worker):
        return apps.describe({"name": "mysite", "workers": [worker]})["workers"][0]["stopwaitsecs"]

    assert grace() == 300
    assert grace(time_limit=600) == 630
    assert grace(time_limit=600, stopwaitsecs=10) == 10


def test_a_task_may_not_outlive_the_visibility_timeout():
    app = apps.describe({"name": "mysite", "workers": [{"time_limit": 7200}, {"name": "quick", "time_limit": 60}]})
    assert app["workers"][0]["settings"]["broker_transport_options"] == {"visibility_timeout": 7260}
    assert "broker_transport_options" not in app["workers"][1]["settings"]


def test_settings_of_the_app_and_of_the_worker_win():
    app = apps.describe(
        {
            "name": "mysite",
            "settings": {"task_acks_late": False, "worker_eta_task_limit": 5},
            "workers": [{"settings": {"worker_eta_task_limit": 7}}],
        }
    )
    settings = app["workers"][0]["settings"]
    assert (settings["task_acks_late"], settings["worker_eta_task_limit"]) == (False, 7)
    assert settings["task_reject_on_worker_lost"] is True


def test_beat_switched_off():
    assert apps.describe({"name": "mysite", "beat": False})["beat"] is None
    assert apps.describe({"name": "mysite", "beat": True})["beat"]["scheduler"] is None


def test_flower_is_off_until_it_is_asked_for():
    off = apps.describe({"name": "mysite"})
    assert (off["flower"], off["tools"], off["workers"][0]["events"]) == (None, [], False)
    on = apps.describe({"name": "mysite", "flower": True})
    assert (on["tools"], on["workers"][0]["events"]) == ([apps.FLOWER_REQUIREMENT], True)
    assert on["flower"] == apps.FLOWER | {
        "port": 5555,
        "environment": {"FLOWER_USER": "flower", "FLOWER_PASSWORD_FILE": "/etc/celeryhost/mysite-flower.password"},
        "program": "mysite-flower",
        "log": "/var/log/mysite/flower.log",
        "captured": "/var/log/celeryhost/mysite/flower.log",
    }
    assert apps.describe({"name": "mysite", "flower": {}}) == on


def test_each_flower_has_a_port_of_its_own():
    given = [{"name": name, "broker_database": n, "flower": True} for n, name in enumerate("abc")]
    given[1]["flower"] = {"port": 5556}
    assert [app["flower"]["port"] for app in apps.describe_all(given)] == [5555, 5556, 5557]
    given[1]["flower"] = {"port": 5555}
    with pytest.raises(Failure, match="port of the Flower of two apps is 5555"):
        apps.describe_all(given)


def test_a_port_for_flower_that_something_else_has():
    described = [apps.describe({"name": "mysite", "flower": True}), apps.describe({"name": "other"})]
    (problem,) = apps.flower_problems(described, {"5555": "nginx", "80": "nginx"}, "board")
    assert problem.startswith("port of flower of app mysite is 5555, which is taken on board by nginx; ")
    assert apps.flower_problems(described, {"5555": "celery"}, "board") == []
    assert apps.flower_problems(described, {}, "board") == []


def test_verify_by_a_tasks_name():
    verify = apps.describe({"name": "mysite", "verify": "app.tasks.check"})["verify"]
    assert verify == {"task": "app.tasks.check", "args": [], "kwargs": {}, "timeout": 60}
    assert apps.describe({"name": "mysite", "verify": False})["verify"] is None


def test_a_programs_command_is_looked_up_in_the_virtualenv():
    app = apps.describe(
        {
            "name": "mysite",
            "programs": [
                {"name": "web", "command": "gunicorn mysite.wsgi -b '127.0.0.1:8000'"},
                {"name": "node", "command": ["/usr/bin/node", "a b.js"]},
            ],
        }
    )
    assert app["programs"][0]["command"] == [
        "/srv/mysite/venv/bin/gunicorn",
        "mysite.wsgi",
        "-b",
        "127.0.0.1:8000",
    ]
    assert app["programs"][1]["command"] == ["/usr/bin/node", "a b.js"]


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("mysite", ["celery_apps", "'mysite'"]),
        ({}, ["name", "None"]),
        ({"name": "My Site"}, ["'My Site'"]),
        ({"name": "a:b"}, ["'a:b'"]),
        ({"name": "a" * 25}, ["'aaaa"]),
        ({"name": "mysite", "version": "--upload-pack=touch x"}, ["version of app mysite", "'--upload-pack=touch x'"]),
        ({"name": "mysite", "version": "+main:other"}, ["version", "a branch, tag or commit"]),
        ({"name": "mysite", "source": "-oProxyCommand@x:y"}, ["source", "'-oProxyCommand@x:y'"]),
        ({"name": "mysite", "worker": []}, ["'worker'", "mysite", "did you mean 'workers'"]),
        ({"name": "mysite", "zzz": 1}, ["'zzz'", "known are"]),
        ({"name": "mysite", "workers": {"concurrency": 2}}, ["workers", "a list"]),
        ({"name": "mysite", "workers": [{"concurency": 2}]}, ["'concurency'", "'concurrency'"]),
        ({"name": "mysite", "workers": [{"concurrency": 0}]}, ["concurrency of workers 1", "0"]),
        ({"name": "mysite", "workers": [{"concurrency": True}]}, ["concurrency", "True"]),
        ({"name": "mysite", "workers": [{"loglevel": "LOUD"}]}, ["loglevel", "'LOUD'", "INFO"]),
        ({"name": "mysite", "workers": [{}, {}]}, ["'mysite-worker'"]),
        ({"name": "mysite", "workers": [{"queues": ["a,b"]}]}, ["queues", "'a,b'"]),
        ({"name": "mysite", "beat": {"embedded": True}}, ["embedded", "development: true"]),
        ({"name": "mysite", "beat": {"embedded": True}, "development": True, "workers": []}, ["embedded"]),
        ({"name": "mysite", "beat": "on"}, ["beat", "'on'"]),
        ({"name": "mysite", "user": "root"}, ["user", "'root'"]),
        ({"name": "mysite", "user": "me and you"}, ["user", "'me and you'"]),
        ({"name": "mysite", "directory": "srv"}, ["directory", "'srv'", "begin it with /"]),
        ({"name": "mysite", "subfolder": "/srv"}, ["subfolder", "'/srv'", "below `directory`"]),
        ({"name": "mysite", "subfolder": "a/../../b"}, ["subfolder", "'../b'", "below `directory`"]),
        ({"name": "mysite", "source": "../mysite"}, ["source", "'../mysite'", "inventory_dir"]),
        ({"name": "mysite", "app": "my-site"}, ["app of app mysite", "'my-site'"]),
        ({"name": "mysite", "packages": ["lib pq"]}, ["packages", "'lib pq'"]),
        ({"name": "mysite", "environment": {"A-B": "x"}}, ["environment", "'A-B'"]),
        ({"name": "mysite", "environment": {"DEBUG": True}}, ["DEBUG", "quotes"]),
        ({"name": "mysite", "environment": {"HOME": "/"}}, ["HOME"]),
        ({"name": "mysite", "settings": {"timezone": "UTC"}}, ["settings", "'timezone'"]),
        ({"name": "mysite", "settings": {"result_backend": "x"}}, ["CELERY_RESULT_BACKEND", "environment"]),
        ({"name": "mysite", "programs": [{"name": "beat", "command": "x"}]}, ["'beat'"]),
        ({"name": "mysite", "programs": [{"name": "worker-x", "command": "x"}]}, ["'worker-x'"]),
        ({"name": "mysite", "programs": [{"name": "web"}]}, ["command of programs web"]),
        ({"name": "mysite", "programs": [{"name": "web", "command": "a 'b"}]}, ["command", "quot"]),
        ({"name": "mysite", "requirements": True}, ["requirements", "True"]),
        ({"name": "mysite", "flower": "on"}, ["flower of app mysite", "'on'"]),
        ({"name": "mysite", "flower": {"prot": 80}}, ["'prot'", "did you mean 'port'"]),
        ({"name": "mysite", "flower": {"port": 80}}, ["port of flower of app mysite", "80", "from 1024 to 65535"]),
        ({"name": "mysite", "flower": {"memory": 10}}, ["memory of flower", "10"]),
        ({"name": "mysite", "flower": True, "programs": [{"name": "flower", "command": "x"}]}, ["'mysite-flower'"]),
    ],
)
def test_refused(app, said):
    refused(app, *said)


@pytest.mark.parametrize("secret", ["two\nlines", "bell\x07"])
def test_a_refused_variable_does_not_show_its_value(secret):
    with pytest.raises(Failure) as caught:
        apps.describe({"name": "mysite", "environment": {"TOKEN": secret}})
    assert "TOKEN" in str(caught.value)
    assert secret[:3] not in str(caught.value)


def test_a_refused_url_does_not_show_its_password():
    with pytest.raises(Failure) as caught:
        apps.describe({"name": "mysite", "source": "https://me:hunter2@git.example/me/mysite"})
    assert "hunter2" not in str(caught.value)


def test_apps_may_not_share_a_place():
    with pytest.raises(Failure, match="directory of two apps is '/srv/x'"):
        apps.describe_all([{"name": "a", "directory": "/srv/x"}, {"name": "b", "directory": "/srv/x"}])
    with pytest.raises(Failure, match="program of two apps is 'a-worker-b'"):
        second = {"name": "a-worker", "programs": [{"name": "b", "command": "x"}], "broker_database": 1}
        apps.describe_all([{"name": "a", "workers": [{"name": "b"}]}, second])
    with pytest.raises(Failure, match="celery_apps"):
        apps.describe_all({"name": "a"})


def test_apps_may_not_share_a_queue():
    with pytest.raises(Failure, match=r"apps a and b both read queue 'celery'.*broker_database: 1 in b"):
        apps.describe_all([{"name": "a"}, {"name": "b"}])
    apps.describe_all([{"name": "a"}, {"name": "b", "broker_database": 1}])
    apps.describe_all([{"name": "a"}, {"name": "b", "workers": [{"queues": ["b"]}]}])
    apps.describe_all([{"name": "a"}, {"name": "b", "environment": {"CELERY_BROKER_URL": "redis://elsewhere"}}])


def test_the_brokers_url_has_the_apps_database():
    app = apps.describe({"name": "mysite", "broker_database": 3})
    url = apps.environment(app, app["beat"], "redis://:p%2Fw@h:6379/0")["CELERY_BROKER_URL"]
    assert url == "redis://:p%2Fw@h:6379/3"


def test_a_host_runs_only_its_part():
    (app,) = apps.describe_all([{"name": "mysite", "programs": [{"name": "web", "command": "x"}]}], workers=False)
    assert app["workers"] == app["programs"] == []
    assert app["beat"]
    (app,) = apps.describe_all([{"name": "mysite", "flower": True}], beat=False, flower=False)
    assert app["workers"][0]["events"]
    assert app["beat"] is app["flower"] is None
    assert app["tools"] == []


def test_environment_of_a_program():
    app = apps.describe(
        {"name": "mysite", "environment": {"A": 1, "B": "app"}, "workers": [{"environment": {"B": "worker"}}]}
    )
    found = apps.environment(app, app["workers"][0], "redis://localhost", "r1")
    assert found["PATH"].startswith("/srv/mysite/venv/bin:")
    assert (found["A"], found["B"], found["HOME"]) == ("1", "worker", "/var/lib/mysite")
    assert (found["CELERY_BROKER_URL"], found["CELERYHOST_RELEASE"]) == ("redis://localhost", "r1")
    assert "CELERYHOST_RELEASE" not in apps.environment(app, app["beat"])


@pytest.mark.parametrize("value", ["both ' and \"", "'quoted'", 'at the end"', "two\nlines"])
def test_what_a_supervisor_file_cannot_hold(value):
    with pytest.raises(Failure) as caught:
        apps.supervisor_environment({"TOKEN": value})
    assert "TOKEN" in str(caught.value)
    assert value not in str(caught.value)


def test_lines_for_sh():
    import subprocess

    variables = {"A": 'it\'s $HOME `x` "y" # ; \\ %', "B": "é"}
    script = f'{apps.shell_environment(variables)}printf \'%s|%s\' "$A" "$B"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == (
        'it\'s $HOME `x` "y" # ; \\ %|é'
    )


def test_one_host_has_the_beat():
    both = {"one": [{"name": "mysite"}], "two": [{"name": "mysite"}]}
    (problem,) = apps.beat_problems(both)
    assert "beat of app mysite is on one and two" in problem
    assert "celery_beat" in problem
    assert apps.beat_problems({"one": [{"name": "mysite"}], "two": [{"name": "mysite", "beat": False}]}) == []
    assert apps.beat_problems({"one": [{"name": "mysite"}], "two": [{"name": "other"}]}) == []


def test_places():
    described = [apps.describe({"name": "mysite", "source": "/x"}), apps.describe({"name": "other", "user": "me"})]
    folders = apps.code_places(described, {"mysite": "mysite", "other": "users"})
    owned = {"owner": "mysite", "group": "mysite", "mode": "0750"}
    assert folders["/var/lib/mysite"] == owned
    assert folders["/srv/mysite"] == owned | {"made": True}
    assert folders["/var/lib/other"]["group"] == "users"
    assert "/srv/other" not in folders  # the code is there already, and is not ours
    logs = apps.log_places(described)
    theirs = {"owner": "me", "group": "supervisor", "mode": "2750"}
    assert logs["folders"]["/var/log/other"] == theirs
    roots = {"owner": "root", "group": "supervisor", "mode": "2750"}
    assert logs["folders"]["/var/log/celeryhost"] == logs["folders"]["/var/log/celeryhost/other"] == roots
    assert logs["folders"]["/var/log/celeryhost/.members"] == roots | {"mode": "3770"}
    assert logs["files"]["/var/log/mysite/beat.log"] == {"owner": "mysite", "group": "supervisor", "mode": "0640"}


def test_the_environment_file_is_the_groups_to_read():
    (app,) = apps.describe_all([{"name": "mysite", "environment": {"A": "b c"}}])
    found = apps.environment_files([app], {"mysite": "users"}, "redis://:x@h")
    assert found["files"] == {"/etc/celeryhost/mysite.env": {"group": "users", "mode": "0640"}}
    lines = found["secrets"]["/etc/celeryhost/mysite.env"].splitlines()
    assert "A='b c'" in lines
    assert "CELERY_BROKER_URL=redis://:x@h" in lines


def test_the_projects_transport_options_are_kept():
    (app,) = apps.describe_all([{"name": "mysite", "workers": [{"time_limit": 7200}, {"name": "quick"}]}])
    own = {"global_keyprefix": "x", "visibility_timeout": 5}
    (found,) = apps.merged([app], [{"transport_options": own}])
    slow, quick = (worker["settings"] for worker in found["workers"])
    assert slow["broker_transport_options"] == {"global_keyprefix": "x", "visibility_timeout": 7260}
    assert "broker_transport_options" not in quick


def test_a_release_is_code_and_requirements():
    described = [apps.describe({"name": "one"}), apps.describe({"name": "two"})]
    code, environments = [{"revision": "a" * 40}, {"skipped": True}], [{"revision": "b"}, {"revision": "c"}]
    assert apps.releases(described, code, environments) == {"one": "aaaaaaaaaaaa-b", "two": "c"}


def test_proof():
    described = [apps.describe(app) for app in ({"name": "one"}, {"name": "two"}, {"name": "three", "beat": False})]
    ran = '{"task": "app.tasks.sum", "id": "x", "seconds": 3.04, "result": 5, "remark": null}'
    assert apps.proof(described, {"one": {"stdout": ran}}, {"one": "fired"}) == [
        "one: task app.tasks.sum, 3.0 s: returned 5",
        "one: beat: fired",
        "two: beat: nothing was due yet",
    ]
