"""Which places of a project are on the Redis that celeryhost provides, and what follows."""

from __future__ import annotations

import socket

import pytest
from celeryhost import apps
from celeryhost.celery import redis_places
from celeryhost.errors import Failure
from celeryhost.scripts import redis as redis_script

URL = "redis://:p%2Fw@127.0.0.1:6379/0"
ELSEWHERE = "redis://:p%2Fw@192.0.2.10:6379/0"


class Conf(dict):
    """Celery's, as far as it is asked."""

    prefix = "CELERY_"

    def first(self, *keys):
        return next((self[key] for key in keys if self.get(key)), None)


class App:
    backend_cls = None

    def __init__(self, **settings):
        self.conf = Conf(settings)


def given(url, provided=URL, here=True, description=None, **settings):
    """CELERY_RESULT_BACKEND of an app whose project says `url`."""
    found = redis_script.backend(App(result_backend=url, **settings))
    loaded = {"redis": redis_places.packed({"backend": found and redis_places.located(found), "settings": []})}
    described = apps.describe({"name": "mysite", **(description or {})})
    [app] = apps.merged([described], [loaded], provided, here)
    return apps.environment(app, app["beat"], provided).get("CELERY_RESULT_BACKEND")


@pytest.mark.parametrize(
    ("own", "database"),
    [
        ("redis://localhost:6379", "0"),
        ("redis://localhost", "0"),
        ("redis://", "0"),
        ("redis", "0"),
        ("redis://127.0.0.1:6379/5", "5"),
        ("redis://127.0.0.1/1", "1"),
        ("redis://[::1]:6379/2", "2"),
        ("redis://:@localhost:6379/3", "3"),
        ("redis://user@localhost:6379/3", "3"),
        ("rediss://localhost:6379/4?ssl_cert_reqs=none", "4"),
        ("REDIS://LOCALHOST/6", "6"),
        (f"redis://{socket.gethostname()}/7", "7"),
        ("redis://localhost/8?socket_timeout=5", "8?socket_timeout=5"),
    ],
)
def test_a_backend_without_the_password_gets_it(own, database):
    assert given(own) == f"redis://:p%2Fw@127.0.0.1:6379/{database}"


@pytest.mark.parametrize(
    "own",
    [
        None,
        "rpc://",
        "django-db",
        "db+sqlite:///results.sqlite3",
        "sentinel://localhost:26379",
        "redis+socket:///run/redis.sock",
        "redis://:secret@localhost:6379/0",
        "redis://localhost:6380/0",
        "redis://192.0.2.10:6379/0",
        "redis://localhost:port/0",
        "redis://localhost/zero",
        "mongodb://localhost:6379",
    ],
)
def test_another_is_left_alone(own):
    assert given(own) is None


def test_what_settings_of_their_own_say():
    assert given("redis", redis_host="localhost", redis_db=2) == "redis://:p%2Fw@127.0.0.1:6379/2"
    assert given("redis", redis_port=6380) is None
    assert given("redis://localhost", redis_password="secret") is None


def test_a_redis_elsewhere():
    assert given("redis://192.0.2.10/1", ELSEWHERE, here=False) == "redis://:p%2Fw@192.0.2.10:6379/1"
    assert given("redis://localhost/1", ELSEWHERE, here=False) is None
    assert given("redis://localhost/1", ELSEWHERE, here=True) == "redis://:p%2Fw@192.0.2.10:6379/1"


def test_one_without_a_password_is_as_the_project_says():
    assert given("redis://localhost:6379/1", "redis://127.0.0.1:6379/0") is None


def test_the_description_says_more():
    own = {"environment": {"CELERY_RESULT_BACKEND": "rpc://"}}
    assert given("redis://localhost/1", description=own) == "rpc://"
    assert given("redis://localhost/1", description={"results": "django"}) == "django-db"
    assert given("redis://localhost/1", description={"results": "redis"}) == "redis://:p%2Fw@127.0.0.1:6379/0"
    assert given(None, description={"results": "redis", "broker_database": 3}) == "redis://:p%2Fw@127.0.0.1:6379/3"


def test_a_name_that_nobody_knows(monkeypatch):
    """Docker Compose's; while DNS is away nothing moves here."""

    def says(number):
        def refuse(*_, **__):
            raise socket.gaierror(number, "no")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        return given("redis://redis:6379/1")

    assert says(socket.EAI_NONAME) == "redis://:p%2Fw@127.0.0.1:6379/1"
    assert says(socket.EAI_AGAIN) is None


def test_what_a_project_says_is_of_its_kind():
    place = {"name": "x", "host": "localhost", "port": "6379", "database": "0\n", "query": 1, "shown": "x"}
    assert redis_places.located(place)["database"] == 0
    with pytest.raises(ValueError):
        redis_places.located(place | {"database": "0?evil"})


def test_variables_say_redis_url():
    said = {"A": "redis://celeryhost.invalid/0", "B": "redis://celeryhost.invalid/2?x=1", "C": "plain"}
    app = apps.describe({"name": "mysite", "environment": said, "beat": {"environment": {"D": said["A"]}}})
    found = apps.environment(app, app["beat"], "amqp://", None, URL)
    assert found["A"] == found["D"] == URL
    assert found["B"] == "redis://:p%2Fw@127.0.0.1:6379/2?x=1"
    assert found["C"] == "plain"
    with pytest.raises(Failure, match="A in environment of app mysite says redis_url"):
        apps.environment(app, app["beat"], "amqp://")
    lines = apps.redis_problems([app], provided=False)
    assert [line.partition(" ")[0] for line in lines] == ["A", "B", "D"]
    assert apps.redis_problems([app], provided=True) == []


SETTINGS = {
    "CACHES": {
        "default": {"LOCATION": "redis://127.0.0.1:6379/1"},
        "two": {"LOCATION": ["redis://localhost:6379/2", "redis://:pw@localhost:6379/2"]},
        "locked": {"LOCATION": "redis://localhost:6379/3", "OPTIONS": {"PASSWORD": "x"}},
        "memory": {"LOCATION": "unique-snowflake"},
    },
    "CHANNEL_LAYERS": {"default": {"CONFIG": {"hosts": [("localhost", 6379)]}}},
    "RQ_QUEUES": {"default": {"HOST": "localhost", "PORT": 6379, "DB": 4}, "other": {"HOST": "db", "PORT": 5432}},
    "DATABASES": {"default": {"HOST": "localhost", "PORT": "5432"}},
}


def test_places_in_settings():
    found = [place for name, value in SETTINGS.items() for place in redis_script.walk(name, value)]
    found = [redis_places.located(place) for place in found]
    lines = redis_places.remarks("mysite", {"backend": None, "settings": found}, URL, True, False)
    named = [(line.split()[1], line.partition("REDIS_URL: ")[2]) for line in lines]
    assert named == [
        ("CACHES['default']['LOCATION']", '"{{ redis_urls[1] }}"}'),
        ("CACHES['two']['LOCATION'][0]", '"{{ redis_urls[2] }}"}'),
        ("CHANNEL_LAYERS['default']['CONFIG']['hosts'][0]", '"{{ redis_url }}"}'),
        ("RQ_QUEUES['default']", '"{{ redis_urls[4] }}"}'),
    ]
    flat = {"REDIS_HOST": "localhost", "REDIS_PORT": 6379, "CACHE_REDIS_HOST": "localhost", "CACHE_REDIS_PASSWORD": "x"}
    assert [place["name"] for name in flat for place in redis_script.of_host(name, flat)] == ["REDIS_HOST"]
