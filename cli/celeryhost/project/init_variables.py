"""Which environment variables Django settings read without a default, by their syntax trees.

Known are os.environ, django-environ, environs, python-decouple, django-configurations, pydantic-settings, and functions
of the project itself that look up what they are given.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable

# What django-environ and environs read without being given a name, by method.
_NAMELESS = {"db": "DATABASE_URL", "db_url": "DATABASE_URL", "cache": "CACHE_URL", "cache_url": "CACHE_URL"}
_NAMELESS |= {"email": "EMAIL_URL", "email_url": "EMAIL_URL", "search_url": "SEARCH_URL", "channels": "CHANNELS_URL"}
# Of an entry of DATABASES: with None for its name, PostgreSQL takes the database of its own administration.
_DATABASE = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
# What celeryhost itself gives to programs, and what every process has.
_GIVEN = {"CELERY_BROKER_URL", "HOME", "LANG", "PATH", "PWD", "USER", "PYTHONPATH", "PYTHONUNBUFFERED"}


def required(trees: list[ast.Module], used_by_django: Iterable[str] = ("SECRET_KEY",)) -> tuple[list[str], list[str]]:
    """Names that are always read, and those read where a condition holds, both in the order in which they are.

    `used_by_django` are settings that must not be empty.
    """
    readers, environs = _readers(trees)
    with_default = {*_GIVEN, *_schema_defaults(trees, environs)}
    always: dict[str, None] = {}
    sometimes: dict[str, None] = {}
    for tree in trees:
        finder = _Finder(readers, environs, used_by_django)
        with contextlib.suppress(RecursionError):  # nested as no person writes
            finder.visit(tree)
        always |= dict.fromkeys(finder.found)
        sometimes |= dict.fromkeys(finder.sometimes)
        with_default |= finder.guarded
    return (
        [name for name in always if name not in with_default],
        [name for name in sometimes if name not in with_default and name not in always],
    )


def _called(node: ast.AST) -> str:
    """The last word of what a call calls."""
    function = node.func if isinstance(node, ast.Call) else None
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_environ(node: ast.AST | None) -> bool:
    return (getattr(node, "attr", None) or getattr(node, "id", None)) == "environ"


def _readers(trees: Iterable[ast.Module]) -> tuple[dict[str, int], set[str]]:
    """Functions that look up a name, by how many arguments they take before a default, and objects like Env()."""
    readers: dict[str, int] = {}
    environs: set[str] = set()
    for tree, node in ((each, node) for each in trees for node in ast.walk(each)):
        if isinstance(node, ast.ImportFrom) and node.module == "decouple":
            readers |= {alias.asname or alias.name: 1 for alias in node.names if alias.name == "config"}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if _called(node.value) in ("Env", "FileAwareEnv"):
                environs.add(node.targets[0].id)
                # name, cast of django-environ; of environs the second is a default.
                readers[node.targets[0].id] = 1 if _imports(tree, "environs") else 2
            elif _called(node.value) in ("Config", "AutoConfig"):
                readers[node.targets[0].id] = 1
        elif isinstance(node, ast.FunctionDef) and node.args.args:
            first = node.args.args[0].arg
            looks = [
                part.slice for part in ast.walk(node) if isinstance(part, ast.Subscript) and _is_environ(part.value)
            ]
            strict = not node.args.defaults or any(isinstance(part, ast.Raise) for part in ast.walk(node))
            if strict and any(isinstance(name, ast.Name) and name.id == first for name in looks):
                readers[node.name] = 1
    return readers, environs


def _imports(tree: ast.AST, module: str) -> bool:
    return any(
        getattr(node, "module", None) == module
        or (isinstance(node, ast.Import) and any(alias.name == module for alias in node.names))
        for node in ast.walk(tree)
    )


def _schema_defaults(trees: Iterable[ast.Module], environs: set[str]) -> set[str]:
    """The names that `Env(DEBUG=(bool, False))` has defaults for."""
    return {
        keyword.arg
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node) in ("Env", "FileAwareEnv")
        for keyword in node.keywords
        if keyword.arg and isinstance(keyword.value, ast.Tuple) and len(keyword.value.elts) > 1
    }


class _Finder(ast.NodeVisitor):
    """What one file reads, always or `sometimes`. A name that it tests, or whose absence it catches, is `guarded`."""

    def __init__(self, readers: dict[str, int], environs: set[str], used_by_django: Iterable[str]) -> None:
        self.readers, self.environs, self.used = readers, environs, used_by_django
        self.found: list[str] = []
        self.sometimes: list[str] = []
        self.guarded: set[str] = set()

    def visit_Try(self, node: ast.Try) -> None:
        raised = [name for handler in node.handlers for name in _names(handler.type)]
        raises = any(isinstance(part, ast.Raise) for handler in node.handlers for part in ast.walk(handler))
        if not raises and {"KeyError", "ImproperlyConfigured", "UndefinedValueError", "Exception", ""} & {*raised}:
            for part in [*node.orelse, *node.finalbody, *node.handlers]:
                self.visit(part)
        else:
            self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        for part in ast.walk(node.test):
            tested = isinstance(part, ast.Compare) and any(map(_is_environ, part.comparators)) and _text(part.left)
            if tested:
                self.guarded.add(tested)
            elif name := _looked_up(part):
                self.guarded.add(name)
        self.visit(node.test)
        always = len(self.found)
        for branch in [node.body, node.orelse]:
            for inner in branch if isinstance(branch, list) else [branch]:
                self.visit(inner)
        self.sometimes += self.found[always:]
        del self.found[always:]

    visit_IfExp = visit_If  # noqa: N815

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _is_environ(node.value) and (name := _text(node.slice)) and isinstance(node.ctx, ast.Load):
            self.found.append(name)
        self._optional(node.value)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._optional(node.value)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._optional(node.left)
        self._optional(node.right)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        target = getattr(node.targets[0], "id", "")
        if target in self.used:
            self._optional(node.value)
        if target == "DATABASES":
            self._database(node.value)
        if _called(node.value) == "SecretValue" or any(
            word.arg == "environ_required" and getattr(word.value, "value", False)
            for word in getattr(node.value, "keywords", ())
        ):
            self.found.append(f"DJANGO_{target}")
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if any(name == "BaseSettings" for base in node.bases for name in _names(base)):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and part.value is None]
            self.found += [field.target.id.upper() for field in fields if isinstance(field.target, ast.Name)]
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = _text(node.args[0]) if node.args else None
        plain = getattr(function, "id", "")
        of = getattr(getattr(function, "value", None), "id", None)
        if _called(node) == "setdefault" and _is_environ(getattr(function, "value", None)) and name:
            self.guarded.add(name)
        elif any(word.arg == "default" for word in node.keywords):
            pass
        elif name and len(node.args) <= self.readers.get(plain, 0):
            self.found.append(name)
        elif of in self.environs and not getattr(function, "attr", "").startswith(("read", "prefix")):
            if name and len(node.args) < 2:
                self.found.append(name)
            elif not node.args and _called(node) in _NAMELESS:
                self.found.append(_NAMELESS[_called(node)])
        if plain in ("int", "float", "json", "loads") or _called(node) == "loads":
            for argument in node.args[:1]:
                self._optional(argument)
        self.generic_visit(node)

    def _database(self, setting: ast.AST) -> None:
        for entry in ast.walk(setting):
            if isinstance(entry, ast.Dict):
                for key, value in zip(entry.keys, entry.values, strict=True):
                    if _text(key) in _DATABASE:
                        self._optional(value)

    def _optional(self, node: ast.AST) -> None:
        """Note os.getenv("X") and os.environ.get("X") without a default, where None would not do."""
        if isinstance(node, ast.Call) and (name := _looked_up(node)) and len(node.args) == 1 and not node.keywords:
            self.found.append(name)


def _looked_up(node: ast.AST) -> str | None:
    """X of os.getenv("X") and os.environ.get("X")."""
    if not isinstance(node, ast.Call):
        return None
    of = getattr(node.func, "value", None)
    if _called(node) == "getenv" or (_called(node) == "get" and _is_environ(of)):
        return _text(node.args[0]) if node.args else None
    return None


def _names(node: ast.AST | None) -> list[str]:
    """The words of an exception's or a base class's expression; an empty one for a bare `except:`."""
    if node is None:
        return [""]
    return [
        part.attr if isinstance(part, ast.Attribute) else part.id
        for part in ast.walk(node)
        if isinstance(part, (ast.Attribute, ast.Name))
    ]
