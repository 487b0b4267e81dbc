"""The files under templates/, rendered without Ansible and alike: `dev` and the tests use this.

Ansible's `template` lookup sets trim_blocks, and a template may use only Jinja2's own filters and those of `apps`, by
their names in the collection.
"""

from __future__ import annotations

from ..apps import FILTERS
from ..paths import COLLECTION

LOG_SIZE = "10M"  # where no role says another


def render(folder: str, name: str, **variables: object) -> str:
    """The text of template `name` in `folder`; an undefined variable raises jinja2.UndefinedError."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update({f"{COLLECTION}.{name}": function for name, function in FILTERS.items()})
    return environment.get_template(name).render(**{"machine_log_size": LOG_SIZE} | variables)
