"""templates/supervisord.conf.j2, read back by Supervisor's own parser."""

from __future__ import annotations

import os

import pytest
from celeryhost.project.rendering import render
from celeryhost.supervisor import locate
from supervisor.options import ServerOptions


@pytest.fixture
def read(root, tmp_path):
    """What supervisord makes of the template with these variables."""

    def read(**variables):
        given = {
            "supervisor_conf_dir": str(tmp_path / "conf.d"),
            "supervisor_socket": str(tmp_path / "s.sock"),
            "supervisor_socket_owner": "",
            "supervisor_log_dir": str(tmp_path),
            "supervisor_pidfile": str(tmp_path / "pid"),
            "supervisor_minfds": 1024,
            "supervisor_web_address": "127.0.0.1:23233",
            "supervisor_web_user": "100%",
        }
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        (tmp_path / "conf.d" / "one.conf").write_text("[program:one]\ncommand=/bin/true\n")
        text = render(str(root / "templates"), "supervisord.conf.j2", **given | variables)
        (tmp_path / "supervisord.conf").write_text(text)
        options = ServerOptions()
        options.realize(["-c", str(tmp_path / "supervisord.conf")])
        assert not options.parse_warnings
        return options

    return read


def test_socket_is_for_its_group(read, tmp_path):
    (server,) = read(supervisor_socket_owner="root:daemon").server_configs
    assert (server["file"], server["chmod"]) == (str(tmp_path / "s.sock"), 0o770)
    assert server["chown"][0] == 0


def test_socket_of_whoever_runs_it(read):
    (server,) = read().server_configs
    assert server["chown"] == (-1, -1)


def test_supervisord_itself_serves_no_page(read):
    assert not [server for server in read().server_configs if "port" in server]


def test_programs_of_its_folder_are_read(read):
    assert [group.name for group in read().process_group_configs] == ["one"]


def test_minfds_only_when_more_are_needed(read, tmp_path):
    assert read().minfds == 1024
    assert "minfds =" not in (tmp_path / "supervisord.conf").read_text()
    assert read(supervisor_minfds=4096).minfds == 4096


def test_the_command_line_finds_the_socket(read, tmp_path):
    read()
    assert locate.find(os.fspath(tmp_path / "supervisord.conf")).url == f"unix://{tmp_path}/s.sock"
