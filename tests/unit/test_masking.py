"""No value of an environment and no password leaves in words, whoever says them."""

import random

import pytest
from celeryhost.masking import hide_passwords
from celeryhost.supervisor.conffile import explain, hide, secrets
from supervisor.options import ServerOptions

GOOD = """[program:shop]
command=/bin/true -n a@%%h --url x
directory=/
umask=027
environment=
    CELERY_BROKER_URL="redis://:S3CRETpw@127.0.0.1/0",
    DISCOUNT="10%% of S3CRETd, S3CRETe",
    DB_PASSWORD="S3CRETdb"
startsecs=5
stdout_logfile=/tmp/shop.log
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:S3@h/0", "redis://:***@h/0"),
        ("redis://u:S3/S3@h:1/0?a=b", "redis://u:***@h:1/0?a=b"),
        ("amqp://u:S3@S3@h//", "amqp://u:***@h//"),
        (
            "git+https://S3@example.org/x.git and https://u:S3@h",
            "git+https://***@example.org/x.git and https://u:***@h",
        ),
        ("http://h:80/a, me@example.org", "http://h:80/a, me@example.org"),
    ],
)
def test_urls_keep_no_password_and_no_token(text, shown):
    assert hide_passwords(text) == shown


def test_a_token_is_a_secret_of_a_file():
    text = '[program:x]\ncommand=x --dsn https://TOKENTOKEN@example.org/1\nenvironment=A="b"\n'
    assert "TOKENTOKEN" in secrets(text)
    assert "TOKENTOKEN" not in hide(text)


def mutations(count: int):
    """Files as GOOD with a line lost, joined to its neighbour, doubled or with another letter in it."""
    dice = random.Random(15)
    for _ in range(count):
        text = GOOD
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(text))
            kind = dice.randrange(5)
            if kind == 0:
                text = text[:at] + dice.choice("%\n=\"',;# x\\:[") + text[at:]
            elif kind == 1:
                text = text[:at] + text[at + dice.randint(1, 3) :]
            else:
                lines = text.splitlines(keepends=True)
                at = dice.randrange(len(lines))
                lines[at] = {2: "", 3: lines[at].rstrip("\n"), 4: lines[at].lstrip()}[kind]
                text = "".join(lines)
        yield text


def test_no_word_of_supervisord_brings_a_value_of_the_environment(tmp_path):
    (tmp_path / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles = one.conf\n")
    refused = 0
    for text in mutations(400):
        (tmp_path / "one.conf").write_text(text)
        options = ServerOptions()
        options.configfile = options.here = str(tmp_path / "supervisord.conf")
        options.here = str(tmp_path)
        try:
            options.process_config(do_usage=False)
        except Exception as error:
            refused += 1
            said = str(explain(str(error), "one.conf"))
            assert "S3CRET" not in said, (text, str(error))
    assert refused > 50


@pytest.mark.parametrize(
    "said",
    [
        """umask: 0S3CRET",MORE="x\"""",
        """invalid literal for int() with base 10: '02"S3CRET",B="x"'""",
        """value 'TES3CRET"RM' is not a valid signal name""",
        """[group:all] names unknown program or fcgi-program ://:S3CRET@h/0\"""",
    ],
)
def test_a_value_that_has_run_into_another_option_is_not_told(said):
    told = str(explain(said, "one.conf", "umask"))
    assert "S3CRET" not in told
    assert "umask" in told or "programs" in told
    assert "02x" in str(explain("invalid literal for int() with base 10: '02x'", "one.conf", "umask"))
