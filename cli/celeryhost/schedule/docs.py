"""docs/schedules.md, from what this code and Celery say: python -m celeryhost.schedule.docs > docs/schedules.md"""

from __future__ import annotations

from datetime import datetime

from ..hosts.target import Target
from .schedules import explain

ZONE, START, RUNS = "Asia/Seoul", "2027-01-01", 3
EXAMPLES = (
    "crontab()",
    "crontab(minute='*/15')",
    "crontab(minute=30)",
    "crontab(minute='*/40')",
    "crontab(minute=0, hour=0)",
    "crontab(minute=0, hour='*/3')",
    "crontab(minute=0, hour='0,3,6,9,12,15,18,21')",
    "crontab(day_of_week='sunday')",
    "crontab(minute='*', hour='*', day_of_week='sun')",
    "crontab(minute=0, hour=0, day_of_week='sunday')",
    "crontab(minute='*/10', hour='3,17,22', day_of_week='thu,fri')",
    "crontab(minute=0, hour='*/2,*/3')",
    "crontab(minute=0, hour='*/5')",
    "crontab(minute=0, hour='*/3,8-17')",
    "crontab(minute='*/20', hour='8-17', day_of_week='mon-fri')",
    "crontab(minute=0, hour='22-4')",
    "crontab(hour=3)",
    "crontab(0, 0, day_of_month='2')",
    "crontab(0, 0, day_of_month='2-30/3')",
    "crontab(0, 0, day_of_month='1-7,15-21')",
    "crontab(0, 0, day_of_month='1-7', day_of_week='mon')",
    "crontab(0, 0, day_of_month=13, day_of_week='fri')",
    "crontab(0, 0, day_of_month=31)",
    "crontab(0, 0, day_of_month=11, month_of_year=5)",
    "crontab(0, 0, month_of_year='*/3')",
    "crontab(0, 0, day_of_month=1, month_of_year='*/3')",
    "crontab(0, 0, day_of_month=31, month_of_year=2)",
    "crontab(hour=7, minute=30, day_of_week=1)",
    "crontab(hour=12, minute=45, day_of_week=1)",
    "30 7 * * mon",
    "30.0",
    "timedelta(hours=2)",
    "schedule(timedelta(hours=2), relative=True)",
    "solar('sunset', 37.57, 126.98)",
    "solar('dawn_civil', 37.57, 126.98)",
)
PAGE = """\
# Schedules

Made by `python -m celeryhost.schedule.docs`; `tests/unit/test_schedules.py` compares each line with what Celery does
over a year.

    celeryhost schedule                  # every beat of this machine: what, when in words, next and last runs
    celeryhost schedule mysite --next 5 --at 2027-01-01 --lang ko
    celeryhost schedule .                # the project in this folder
    celeryhost -H all schedule --json
    celeryhost schedule explain 'crontab(minute=0, hour="*/3,8-17")' --zone Asia/Seoul
    celeryhost schedule explain '30 7 * * mon'
    celeryhost schedule run 'sum at noon' --dry-run
    celeryhost schedule run 'sum at noon'

The schedule is read as beat reads it: with the scheduler of its command line or of the project's settings, with
`beat_schedule` and what `add_periodic_task` adds, from a copy of the file of its last runs, or from the tables of
django-celery-beat. That happens in the project's own Python and as its user; nothing is changed. Last runs and their
number are those that beat has saved: a beat that runs saves them every three minutes.

A line that begins with `!` says what is wrong: no worker that reads its queue has such a task (where none answers, the
project has none), it never runs, it runs every minute as `minute` was left out, a step that does not divide the day, a
month without such a day, and runs that were missed while beat was away. Beat makes up for one of those when it is back;
`schedule run` sends an entry at once.

## Entries of the Django admin

With `beat: {{scheduler: django}}` ([variables.md](variables.md#the-django-extensions)) the schedule is in the project's
database, by django-celery-beat, on SQLite, PostgreSQL or MariaDB. What is made, changed or switched off in the admin
holds within 5 seconds, without a restart of beat, which also lives through a restart of the database. As seen with
django-celery-beat 2.9:

- An entry of the settings (`beat_schedule`, `add_periodic_task`) is written into the database at each start of beat:
  what the admin has changed of it is then lost, but that it is switched off. One that is gone from the settings stays.
- A crontab has a time zone of its own. The form begins with `CELERY_TIMEZONE` of Django's settings, read by
  `app.config_from_object("django.conf:settings", namespace="CELERY")`, and with UTC where there is none, whatever
  `app.conf.timezone` says. `schedule` shows the zone that differs from the project's.
- With `USE_TZ = False` and a `TIME_ZONE` other than UTC a new entry first runs hours late, in Asia/Seoul 9, or in zones
  west of Greenwich at once, as the moment when it was made is taken for one in UTC. Set `USE_TZ = True`.
- After a change of `TIME_ZONE` or `CELERY_TIMEZONE` reset what beat remembers:
  `PeriodicTask.objects.update(last_run_at=None)`, then `PeriodicTasks.update_changed()`.
- Beat takes a crontab of one hour in hand only from two hours before it on. A run that was missed for longer is made up
  for when that time comes again, up to two hours before the next run, and not when beat is back.

`celeryhost doctor` warns of the second and the third.

## Examples

The next runs are those from {start} on in {zone}.

{table}

## Beware

- Five cron fields are minute, hour, day of month, month, day of week; `crontab()` takes minute, hour, **day of week**,
  day of month, month.
- A field that is left out is `*`. Without `minute`, it is every minute.
- A day must be in the days of the month **and** of the week; cron itself would take either.
- `*/5` in hours begins anew at each midnight, `2-30/3` counts from 2, `22-4` is 0 to 4, 22 and 23 of one day.
- Sunday is 0; 7, hour 24, `@daily` and 31 February are refused.
- Where clocks change: in the hour that is left out, what was due then runs once, that hour later; of the hour that
  comes twice, a crontab runs in the first one only, so that "every 15 minutes" rests for an hour; a beat that is
  started in the second one sends it without pause until that is over (Celery 5.7). An interval goes on as ever.
- An interval counts from its last run. `relative=True` rounds that down to whole hours, minutes or seconds.
- A solar event is that of its place, whatever the time zone.
"""


def page() -> str:
    """The text of docs/schedules.md."""
    lines = ["| expression | in words | 한국어 | next runs |", "|---|---|---|---|"]
    for expression in EXAMPLES:
        found = explain(Target(), expression, RUNS, START, ZONE)
        marks = "".join(f"<br>! {mark['en']}" for mark in found["marks"])
        korean = "".join(f"<br>! {mark['ko']}" for mark in found["marks"])
        runs = "<br>".join(_moment(iso, found["kind"]) for _, iso in found["next"]) or "none"
        cells = (f"`{expression}`", found["words"]["en"] + marks, found["words"]["ko"] + korean, runs)
        lines.append(f"| {' | '.join(cells)} |")
    return PAGE.format(start=START, zone=ZONE, table="\n".join(lines))


def _moment(iso: str, kind: str) -> str:
    """`Fri 2027-01-01 00:00`; seconds for an interval only: those of a solar event differ with ephem's release."""
    return datetime.fromisoformat(iso).strftime("%a %Y-%m-%d %H:%M:%S" if kind == "interval" else "%a %Y-%m-%d %H:%M")


if __name__ == "__main__":
    print(page(), end="")
