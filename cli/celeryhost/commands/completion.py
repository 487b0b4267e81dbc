"""`celeryhost completion`: the script that makes a shell complete commands, options, programs and hosts."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from ..errors import OK, USAGE, Failure

VARIABLE = "_CELERYHOST_COMPLETE"  # click's name for it: a program's name in capitals
INSTALL = {
    "bash": "echo 'eval \"$(celeryhost completion bash)\"' >>~/.bashrc",
    "zsh": "echo 'eval \"$(celeryhost completion zsh)\"' >>~/.zshrc   # after compinit",
    "fish": "celeryhost completion fish >~/.config/fish/completions/celeryhost.fish",
}


@click.command()
@click.argument("shell", required=False, type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> int:
    """Print the completion script for bash, zsh or fish; without SHELL, for the one in use ($SHELL)."""
    shell = shell or os.path.basename(os.environ.get("SHELL", ""))
    if shell not in INSTALL:
        raise Failure(f"no completion for shell {shell!r}", USAGE, f"name one of {', '.join(INSTALL)}")
    root = ctx.find_root()
    found = get_completion_class(shell)
    assert found, "click knows those of INSTALL"
    script = found(root.command, {}, root.info_name or "celeryhost", VARIABLE).source()
    print(f"{script.strip()}\n# To keep it: {INSTALL[shell]}")
    return OK
