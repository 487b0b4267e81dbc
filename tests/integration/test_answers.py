"""A program in the place of an app's Python: what it answers is a line for a person, and hides nothing else."""

from __future__ import annotations

import json

import pytest

LIES = (
    *("", "[1,2]", "5", "null", '"x"', "{}", '{"error":"unknown"}', '{"error":[],"message":{}}', '{"error":{"a":1}}'),
    *("[" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, '{"error":"unknown","known":[5,null],"message":"m"}'),
    '{"error":"raised","message":"\\u001b]0;OWNED\\u0007 x\\u202e\\ud800"}',
    '{"task":"t","remark":5,"result":1e999,"seconds":"x"}',
    '{"task":"a\\u001b[2J","remark":null,"result":"\\u001b[2J","seconds":1e308}',
    '{"broker":5,"own":[],"beat":{"entries":"x"},"limits":7,"settings":null,"brought":"x","queues":5,"database":[]}',
    '{"broker":{"url":"redis://[::1","shown":5,"kombu":[]},"own":{},"beat":{"entries":[{}],"scheduler":5},'
    '"limits":{"seconds":"x","unlimited":{}},"entries":[[1]],"zone":5}',
    '{"entries":[{"name":5,"kind":[],"next":"x","last":"y","task":{},"fields":{}}],"zone":"\\u001b[2J","scheduler":{}}',
    '{"entries":[{"name":"x\\u001b[2J","kind":"interval","fields":{"seconds":"x"},"next":[["x"]]}],"zone":"No/Where"}',
    '{"entries":{},"now":"x"}',
    json.dumps({"error": "failed", "message": "A" * 3_000_000}),
)
COMMANDS = ("run app.add 1", "schedule", "schedule --json", "schedule run x", "doctor", "doctor --json")
HARMFUL = {*map(chr, range(9)), *map(chr, range(11, 32)), "\x7f", "\x9b", "\u202e"}


@pytest.fixture(scope="module")
def liar(shared_daemon):
    """Two apps whose Python says what is in a file."""
    said = shared_daemon.folder / "said"
    for app in ("one", "two"):
        place = shared_daemon.folder / app / "bin"
        place.mkdir(parents=True)
        (place / "python").write_text(f"#!/bin/sh\nexec cat {said}\n")
        (place / "celery").write_text(f"#!{place}/python\n")
        for file in place.iterdir():
            file.chmod(0o755)
        for kind in ("worker", "beat"):
            shared_daemon.program(f"{app}-{kind}", f"{place}/celery -A {app} {kind}", autostart="false")
    shared_daemon.start()

    def lie(text: str):
        said.write_text(text)
        return shared_daemon

    return lie


@pytest.mark.parametrize("lie", LIES, ids=lambda text: text[:30])
def test_what_makes_no_sense_is_said_in_a_line(liar, lie):
    daemon = liar(lie)
    for command in COMMANDS:
        done = daemon.run(*command.split())
        said = done.stdout + done.stderr
        assert "Traceback" not in said, (command, done.stderr[-2000:])
        assert not HARMFUL & {*said}, command
        assert len(said) < 100_000, command
        assert done.returncode or '"result"' in lie or "schedule" in command, (command, said)
        if command == "doctor":
            assert "one" in said
            assert "two" in said
            assert "redis" in said, "other checks are made"
