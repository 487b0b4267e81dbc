"""Entry point: the one place that turns an error into a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys

from .errors import FAILED, INTERRUPTED, Failure
from .plain import plain_lines


def main() -> None:
    """Run the command line and exit with its code (docs/exit-codes.md)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # what this terminal's encoding cannot show
    try:
        if sys.argv[1:] == ["watchdog"]:  # what supervisord starts; no command for people
            from .watchdog.listener import main as watch

            code = watch()
        else:
            answered = _plain_status(sys.argv[1:])
            code = _click() if answered is None else answered
        sys.stdout.flush()
    except Failure as failure:
        code = _say(failure, failure.code)
    except KeyboardInterrupt:
        code = _say("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader has seen enough: `celeryhost logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except _refusal() as fault:
        code = _say(f"supervisord refuses it: {fault}", FAILED)
    sys.exit(code)


def _refusal() -> type[Exception]:
    """What supervisord refuses, where no command expects that; imported only when something has been raised."""
    from .supervisor.rpc import Fault

    return Fault


# Of the options that all commands share (cli.py) those that `status` needs no click for.
_PLAIN = {
    **dict.fromkeys(("-c", "--configuration"), "config"),
    **dict.fromkeys(("-s", "--serverurl"), "url"),
    **dict.fromkeys(("-u", "--username"), "user"),
}


def _plain_status(args: list[str]) -> int | None:
    """Answer `[-c FILE] [-s URL] [-u USER] status [PROGRAM…] [--json]` without importing click, which takes longer than
    the answer; None for anything else."""
    where: dict[str, str] = {}
    while len(args) > 1 and args[0] in _PLAIN:
        where[_PLAIN[args[0]]] = args[1]
        args = args[2:]
    if args[:1] != ["status"] or any(arg.startswith("-") and arg not in ("--json", "--") for arg in args[1:]):
        return None
    from .commands.status_view import show

    names = [arg for arg in args[1:] if arg not in ("--json", "--")]
    return show(names, "--json" in args, **where)


def _click() -> int:
    try:
        import click
    except ImportError:
        import site  # the host's launcher runs without site-packages (-S) until something needs them

        site.main()
        try:
            import click
        except ImportError:
            raise Failure("click is missing", FAILED, "install it: apt-get install python3-click") from None

    from .cli import cli

    try:
        return cli.main(prog_name="celeryhost", standalone_mode=False) or 0
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "celeryhost"
        return _say(f"{error.format_message().rstrip('.')}; {command} --help says more", error.exit_code)


LONGEST = 20_000  # characters of a message: what others have said is in some


def _say(what: object, code: int) -> int:
    from .masking import hide_passwords

    sys.stdout.flush()
    print(plain_lines(hide_passwords(f"celeryhost: {what}"[:LONGEST])), file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
