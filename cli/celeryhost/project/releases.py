"""What a host notes of the releases of its apps: root's own files, so that no app can name what is to run.

A release is a folder of code that is never changed once it is there, and the virtual environment that it runs in. Of
one that was seen to work the entry of Supervisor and the environment file are kept, too: to go back is to put them in
their places again, which takes neither a network nor what describes the app.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import FAILED, UNKNOWN, Failure
from ..paths import RELEASES

LONGEST = 500  # characters of a reason
PREPARED, PROVEN, FAILED_STATE, ROLLED_BACK = "prepared", "proven", "failed", "rolled back"
_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{1,12}")


@dataclass
class Release:
    """One release of an app. Times are seconds since the epoch, `proven` that at which it was last seen to work."""

    id: str
    commit: str  # of a folder: the digest of its files
    code: str
    made: float
    version: str = ""
    by: str = ""
    origin: str = ""
    virtualenv: str = ""
    state: str = PREPARED
    proven: float = 0.0
    reason: str = ""  # why it has failed
    built: str = ""  # the digest of the commands that it was built with
    entry: str = ""  # the file of Supervisor that its programs come from
    owner: str = ""
    migrated: list[str] = field(default_factory=list)  # what was applied to the database for it
    verify: list[str] = field(default_factory=list)  # the command that proves it


@dataclass
class Record:
    """The releases of `app`, the oldest first; `current` is the id of the one that was last seen to run."""

    app: str
    current: str = ""
    releases: list[Release] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)  # paths in the code that are links to what outlives it

    def running(self) -> Release | None:
        return self.of_id(self.current)

    def of_id(self, name: str) -> Release | None:
        return next((release for release in self.releases if release.id == name), None)

    def of_commit(self, commit: str) -> Release | None:
        """The newest release of a commit whose code is there."""
        found = (release for release in reversed(self.releases) if release.commit == commit)
        return next((release for release in found if os.path.isdir(release.code)), None)

    def before(self) -> Release | None:
        """The release that was seen to work last before the current one."""
        others = [each for each in self.releases if each.state == PROVEN and each.id != self.current]
        return max(others, key=lambda each: each.proven, default=None)

    def kept(self, count: int) -> list[Release]:
        """What stays: the current one, the newest, of those that were seen to work and those that a person has gone
        back from, which are not to be deployed again, the last `count` each."""
        proven = sorted((each for each in self.releases if each.state == PROVEN), key=lambda each: each.proven)
        left = [each for each in self.releases if each.state == ROLLED_BACK]
        stay = {each.id for each in [*proven[-count:], *left[-count:], *self.releases[-1:]]} | {self.current}
        return [each for each in self.releases if each.id in stay]

    def since(self, release: Release) -> list[str]:
        """The migrations that were applied for what came after a release."""
        later = [each for each in self.releases if each.id != release.id and each.made > release.made]
        return [name for each in later for name in each.migrated]

    def chosen(self, name: str) -> Release:
        """The release of that id, or the only one that begins or ends so; raises Failure (UNKNOWN)."""
        found = [each for each in self.releases if each.id == name]
        found = found or [each for each in self.releases if each.id.startswith(name) or each.commit.startswith(name)]
        if len(found) == 1:
            return found[0]
        near = [each.id for each in found] or difflib.get_close_matches(
            name, [each.id for each in self.releases], cutoff=0.3
        )
        fix = f"did you mean {' or '.join(near)}?" if near else f"celeryhost releases {self.app} lists them"
        raise Failure(f"app {self.app} has no release {name!r}" if not found else f"{name!r} is several", UNKNOWN, fix)


def load(app: str) -> Record:
    """What is noted of an app; nothing of one that has no releases. Raises Failure for what can't be read."""
    try:
        with open(path_of(app), encoding="utf-8") as file:
            known = json.load(file)
        return Record(
            app, str(known["current"]), [_release(each) for each in known["releases"]], list(known.get("shared", []))
        )
    except FileNotFoundError:
        return Record(app)
    except OSError as error:
        raise Failure(
            f"{path_of(app)}: {error.strerror}", FAILED, "ask as root, or a member of group supervisor"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise Failure(f"{path_of(app)} is not what celeryhost has written", FAILED, "deploy once more") from None


def save(record: Record) -> None:
    """Put the note in the place of the one before."""
    os.makedirs(folder_of(record.app), mode=0o755, exist_ok=True)
    path = path_of(record.app)
    known = {"current": record.current, "shared": record.shared, "releases": [asdict(each) for each in record.releases]}
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        json.dump(known, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


@contextlib.contextmanager
def preparing(directory: str, really: bool = True) -> Iterator[None]:
    """Around a step before the switch: a Failure of it is noted with the release that `directory` is of."""
    try:
        yield
    except Failure as failure:
        if really and f"{os.sep}releases{os.sep}" in directory:
            _fail(directory, failure.message)
        raise


def _fail(directory: str, why: str) -> None:
    for record in map(load, apps()):
        for release in record.releases:
            if f"{directory}/".startswith(f"{release.code}/") and release.state in (PREPARED, FAILED_STATE):
                release.state, release.reason = FAILED_STATE, why[:LONGEST]
                save(record)


def apps() -> list[str]:
    """The apps that have releases on this host."""
    try:
        return sorted(name for name in os.listdir(RELEASES) if os.path.exists(path_of(name)))
    except OSError:
        return []


def folder_of(app: str) -> str:
    """Where the note and the kept entries of an app are."""
    return os.path.join(RELEASES, app)


def path_of(app: str) -> str:
    return os.path.join(folder_of(app), "releases.json")


def base_of(release: Release) -> str:
    """The folder of the app."""
    return os.path.dirname(os.path.dirname(release.code))


def kept_files(app: str, release: str) -> dict[str, str]:
    """Where the `entry` and the `environment` of a release are kept, and how its `code` was made: {what: path}."""
    stem = os.path.join(folder_of(app), release)
    return {"entry": f"{stem}.conf", "environment": f"{stem}.env", "code": f"{stem}.code"}


def _release(known: dict[str, Any]) -> Release:
    names = {each.name for each in fields(Release)}
    found = Release(**{name: value for name, value in known.items() if name in names})
    if not _ID.fullmatch(found.id):
        raise ValueError(found.id)
    return found
