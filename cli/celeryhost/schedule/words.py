"""Schedules in words, English and Korean.

From the sets of numbers that Celery made of an expression, not from its text, and by this module rather than by a
library for cron, whose words are wrong for Celery. cron-descriptor 1.4.5 (https://github.com/Salamek/cron-descriptor)
says "Every 5 hours" of `0 */5 * * *`, where 20:00 to 00:00 is four; "every 3 months" of `0 0 * */3 *`, which is each
day of four months; it refuses `*/2,*/3`; in Korean it leaves names of days and months in English. A host has only the
standard library besides.

A form is used only where it says the whole truth: `every 15 minutes` where 15 divides the hour, lists elsewhere. A
day must be in all three of days of month, months and days of week (Celery), so `if it is day …` joins them, where cron
would run on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ..errors import USAGE, Failure

LANGUAGES = ("en", "ko")
ALL = {  # field: what it may hold
    "minute": range(60),
    "hour": range(24),
    "day_of_week": range(7),
    "day_of_month": range(1, 32),
    "month_of_year": range(1, 13),
}
FEW_TIMES = 4  # so many times of day are listed rather than described
HOURS_IN_RUN = 5  # fewer times of day that follow each other are listed too


def describe(kind: str, fields: dict[str, Any], language: str) -> str:
    """One schedule in words.

    `kind` and `fields` are as scripts/schedule.py says them: `crontab` (for each of ALL the sorted numbers), `interval`
    (`seconds`, `relative`), `solar` (`event`, `latitude`, `longitude`), `clocked` (`time`), `other` (`text`).
    Raises Failure (USAGE) for a language that is none of LANGUAGES.
    """
    if language not in LANGUAGES:
        raise Failure(f"no language {language!r}", USAGE, f"there are {', '.join(LANGUAGES)}")
    said = (_English if language == "en" else _Korean)()
    text = said.crontab(*_parts(fields)) if kind == "crontab" else getattr(said, kind)(**fields)
    return text[:1].upper() + text[1:]


def _parts(fields: dict[str, Any]) -> tuple[Any, ...]:
    """(form of the times of day, what it needs; then days, months and days of week, None where all of them)."""
    given = {name: None if set(fields[name]) == set(full) else fields[name] for name, full in ALL.items()}
    time = _time(fields["minute"], given["hour"])
    return time, given["day_of_month"], given["month_of_year"], _from_monday(given["day_of_week"])


def _time(minutes: list[int], hours: list[int] | None) -> tuple[Any, ...]:
    if not minutes or hours == []:
        return ("never",)
    if hours and (len(minutes) == 1 or len(minutes) * len(hours) <= FEW_TIMES):
        if len(minutes) > 1:
            return "times", [(f"{hour:02}:{minute:02}",) * 2 for hour in hours for minute in minutes]
        step = _step(hours, 24)
        if step and len(hours) > FEW_TIMES - 1:
            return "hours", step, f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[0]:02}"
        return "times", [tuple(f"{hour:02}:{minutes[0]:02}" for hour in run) for run in _runs(hours, HOURS_IN_RUN)]
    step = _step(minutes, 60) if minutes[0] == 0 else None
    return ("every", step, hours) if step else ("past", minutes, hours)


def _step(numbers: list[int], full: int) -> int | None:
    """The n of `every n`, where that holds over the end of the hour or day too."""
    step = full // len(numbers)
    return step if len(numbers) > 1 and numbers == list(range(numbers[0], full, step)) and full % step == 0 else None


def _runs(numbers: Sequence[int], least: int = 3) -> list[tuple[int, int]]:
    """[(first, last)] of the numbers that follow each other, at least `least` of them; of others each alone."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [
        pair
        for run in runs
        for pair in ([(run[0], run[-1])] if len(run) >= least else [(number, number) for number in run])
    ]


def _from_monday(days: list[int] | None) -> list[int] | None:
    return days if days is None else sorted((day - 1) % 7 for day in days)


def _window(hours: list[int]) -> tuple[str, str] | None:
    """The first and last minute of hours that follow each other."""
    runs = _runs(hours)
    return (f"{hours[0]:02}:00", f"{hours[-1]:02}:59") if len(runs) == 1 else None


