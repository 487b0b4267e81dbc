"""What MySQL or MariaDB would not index for django-celery-beat and django-celery-results. Runs in the project's Python.

A column in an index may have 3072 bytes in tables of row format DYNAMIC, the default since MariaDB 10.2 and MySQL 5.7,
and 767 in those of COMPACT and REDUNDANT, with 4 bytes a character of utf8mb4. Then `migrate` ends half way, and what
it has made stays: MySQL has no transactions for tables. Seen with MariaDB 10.11, django-celery-beat 2.9 and
django-celery-results 2.6: DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH = 191 shortens task_id, group_id and task_name, but
neither periodic_task_name nor the name of django-celery-beat's entries.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

EXTENSIONS = ("django_celery_beat", "django_celery_results")
SHORT = ("COMPACT", "REDUNDANT")
LIMIT = 767  # bytes, in tables of these row formats
SYMPTOM = f"(1709, 'Index column size too large. The maximum column size is {LIMIT} bytes')"


def too_long() -> dict[str, Any] | None:
    """The longest column that is to be indexed and can't be: {"column", "bytes", "format", "fix"}; else None."""
    import django
    from django.apps import apps

    django.setup()
    models = [
        model for name in EXTENSIONS if apps.is_installed(name) for model in apps.get_app_config(name).get_models()
    ]
    return max((found for model in models for found in columns(model)), key=lambda found: found["bytes"], default=None)


def columns(model: Any) -> Iterator[dict[str, Any]]:
    """Each column of a model that is to be indexed, is not yet, and is too long for its table."""
    from django.db import connections, router

    connection, table = connections[router.db_for_write(model)], model._meta.db_table
    if connection.vendor != "mysql":
        return
    with connection.cursor() as cursor:
        there = row_format(cursor, table)
        shape = there or default_format(cursor)
        if shape not in SHORT:
            return
        known = connection.introspection.get_constraints(cursor, table) if there else {}
        indexed = {column for index in known.values() if index["index"] for column in index["columns"]}
        cursor.execute(
            "SELECT maxlen FROM information_schema.character_sets WHERE character_set_name = @@character_set_database"
        )
        width = cursor.fetchone()[0]
    wanted = {name for index in model._meta.indexes for name in index.fields}
    for field in model._meta.local_fields:
        size = (field.max_length or 0) * width
        if (field.unique or field.db_index or field.name in wanted) and field.column not in indexed and size > LIMIT:
            fix = (
                f"ALTER TABLE {table} ROW_FORMAT=DYNAMIC" if there else "set innodb_default_row_format = dynamic on it"
            )
            yield {"column": f"{table}.{field.column}", "bytes": size, "format": shape, "fix": fix}


def row_format(cursor: Any, table: str) -> str | None:
    """Of a table, in capitals; None when there is no such table."""
    cursor.execute(
        "SELECT row_format FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s", [table]
    )
    row = cursor.fetchone()
    return row and str(row[0]).upper()


def default_format(cursor: Any) -> str:
    """Of a new table; "" where it is not InnoDB's."""
    cursor.execute("SELECT @@default_storage_engine, @@innodb_default_row_format")
    engine, shape = cursor.fetchone()
    return str(shape).upper() if engine.upper() == "INNODB" else ""


def cause(found: dict[str, Any]) -> str:
    """Why an index cannot be made, from what `too_long` has found."""
    return (
        f"{found['column']} takes {found['bytes']} bytes in an index, and the database makes {found['format']} tables"
    )


def main() -> None:
    print("\n" + json.dumps(too_long()))
