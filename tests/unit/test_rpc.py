"""The hand-written XML-RPC, checked against the standard library's."""

import xmlrpc.client

import pytest
from celeryhost.errors import DOWN, Failure
from celeryhost.supervisor import rpc

VALUES = [
    "",
    "plain",
    "a <b> & 'c' \"d\" é 日本",
    " spaces kept ",
    "two\nlines",
    0,
    -7,
    True,
    False,
    [],
    [[], [1, "x", [True]]],
    {},
    {"name": "a:b", "state": 20, "nested": {"list": [{"x": ""}]}},
]


@pytest.mark.parametrize("value", VALUES)
def test_requests_are_read_by_the_standard_library(value):
    params, method = xmlrpc.client.loads(rpc._request("supervisor.m", [value, "end"]))
    assert method == "supervisor.m"
    assert params == (value, "end")


@pytest.mark.parametrize("value", VALUES)
def test_answers_of_the_standard_library_are_read(value):
    body = xmlrpc.client.dumps((value,), methodresponse=True).encode()
    assert rpc._decode(body, "unix:///x") == value


def test_an_untyped_value_is_a_string():
    body = b"<methodResponse><params><param><value>bare</value></param></params></methodResponse>"
    assert rpc._decode(body, "unix:///x") == "bare"


def test_a_fault_keeps_its_code_and_text():
    fault = rpc._decode(xmlrpc.client.dumps(xmlrpc.client.Fault(10, "BAD_NAME: x")).encode(), "unix:///x")
    assert isinstance(fault, rpc.Fault)
    assert (fault.code, fault.text) == (10, "BAD_NAME: x")


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"<methodResponse>", b"<value>\x1b</value>"])
def test_anything_else_is_one_clear_failure(body):
    with pytest.raises(Failure, match=r"unix:///x is no XML-RPC") as failed:
        rpc._decode(body, "unix:///x")
    assert failed.value.code == DOWN