def _units(seconds: float) -> list[tuple[float, str]]:
    """[(number, unit)] without zeros, the largest unit first; the last may have a fraction."""
    found: list[tuple[float, str]] = []
    left = round(seconds, 6)
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if left >= length:
            found.append((int(left // length), unit))
            left = round(left % length, 6)
    if left or not found:
        found.append((int(left) if left == int(left) else left, "second"))
    return found


def _resolution(seconds: float) -> str:
    """What Celery rounds to for `relative=True` (celery.utils.time.delta_resolution)."""
    return next(
        (unit for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")) if seconds >= length), "second"
    )


_EN_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_EN_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_EN_EVENTS = {
    "dawn_astronomical": "astronomical dawn",
    "dawn_nautical": "nautical dawn",
    "dawn_civil": "civil dawn",
    "solar_noon": "solar noon",
    "dusk_civil": "civil dusk",
    "dusk_nautical": "nautical dusk",
    "dusk_astronomical": "astronomical dusk",
}


class _English:
    def crontab(
        self, time: tuple[Any, ...], days: list[int] | None, months: list[int] | None, weekdays: list[int] | None
    ) -> str:
        text = getattr(self, f"_{time[0]}")(*time[1:])
        day = self._day(days, months, weekdays)
        if not day:
            return text if time[0] in ("every", "past") and time[2] is None else f"{text}{self._gap(text)}every day"
        return f"{text}{self._gap(text)}{day}"

    def interval(self, seconds: float, relative: bool) -> str:
        units = _units(seconds)
        parts = [f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in units]
        text = f"every {units[0][1]}" if len(units) == 1 and units[0][0] == 1 else f"every {' '.join(parts)}"
        return f"{text}, rounded down to the whole {_resolution(seconds)}" if relative else text

    def solar(self, event: str, latitude: float, longitude: float) -> str:
        return f"at {_EN_EVENTS.get(event, event)}, latitude {latitude}, longitude {longitude}"

    def clocked(self, time: str) -> str:
        return f"once, at {time}"

    def other(self, text: str) -> str:
        return text

    @staticmethod
    def _gap(text: str) -> str:
        return " " if text.startswith("at ") and "every hour from " not in text else ", "

    def _never(self) -> str:
        return "never"

    def _every(self, step: int, hours: list[int] | None) -> str:
        return f"{'every minute' if step == 1 else f'every {step} minutes'}{self._within(hours)}"

    def _past(self, minutes: list[int], hours: list[int] | None) -> str:
        text = f"at {self._numbers('minute', minutes)}"
        if hours and not _window(hours):
            return f"{text} of {self._numbers('hour', hours, 'the ')}"
        return f"{text} of every hour{self._within(hours)}"

    def _within(self, hours: list[int] | None) -> str:
        if hours is None:
            return ""
        if window := (_window(hours)):
            return " from {} to {}".format(*window)
        return f" in {self._numbers('hour', hours, 'the ')}"

    def _hours(self, step: int, first: str, last: str) -> str:
        return f"every {f'{step} hours' if step > 1 else 'hour'} from {first} to {last}"

    def _times(self, runs: list[tuple[str, str]]) -> str:
        parts = []
        for alone, group in groupby(runs, lambda run: run[0] == run[1]):
            if alone:
                parts.append(f"at {self._listed([first for first, _ in group], ' and ')}")
            else:
                parts += [f"every hour from {first} to {last}" for first, last in group]
        return self._listed(parts, ", and ")

    def _day(self, days: list[int] | None, months: list[int] | None, weekdays: list[int] | None) -> str:
        of = self._listed(self._ranges(months, _EN_MONTHS, 1), " and ") if months else ""
        on = self._listed(self._ranges(weekdays, _EN_DAYS), " and ") if weekdays else ""
        if days is None:
            if months == [] or weekdays == []:
                return "on no day"
            during = f" in {of}" if of else ""
            return f"on {on}{during}" if on else f"every day{during}" if during else ""
        if on:
            either = self._listed(self._ranges(months, _EN_MONTHS, 1), " or ") if months else "the month"
            return f"on {on} if it is {self._numbers('day', days, word=' or ', many='day')} of {either}"
        if months and len(months) == len(days) == 1:
            return f"on {days[0]} {of}"
        return f"on {self._numbers('day', days)} of {of or 'the month'}"

    def _numbers(
        self, unit: str, numbers: Sequence[int], article: str = "", word: str = " and ", many: str | None = None
    ) -> str:
        name = unit if len(numbers) == 1 else many or f"{unit}s"
        return f"{article}{name} {self._listed(self._ranges(numbers), word)}"

    @staticmethod
    def _ranges(numbers: Sequence[int], names: Sequence[str] | None = None, first: int = 0) -> list[str]:
        def name(number: int) -> str:
            return names[number - first] if names else str(number)

        return [name(a) if a == b else f"{name(a)} to {name(b)}" for a, b in _runs(numbers)]

    @staticmethod
    def _listed(items: Sequence[str], word: str) -> str:
        return word.join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else "none"


_KO_DAYS = [f"{day}요일" for day in "월화수목금토일"]
_KO_UNITS = {"day": "일", "hour": "시간", "minute": "분", "second": "초"}
_KO_ROUNDED = {"day": "자정", "hour": "정시", "minute": "정분", "second": "정초"}
_KO_EVENTS = {
    "dawn_astronomical": "천문 박명 시작",
    "dawn_nautical": "항해 박명 시작",
    "dawn_civil": "시민 박명 시작",
    "sunrise": "일출",
    "solar_noon": "태양 남중",
    "sunset": "일몰",
    "dusk_civil": "시민 박명 끝",
    "dusk_nautical": "항해 박명 끝",
    "dusk_astronomical": "천문 박명 끝",
}


class _Korean:
    def crontab(
        self, time: tuple[Any, ...], days: list[int] | None, months: list[int] | None, weekdays: list[int] | None
    ) -> str:
        text = getattr(self, f"_{time[0]}")(*time[1:])
        day = self._day(days, months, weekdays)
        if not day and not (time[0] in ("every", "past") and time[2] is None):
            day = "매일"
        return f"{day} {text}".strip()

    def interval(self, seconds: float, relative: bool) -> str:
        text = " ".join(f"{number}{_KO_UNITS[unit]}" for number, unit in _units(seconds))
        return f"{text}마다{f' ({_KO_ROUNDED[_resolution(seconds)]}에 맞춤)' if relative else ''}"

    def solar(self, event: str, latitude: float, longitude: float) -> str:
        return f"위도 {latitude}, 경도 {longitude}의 {_KO_EVENTS.get(event, event)}"

    def clocked(self, time: str) -> str:
        return f"{time}에 한 번"

    def other(self, text: str) -> str:
        return text

    def _never(self) -> str:
        return "실행되지 않음"

    def _every(self, step: int, hours: list[int] | None) -> str:
        return f"{self._within(hours)}{'매분' if step == 1 else f'{step}분마다'}"

    def _past(self, minutes: list[int], hours: list[int] | None) -> str:
        text = self._numbers("분", minutes)
        if hours and not _window(hours):
            return f"{self._numbers('시', hours)}의 {text}"
        return f"{self._within(hours)}매시 {text}"

    def _within(self, hours: list[int] | None) -> str:
        if hours is None:
            return ""
        if window := _window(hours):
            return "{}부터 {}까지 ".format(*window)
        return f"{self._numbers('시', hours)} 시간대에 "

    def _hours(self, step: int, first: str, last: str) -> str:
        return f"{first}부터 {last}까지 {f'{step}시간마다' if step > 1 else '매시간'}"

    def _times(self, runs: list[tuple[str, str]]) -> str:
        return ", ".join(first if first == last else f"{first}부터 {last}까지 매시간" for first, last in runs)

    def _day(self, days: list[int] | None, months: list[int] | None, weekdays: list[int] | None) -> str:
        of = f"매년 {self._numbers('월', months)}" if months else ""
        on = ", ".join(_KO_DAYS[a] if a == b else f"{_KO_DAYS[a]}~{_KO_DAYS[b]}" for a, b in _runs(weekdays or []))
        if days is None:
            if months == [] or weekdays == []:
                return "없는 날에"
            if on:
                return f"{of}의 {on}" if of else f"매주 {on}"
            return f"{of}의 매일" if of else ""
        dates = self._numbers("일", days)
        if on and len(days) == 1:
            return f"{of or '매월'} {dates}이 {on}이면"
        if on:
            return f"{f'{of}의' if of else '매월'} {dates} 중 {on}"
        return f"{of}{' ' if len(months or ()) == len(days) == 1 else '의 '}{dates}" if of else f"매월 {dates}"

    @staticmethod
    def _numbers(unit: str, numbers: Sequence[int]) -> str:
        return ", ".join(f"{a}{unit}" if a == b else f"{a}~{b}{unit}" for a, b in _runs(numbers)) or "없음"
