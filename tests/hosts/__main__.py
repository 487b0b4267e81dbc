"""python -m tests.hosts: make, use and remove throw-away Debian hosts by hand."""

from __future__ import annotations

import argparse
import json
import os
import sys

from . import Host, HostError, Tree, requirements


def main():
    arguments = _parser().parse_args()
    try:
        return arguments.run(arguments)
    except HostError as error:
        print(f"tests.hosts: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run, summary):
        sub = commands.add_parser(run.__name__.strip("_"), help=summary, description=summary)
        sub.set_defaults(run=run)
        return sub

    sub = command(up, "make and boot a host")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--suite", default="trixie")
    sub.add_argument("--arch", default="amd64")
    sub.add_argument("--init", choices=["systemd", "none"], default="systemd", help="what is process 1")
    sub.add_argument("--sync", action="store_true", help="fsync() for real")
    sub.add_argument("--json", action="store_true", help="print what an Ansible connection needs")
    sub = command(ssh, "run a command on a host, or open a shell")
    sub.add_argument("--user", default="root")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("command", nargs=argparse.REMAINDER)
    command(reboot, "shut down and boot again").add_argument("name", metavar="NAME")
    command(cut, "kill as a power cut does, and boot again").add_argument("name", metavar="NAME")
    sub = command(down, "remove hosts")
    sub.add_argument("names", nargs="*", metavar="NAME")
    sub.add_argument("--all", action="store_true")
    command(_list, "print name, address, suite, architecture, init and state of each host")
    sub = command(base, "build base trees, where missing")
    sub.add_argument("trees", nargs="+", metavar="SUITE-ARCH")
    command(check, "print why hosts cannot run on this machine").add_argument("arch", nargs="*")
    return parser


def up(options):
    host = Host.up(options.name, options.suite, options.arch, options.init, options.sync)
    connection = {"host": host.name, "address": host.address, "user": "root", "port": 22}
    print(json.dumps({**connection, "identity_file": str(host.key)}) if options.json else host.address)


def ssh(options):
    argv = Host(options.name).ssh_command(options.user)
    os.execvp(argv[0], argv + options.command)


def reboot(options):
    Host(options.name).reboot()


def cut(options):
    Host(options.name).power_cut()


def down(options):
    present = {host.name: host for host in Host.all()}
    for name in present if options.all else options.names:
        if name in present:
            present[name].down()


def _list(_):
    for host in Host.all():
        print(host.name, host.address, *list(host.meta.values())[1:], "up" if host.alive() else "dead")


def base(options):
    for tree in options.trees:
        print(Tree(*tree.split("-")).build())


def check(options):
    reasons = requirements(*options.arch)
    print("\n".join(reasons) or "ready")
    return 1 if reasons else 0


sys.exit(main())
