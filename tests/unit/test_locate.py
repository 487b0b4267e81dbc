"""Finding supervisord as supervisorctl does: compared with Supervisor's own parser where it has a say."""

import pytest
from celeryhost.errors import DOWN, USAGE, Failure
from celeryhost.supervisor import locate
from supervisor.options import ClientOptions


def write(folder, text):
    path = folder / "supervisord.conf"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "[supervisorctl]\nserverurl=unix:///run/supervisor.sock\n",
        "[supervisorctl]\nserverurl = unix://%(here)s/s.sock ; here\nusername: ann\npassword=a%%b\n",
        "[program:x]\ncommand=x\nserverurl=http://wrong\n[supervisorctl] ; note\n; serverurl=http://no\nserverurl=http://h:1\n",
        "[supervisorctl]\nSERVERURL=http://127.0.0.1:9001\npassword=a;b#c\n\n[other]\nserverurl=http://no\n",
        "[supervisorctl]\nserverurl=unix://%(ENV_PLACE)s/s.sock\t# tab\nusername=a=b\n",
        "[supervisorctl]\n",
        "  [supervisorctl]\n    serverurl = unix://%(here)s/s.sock\n    username: ann\n",
        "[supervisorctl]\nserverurl = http://h:1\nusername:a=b\n  c\n",
        "[DEFAULT]\nusername=ann\n[supervisorctl]\nserverurl=http://h:1\n",
        "[supervisord]\nenvironment=A=%(ENV_NOWHERE)s\n  ,B=1\n[supervisorctl]\nserverurl : http://h:1 ; there\n",
    ],
)
def test_reads_what_supervisorctl_reads(tmp_path, monkeypatch, text):
    monkeypatch.setenv("PLACE", "/somewhere")
    path = write(tmp_path, text)
    theirs = ClientOptions()
    theirs.realize(["-c", path, "status"])
    ours = locate.find(config=path)
    assert (ours.url, ours.user, ours.password) == (theirs.serverurl, theirs.username, theirs.password)


def test_options_win_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv(locate.PASSWORD_VARIABLE, "from the environment")
    path = write(tmp_path, "[supervisorctl]\nserverurl=http://h:1\nusername=ann\npassword=file\n")
    assert locate.find(path, user="bob") == ("http://h:1", "bob", "from the environment", path)
    assert locate.find(url="http://other:2/").url == "http://other:2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[supervisorctl]\nserverurl=ftp://x\n", "ftp://x"),
        ("[supervisorctl]\nusername=50%\n", "write a plain % as %%"),
        ("[supervisorctl]\nusername=%(nothing)s\n", "nothing"),
    ],
)
def test_bad_values_name_the_file_and_the_fix(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(Failure) as failed:
        locate.find(path)
    assert failed.value.code == USAGE
    assert said in str(failed.value)
    assert path in str(failed.value)


def test_a_named_file_that_is_not_there():
    with pytest.raises(Failure, match=r"/nowhere/x\.conf: No such file") as failed:
        locate.find("/nowhere/x.conf")
    assert failed.value.code == USAGE


def test_a_folder_may_be_relative(tmp_path, monkeypatch):
    write(tmp_path, "[supervisord]\npidfile=%(here)s/s.pid\n[include]\nfiles =\n    conf.d/*.conf\n    more/*.ini\n")
    monkeypatch.chdir(tmp_path)
    assert locate.read_section("supervisord.conf", "supervisord", "pidfile") == {"pidfile": f"{tmp_path}/s.pid"}
    found = locate.read_section("supervisord.conf", "include", "files")
    assert found["files"].split() == ["conf.d/*.conf", "more/*.ini"]


def test_what_supervisord_refuses_is_named_without_its_words(tmp_path):
    with pytest.raises(Failure, match=r"supervisord\.conf: line 2 is no ") as failed:
        locate.find(write(tmp_path, "[supervisorctl]\nthe secret\n  of it\n"))
    assert failed.value.code == USAGE
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("root", [True, False])
def test_root_is_not_led_by_the_folder_it_stands_in(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr("sys.argv", ["celeryhost"])
    monkeypatch.setattr(locate, "SEARCH", locate.SEARCH[:2])
    path = write(tmp_path, "[supervisorctl]\nserverurl=http://h:1\n")
    if root:
        with pytest.raises(Failure, match=r"no supervisord\.conf here"):
            locate.default_config()
    else:
        assert locate.default_config() == path


def test_no_file_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "SEARCH", ("supervisord.conf", "etc/supervisord.conf"))
    with pytest.raises(Failure, match=r"no supervisord\.conf here") as failed:
        locate.find()
    assert failed.value.code == DOWN
