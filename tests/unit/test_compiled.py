"""Templates that are compiled once and used by other processes."""

from __future__ import annotations

import os
import subprocess
import sys

import jinja2
import pytest
from celeryhost.controller.compiled import kept

HELLO = "hello {{ name }}{% if name %}!{% endif %}\n"


class Environment(jinja2.Environment):
    """As Ansible's: nothing is evaluated when a template is compiled."""

    def __init__(self, **settings):
        super().__init__(optimized=False, finalize=jinja2.pass_context(lambda _, value: value), **settings)


def render(path, text=HELLO, release="1", environment=Environment, **settings):
    with kept(str(path), release):
        return environment(**settings).from_string(text).render(name="you")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "look.compiled"


@pytest.fixture
def compiled(monkeypatch):
    """The texts that Jinja compiles, in order."""
    texts = []
    compile_anew = jinja2.Environment.compile

    def compile_and_note(self, source, *args):
        texts.append(source)
        return compile_anew(self, source, *args)

    monkeypatch.setattr(jinja2.Environment, "compile", compile_and_note)
    return texts


def test_second_process_compiles_nothing(path, compiled):
    assert render(path) == "hello you!"
    assert compiled == [HELLO]
    script = (
        "import jinja2, sys; from test_compiled import HELLO, render\n"
        "jinja2.Environment._generate = None\n"  # what turns a template into Python
        "print(render(sys.argv[1]))"
    )
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", script, path], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout == "hello you!\n"


def test_jinja_is_as_it_was_afterwards(path):
    before = jinja2.Environment.compile
    with pytest.raises(ZeroDivisionError), kept(str(path)):
        raise ZeroDivisionError
    assert jinja2.Environment.compile is before


def test_settings_have_codes_of_their_own(path):
    texts = [render(path, trim_blocks=trim, keep_trailing_newline=True) for trim in (False, True, False, True)]
    assert texts == ["hello you!\n", "hello you!", "hello you!\n", "hello you!"]


@pytest.mark.parametrize("text", ["{{ [1] | tick }}", "{{ [[1] | tick, name][0] }}"])
def test_what_is_evaluated_at_compile_time_is_not_kept(path, text):
    """As by ansible-core 2.17: the time would stand still."""
    ticks = iter(range(9))

    def environment():
        made = jinja2.Environment()
        made.filters["tick"] = lambda _: next(ticks)
        return made

    assert len({render(path, text, environment=environment) for _ in range(3)}) == 3


def test_another_release_compiles_anew(path, compiled):
    for release in ("1", "2", "2"):
        render(path, release=release)
    assert len(compiled) == 2


def test_backslashes_are_compiled_each_time(path, compiled):
    for _ in range(2):
        assert render(path, "{{ 'a\\tb' }}") == "a\tb"
    assert len(compiled) == 2


def test_wrong_template_fails_each_time(path):
    for _ in range(2):
        with pytest.raises(jinja2.TemplateSyntaxError, match="unexpected"):
            render(path, "{{ + }}")


@pytest.mark.parametrize("spoil", [b"", b"nonsense", b"i\x01\x00\x00\x00"])
def test_broken_file_is_made_anew(path, compiled, spoil):
    render(path)
    path.write_bytes(spoil)
    for _ in range(2):
        assert render(path) == "hello you!"
    assert len(compiled) == 2


def test_file_that_others_may_write_is_not_read(path, compiled):
    render(path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o666)
    render(path)
    assert len(compiled) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_folder_that_cannot_be_made_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("")
    assert render(tmp_path / "file" / "look.compiled") == "hello you!"
