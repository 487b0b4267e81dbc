"""What the commands' own kinds of arguments share."""

from __future__ import annotations

import click


# Hosts have click 8.1, whose ParamType is not generic.
class Parameter(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """What an argument or the value of an option has to be."""
