"""Compiled templates, kept between processes.

Ansible runs each task of each host in a process of its own, which compiles every expression that the task evaluates;
that takes longer than to evaluate them. Jinja keeps only what it loads from files
(https://jinja.palletsprojects.com/en/stable/api/#bytecode-cache), not what Ansible gives it as text.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jinja2

from .. import cache

MOST = 2000  # templates; a run that changes nothing has about 200

# The settings of an environment that its code depends on; Ansible's `template` sets some of them.
SETTINGS = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix", "line_comment_prefix"),
    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"),
    *("is_async", "autoescape"),
)


@contextlib.contextmanager
def kept(path: str, *releases: str) -> Iterator[None]:
    """Within this, in this process, Jinja takes from the file `path` what was compiled before, and adds what is new.

    `releases`: of that which has a say in the code beside Jinja and Python.
    """
    compile_anew: Callable[..., Any] = jinja2.Environment.compile
    known = _read(path)
    used: dict[bytes, bytes] = {}
    base = (sys.version, jinja2.__version__, *releases)

    def compile_once(
        self: jinja2.Environment,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,
        defer_init: bool = False,
    ) -> Any:
        # Whether Ansible doubles a backslash depends on more than can be seen here.
        plain = isinstance(source, str) and not (name or filename or raw or "\\" in source)
        if not plain or _folds(self):
            return compile_anew(self, source, name, filename, raw, defer_init)
        kind = (type(self).__name__, self.code_generator_class.__name__, sorted(self.extensions))
        settings = [getattr(self, setting) for setting in SETTINGS]
        key = hashlib.sha256(repr((base, kind, settings, str(source))).encode()).digest()
        if key not in used:
            used[key] = known.get(key) or marshal.dumps(compile_anew(self, source))
        return marshal.loads(used[key])

    jinja2.Environment.compile = compile_once  # type: ignore[method-assign] # which is what this is for
    try:
        yield
    finally:
        jinja2.Environment.compile = compile_anew  # type: ignore[method-assign] # as it was
    if used.keys() - known.keys():
        cache.write(path, marshal.dumps(used if len(known) > MOST else known | used))


def _folds(environment: jinja2.Environment) -> bool:
    """Whether a filter with constant arguments, strftime or random, is evaluated when its template is compiled.

    Ansible's environment folds before ansible-core 2.19.
    """
    return environment.optimized or not hasattr(environment.finalize, "jinja_pass_arg")


def _read(path: str) -> dict[bytes, bytes]:
    try:
        return dict(marshal.loads(cache.read(path)))
    except (ValueError, EOFError, TypeError):
        return {}
