"""The words of a schedule against what Celery does, over a year, in a time zone with and in one without summer time."""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_right
from datetime import date, datetime, time, timedelta, timezone
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from celeryhost.errors import USAGE, Failure
from celeryhost.schedule import docs as schedule_docs
from celeryhost.schedule import schedules
from celeryhost.schedule.words import ALL, describe
from celeryhost.scripts import schedule as schedule_script

YEAR = 2028  # with a 29 February
ZONES = ("Asia/Seoul", "Europe/Berlin")
SECOND = timedelta(seconds=1)
DENSE = 20  # runs a day; of more, those after every 97th minute are compared, over the whole year all the same


def clock(text: str) -> list[time]:
    return [time.fromisoformat(word) for word in text.split()]


def every(minutes: int, hours=range(24)) -> list[time]:
    return [time(hour, minute) for hour in hours for minute in range(0, 60, minutes)]


def weekdays(*names):
    return lambda day: day.strftime("%A") in names


def days(*numbers):
    return lambda day: day.day in numbers


def months(*numbers):
    return lambda day: day.month in numbers


def each(_):
    return True


def both(*conditions):
    return lambda day: all(condition(day) for condition in conditions)


HOURLY = [time(hour) for hour in range(24)]
WORKING = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
# What a person who reads the words expects: times of day, and on which days. Written by hand, word by word.
READ = {
    ("Every minute", "매분"): (every(1), each),
    ("Every 15 minutes", "15분마다"): (every(15), each),
    ("At minute 30 of every hour", "매시 30분"): ([time(hour, 30) for hour in range(24)], each),
    ("At minutes 0 and 40 of every hour", "매시 0분, 40분"): (
        [time(hour, minute) for hour in range(24) for minute in (0, 40)],
        each,
    ),
    ("At 00:00 every day", "매일 00:00"): (clock("00:00"), each),
    ("Every 3 hours from 00:00 to 21:00, every day", "매일 00:00부터 21:00까지 3시간마다"): (
        clock("00:00 03:00 06:00 09:00 12:00 15:00 18:00 21:00"),
        each,
    ),
    ("Every minute, on Sunday", "매주 일요일 매분"): (every(1), weekdays("Sunday")),
    ("At 00:00 on Sunday", "매주 일요일 00:00"): (clock("00:00"), weekdays("Sunday")),
    (
        "Every 10 minutes in the hours 3, 17 and 22, on Thursday and Friday",
        "매주 목요일, 금요일 3시, 17시, 22시 시간대에 10분마다",
    ): (every(10, (3, 17, 22)), weekdays("Thursday", "Friday")),
    (
        "At 00:00, 02:00, 03:00, 04:00, 06:00, 08:00, 09:00, 10:00, 12:00, 14:00, 15:00, 16:00, 18:00, 20:00, 21:00 "
        "and 22:00 every day",
        "매일 00:00, 02:00, 03:00, 04:00, 06:00, 08:00, 09:00, 10:00, 12:00, 14:00, 15:00, 16:00, 18:00, 20:00, "
        "21:00, 22:00",
    ): ([time(hour) for hour in range(24) if hour % 2 == 0 or hour % 3 == 0], each),
    ("At 00:00, 05:00, 10:00, 15:00 and 20:00 every day", "매일 00:00, 05:00, 10:00, 15:00, 20:00"): (
        clock("00:00 05:00 10:00 15:00 20:00"),
        each,
    ),
    (
        "At 00:00, 03:00 and 06:00, every hour from 08:00 to 18:00, and at 21:00, every day",
        "매일 00:00, 03:00, 06:00, 08:00부터 18:00까지 매시간, 21:00",
    ): ([time(hour) for hour in (0, 3, 6, *range(8, 19), 21)], each),
    ("Every 20 minutes from 08:00 to 17:59, on Monday to Friday", "매주 월요일~금요일 08:00부터 17:59까지 20분마다"): (
        every(20, range(8, 18)),
        weekdays(*WORKING),
    ),
    (
        "Every hour from 00:00 to 04:00, and at 22:00 and 23:00, every day",
        "매일 00:00부터 04:00까지 매시간, 22:00, 23:00",
    ): (clock("00:00 01:00 02:00 03:00 04:00 22:00 23:00"), each),
    ("Every minute from 03:00 to 03:59, every day", "매일 03:00부터 03:59까지 매분"): (every(1, [3]), each),
    ("At 00:00 on day 2 of the month", "매월 2일 00:00"): (clock("00:00"), days(2)),
    (
        "At 00:00 on days 2, 5, 8, 11, 14, 17, 20, 23, 26 and 29 of the month",
        "매월 2일, 5일, 8일, 11일, 14일, 17일, 20일, 23일, 26일, 29일 00:00",
    ): (clock("00:00"), days(2, 5, 8, 11, 14, 17, 20, 23, 26, 29)),
    ("At 00:00 on days 1 to 7 and 15 to 21 of the month", "매월 1~7일, 15~21일 00:00"): (
        clock("00:00"),
        days(*range(1, 8), *range(15, 22)),
    ),
    ("At 00:00 on Monday if it is day 1 to 7 of the month", "매월 1~7일 중 월요일 00:00"): (
        clock("00:00"),
        both(weekdays("Monday"), days(*range(1, 8))),
    ),
    ("At 00:00 on Friday if it is day 13 of the month", "매월 13일이 금요일이면 00:00"): (
        clock("00:00"),
        both(weekdays("Friday"), days(13)),
    ),
    ("At 00:00 on day 31 of the month", "매월 31일 00:00"): (clock("00:00"), days(31)),
    ("At 00:00 on 11 May", "매년 5월 11일 00:00"): (clock("00:00"), both(days(11), months(5))),
    ("At 00:00 every day in January, April, July and October", "매년 1월, 4월, 7월, 10월의 매일 00:00"): (
        clock("00:00"),
        months(1, 4, 7, 10),
    ),
    ("At 00:00 on day 1 of January, April, July and October", "매년 1월, 4월, 7월, 10월의 1일 00:00"): (
        clock("00:00"),
        both(days(1), months(1, 4, 7, 10)),
    ),
    ("At 00:00 on 31 February", "매년 2월 31일 00:00"): (clock("00:00"), both(days(31), months(2))),
    ("At 07:30 on Monday", "매주 월요일 07:30"): (clock("07:30"), weekdays("Monday")),
    ("At 12:45 on Monday", "매주 월요일 12:45"): (clock("12:45"), weekdays("Monday")),
}
CRONTABS = [text for text in schedule_docs.EXAMPLES if schedules.parse(text)["kind"] == "crontab"]


def celery_of(expression: str, zone: str):
    """Celery's own object for what is typed, by evaluating it as a project's module would; None when it is refused."""
    from celery.schedules import schedule, solar

    app = Celery(set_as_current=False)
    app.conf.timezone = zone
    if "(" not in expression and expression.count(" ") == 4:
        made = crontab.from_string(expression)
    else:
        names = {"crontab": crontab, "schedule": schedule, "solar": solar, "timedelta": timedelta}
        made = eval(expression, names)
    if not hasattr(made, "remaining_estimate"):
        made = schedule(made)
    made.app = app
    return made


def words(expression: str) -> dict:
    return schedules.explain(None, expression, 0, None, "UTC")["words"]


def next_of(made, last: datetime) -> datetime:
    made.nowfun = lambda: last
    return (last.astimezone(timezone.utc) + made.remaining_estimate(last)).astimezone(last.tzinfo)


def is_due(made, last: datetime, now: datetime) -> bool:
    made.nowfun = lambda: now
    return made.is_due(last)[0]


def before(moment: datetime) -> datetime:
    """A second earlier, also where clocks change."""
    return (moment.astimezone(timezone.utc) - SECOND).astimezone(moment.tzinfo)


class Reading:
    """When something happens on the clock on the wall."""

    def __init__(self, times: list[time], day):
        self.times, self.day = sorted(times), day

    def after(self, last: datetime, end: date) -> datetime | None:
        """The first moment after `last`, as a moment in its zone; the second time that an hour comes is not read."""
        day, times = last.date(), self.times[bisect_right(self.times, last.time().replace(second=0, microsecond=0)) :]
        while day <= end and not (times and self.day(day)):
            day, times = day + timedelta(days=1), self.times
        if day > end:
            return None
        return datetime.combine(day, times[0], last.tzinfo).astimezone(timezone.utc).astimezone(last.tzinfo)


def compare(made, reading: Reading, zone: str):
    """Celery from run to run through the year against the reading."""
    tz = ZoneInfo(zone)
    last, end = datetime(YEAR, 1, 1, tzinfo=tz) - SECOND, date(YEAR, 12, 31)
    stride = timedelta(minutes=97) if len(reading.times) > DENSE else timedelta(0)
    compared = 0
    while (expected := reading.after(last, end)) is not None:
        assert next_of(made, last).timestamp() == expected.timestamp(), last  # zones apart, == would ignore the fold
        assert is_due(made, last, expected), last
        assert not is_due(made, last, before(expected)), last
        last = (expected.astimezone(timezone.utc) + stride).astimezone(tz)
        if last.fold:  # nothing runs then that beat began before
            last = (last.astimezone(timezone.utc) + timedelta(hours=1)).astimezone(tz)
        compared += 1
    assert next_of(made, last).year > YEAR
    return compared


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", CRONTABS)
def test_the_words_of_an_example_are_what_celery_does(expression, zone):
    said = words(expression)
    reading = Reading(*READ[said["en"], said["ko"]])
    try:
        made = celery_of(expression, zone)
    except ValueError as error:
        assert "never occurs" in str(error)
        assert not any(reading.day(date(YEAR, 1, 1) + timedelta(days=number)) for number in range(366))
        return
    assert compare(made, reading, zone)


def test_each_reading_is_of_an_example():
    assert {tuple(words(expression).values()) for expression in CRONTABS} == set(READ)


NAMES = {
    "en": {
        "months": [date(2028, month, 1).strftime("%B") for month in range(1, 13)],
        "days": ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
    },
    "ko": {"days": [f"{day}요일" for day in "일월화수목금토"]},
}


def listed(text: str, names: list[str] | None = None, first: int = 0) -> set[int]:
    """The numbers of a list in words, `1, 3 to 5 and 7` or `1, 3~5`; a week goes from Monday."""
    found = set()
    for item in re.split(r", and |, | and | or ", text):
        ends = [names.index(word) + first if names else int(word) for word in re.split(" to |~", item)]
        if names and len(names) == 7:
            from_monday = [(end - 1) % 7 for end in ends]
            found |= {(day + 1) % 7 for day in range(from_monday[0], from_monday[-1] + 1)}
        else:
            found |= set(range(ends[0], ends[-1] + 1))
    return found


def minutes_of(text: str) -> tuple[int, int]:
    hour, minute = text.split(":")
    return int(hour), int(minute)


def windows(first: str, last: str, step: int = 1) -> set[tuple[int, int]]:
    (begin, minute), (end, _) = minutes_of(first), minutes_of(last)
    return {(hour, minute) for hour in range(begin, end + 1, step)}


def read_english(text: str) -> tuple:
    """(times of day as (hour, minute), days of month, months, days of week) of the words, by their grammar."""
    day = re.search(r"(?:, | )?(?:every day( in (?P<in>.*))?|on (?P<on>.*))$", text)
    dates, of, week = set(ALL["day_of_month"]), set(ALL["month_of_year"]), set(ALL["day_of_week"])
    if day:
        text = text[: day.start()]
        if day["in"]:
            of = listed(day["in"], NAMES["en"]["months"], 1)
        elif found := re.fullmatch(r"(?P<week>.*) if it is day (?P<dates>.*) of (?P<of>.*)", day["on"] or ""):
            week, dates = listed(found["week"], NAMES["en"]["days"]), listed(found["dates"])
            of = of if found["of"] == "the month" else listed(found["of"], NAMES["en"]["months"], 1)
        elif found := re.fullmatch(r"days? (?P<dates>.*) of (?P<of>.*)", day["on"] or ""):
            dates = listed(found["dates"])
            of = of if found["of"] == "the month" else listed(found["of"], NAMES["en"]["months"], 1)
        elif found := re.fullmatch(r"(?P<date>\d+) (?P<of>\w+)", day["on"] or ""):
            dates, of = {int(found["date"])}, listed(found["of"], NAMES["en"]["months"], 1)
        elif day["on"]:
            week, _, during = day["on"].partition(" in ")
            week = listed(week, NAMES["en"]["days"])
            of = listed(during, NAMES["en"]["months"], 1) if during else of
    return times_in_english(text[:1].lower() + text[1:]), dates, of, week


def times_in_english(text: str) -> set[tuple[int, int]]:
    if found := re.fullmatch(r"every (?:hour|(\d+) hours) from (\S+) to (\S+)", text):
        return windows(found[2], found[3], int(found[1] or 1))
    if found := re.fullmatch(
        r"(every minute|every (\d+) minutes|at minutes? ([\d, andto]+?))((?: of | from | in ).*)?", text
    ):
        past = listed(found[3]) if found[3] else set(range(0, 60, int(found[2] or 1)))
        return {(hour, minute) for hour in hours_in_english(found[4] or "") for minute in past}
    times = set()
    for part in re.split(r", (?:and )?(?=at |every )", text):
        if part.startswith("every hour from "):
            times |= windows(*part.removeprefix("every hour from ").split(" to "))
        else:
            times |= {minutes_of(word) for word in re.split(", | and ", part.removeprefix("at "))}
    return times


def hours_in_english(text: str) -> set[int]:
    if found := re.fullmatch(r"(?: of every hour)?(?: from (\d\d):00 to (\d\d):59)?", text):
        return set(range(int(found[1]), int(found[2]) + 1)) if found[1] else set(range(24))
    return listed(re.fullmatch(r" (?:in|of) the hours? (.*)", text)[1])


def read_korean(text: str) -> tuple:
    dates, of, week = set(ALL["day_of_month"]), set(ALL["month_of_year"]), set(ALL["day_of_week"])

    def numbers(words, unit):
        return listed(words.replace(unit, ""))

    def named(words):
        return listed(words, NAMES["ko"]["days"])

    day_list, month_list = r"[\d~, ]+일(?:, [\d~]+일)*", r"[\d~]+월(?:, [\d~]+월)*"
    week_list = r"[일월화수목금토]요일(?:(?:~|, )[일월화수목금토]요일)*"
    forms = (
        rf"매주 (?P<week>{week_list}) ",
        rf"(?:매년 (?P<of>{month_list})|매월) (?P<dates>{day_list})이 (?P<week>{week_list})이면 ",
        rf"(?:매년 (?P<of>{month_list})의|매월) (?P<dates>{day_list}) 중 (?P<week>{week_list}) ",
        rf"매년 (?P<of>{month_list})의 (?P<week>{week_list}) ",
        rf"매년 (?P<of>{month_list})의 매일 ",
        rf"(?:매년 (?P<of>{month_list})의? |매월 )(?P<dates>{day_list}) ",
        r"매일 ",
    )
    for form in forms:
        if found := re.match(form, text):
            said, text = found.groupdict(), text[found.end() :]
            week = named(said["week"]) if said.get("week") else week
            dates = numbers(said["dates"], "일") if said.get("dates") else dates
            of = numbers(said["of"], "월") if said.get("of") else of
            break
    return times_in_korean(text), dates, of, week


def times_in_korean(text: str) -> set[tuple[int, int]]:
    if found := re.fullmatch(r"(\d\d:\d\d)부터 (\d\d:\d\d)까지 (\d+)시간마다", text):
        return windows(found[1], found[2], int(found[3]))
    hours = set(range(24))
    if found := re.match(r"(\d\d):00부터 (\d\d):59까지 ", text):
        hours, text = set(range(int(found[1]), int(found[2]) + 1)), text[found.end() :]
    elif found := re.match(r"([\d~시, ]+)(?: 시간대에|의) ", text):
        hours, text = listed(found[1].replace("시", "")), text[found.end() :]
    if found := re.fullmatch(r"매분|(\d+)분마다|(?:매시 )?([\d~분, ]+)", text):
        past = listed(found[2].replace("분", "")) if found[2] else set(range(0, 60, int(found[1] or 1)))
        return {(hour, minute) for hour in hours for minute in past}
    times = set()
    for part in text.split(", "):
        found = re.fullmatch(r"(\d\d:\d\d)(?:부터 (\d\d:\d\d)까지 매시간)?", part)
        times |= windows(found[1], found[2] or found[1])
    return times


def random_field(choose: random.Random, name: str) -> str:
    numbers, names = list(ALL[name]), ["*", "*"]
    some = sorted(choose.sample(numbers, choose.randint(1, min(6, len(numbers) - 1))))
    names.append(",".join(map(str, some)))
    names.append(f"*/{choose.randint(1, len(numbers))}")
    names.append(f"{choose.choice(numbers)}-{choose.choice(numbers)}")
    names.append(f"{some[0]}-{numbers[-1]}/{choose.randint(1, 9)}")
    names.append(str(choose.choice(numbers)))
    return choose.choice(names)


def test_the_words_of_any_expression_read_back_as_its_fields():
    """Of each language, by a reader of the grammar that knows nothing of the writer."""
    choose, seen = random.Random(6), 0
    while seen < 1500:
        try:
            made = crontab(**{name: random_field(choose, name) for name in ALL})
        except ValueError:
            continue
        fields = {name: sorted(getattr(made, name)) for name in ALL}
        times = {(hour, minute) for hour in made.hour for minute in made.minute}
        meant = times, made.day_of_month, made.month_of_year, made.day_of_week
        assert read_english(describe("crontab", fields, "en")) == meant, made
        assert read_korean(describe("crontab", fields, "ko")) == meant, made
        seen += 1


def test_where_clocks_change():
    """What docs/schedules.md says of it."""
    berlin = ZoneInfo("Europe/Berlin")
    quarter, early = (celery_of(text, "Europe/Berlin") for text in ("*/15 * * * *", "*/30 2 * * *"))
    last = datetime(2028, 10, 29, 2, 45, tzinfo=berlin)
    assert next_of(quarter, last) - last.astimezone(timezone.utc) == timedelta(minutes=75)
    gap = next_of(early, datetime(2028, 3, 25, 2, 30, tzinfo=berlin))
    assert (gap.day, gap.hour, gap.minute) == (26, 3, 0)
    again = datetime(2028, 10, 29, 2, 21, fold=1, tzinfo=berlin)
    quarter.nowfun = lambda: again
    assert quarter.is_due(again) == (True, 0)
    assert [run.hour for run in islice(schedule_script.reckoned(quarter, again, None, berlin), 2)] == [3, 3]
    after = next_of(early, gap)
    assert (after.day, after.hour, after.minute) == (27, 2, 0)


INTERVALS = {
    "30.0": ("Every 30 seconds", "30초마다", 30),
    "timedelta(hours=2)": ("Every 2 hours", "2시간마다", 7200),
    "schedule(run_every=5400)": ("Every 1 hour 30 minutes", "1시간 30분마다", 5400),
    "timedelta(days=1, seconds=1)": ("Every 1 day 1 second", "1일 1초마다", 86401),
    "60": ("Every minute", "1분마다", 60),
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", INTERVALS)
def test_an_interval_is_as_long_as_it_says(expression, zone):
    english, korean, seconds = INTERVALS[expression]
    assert words(expression) == {"en": english, "ko": korean}
    made, last = celery_of(expression, zone), datetime(YEAR, 1, 1, tzinfo=ZoneInfo(zone))
    leap = timedelta(hours=7) if seconds < 3600 else timedelta(0)
    while last.year == YEAR:
        run = next_of(made, last)
        assert run.timestamp() - last.timestamp() == seconds
        assert is_due(made, last, run)
        assert not is_due(made, last, before(run))
        last = (run.astimezone(timezone.utc) + leap).astimezone(run.tzinfo)


@pytest.mark.parametrize("zone", ZONES)
def test_a_relative_interval_is_rounded_down(zone):
    expression = "schedule(timedelta(hours=2), relative=True)"
    said = {"en": "Every 2 hours, rounded down to the whole hour", "ko": "2시간마다 (정시에 맞춤)"}
    assert words(expression) == said
    made, last = celery_of(expression, zone), datetime(YEAR, 1, 1, 0, 20, tzinfo=ZoneInfo(zone))
    while last.year == YEAR:
        run = next_of(made, last)
        assert (run.minute, run.second) == (0, 0)
        assert 3600 < run.timestamp() - last.timestamp() <= 7200
        last = run


def height(moment: datetime, latitude: float, longitude: float) -> tuple[float, float]:
    """Degrees of the sun above the horizon, and its hour angle, by the low-precision formulas of the almanac."""
    day = (moment - datetime(2000, 1, 1, 12, tzinfo=timezone.utc)) / timedelta(days=1)
    anomaly = math.radians(357.528 + 0.9856003 * day)
    ecliptic = math.radians(280.460 + 0.9856474 * day + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 0.0000004 * day)
    ascension = math.degrees(math.atan2(math.cos(tilt) * math.sin(ecliptic), math.cos(ecliptic)))
    declination = math.asin(math.sin(tilt) * math.sin(ecliptic))
    angle = (280.46061837 + 360.98564736629 * day + longitude - ascension + 180) % 360 - 180
    sine = math.sin(math.radians(latitude)) * math.sin(declination)
    sine += math.cos(math.radians(latitude)) * math.cos(declination) * math.cos(math.radians(angle))
    return math.degrees(math.asin(sine)), angle


SOLAR = {  # degrees of the sun's middle (None: highest), whether it rises
    "dawn_astronomical": ("astronomical dawn", "천문 박명 시작", -18, True),
    "dawn_nautical": ("nautical dawn", "항해 박명 시작", -12, True),
    "dawn_civil": ("civil dawn", "시민 박명 시작", -6, True),
    "sunrise": ("sunrise", "일출", -0.83, True),
    "solar_noon": ("solar noon", "태양 남중", None, None),
    "sunset": ("sunset", "일몰", -0.83, False),
    "dusk_civil": ("civil dusk", "시민 박명 끝", -6, False),
    "dusk_nautical": ("nautical dusk", "항해 박명 끝", -12, False),
    "dusk_astronomical": ("astronomical dusk", "천문 박명 끝", -18, False),
}


@pytest.mark.parametrize(("zone", "latitude", "longitude"), [(ZONES[0], 37.57, 126.98), (ZONES[1], 40.4, -3.7)])
@pytest.mark.parametrize("event", SOLAR)
def test_a_solar_event_is_where_the_sun_is(event, zone, latitude, longitude):
    pytest.importorskip("ephem")
    english, korean, degrees, rises = SOLAR[event]
    expression = f"solar({event!r}, {latitude}, {longitude})"
    assert words(expression) == {
        "en": f"At {english}, latitude {latitude}, longitude {longitude}",
        "ko": f"위도 {latitude}, 경도 {longitude}의 {korean}",
    }
    made, last, runs = celery_of(expression, zone), datetime(YEAR, 1, 1, tzinfo=ZoneInfo(zone)), 0
    while True:
        run = next_of(made, last)
        if run.year > YEAR:
            break
        found, angle = height(run, latitude, longitude)
        assert abs(angle) < 0.2 if degrees is None else abs(found - degrees) < 0.2, run
        assert rises is None or (angle < 0) == rises
        assert is_due(made, last, run + SECOND)
        assert not is_due(made, last, before(run))
        last, runs = run, runs + 1
    assert runs in (365, 366)


@pytest.mark.parametrize(
    ("expression", "codes"),
    [
        ("crontab(day_of_week='sunday')", ["every-minute"]),
        ("crontab(minute='*', hour='*')", []),
        ("* 3 * * *", ["every-minute"]),
        ("0 0 31 2 *", ["never"]),
        ("0 0 29 2 *", []),
        ("0 0 30 * *", ["short-months"]),
        ("0 */5 * * *", ["uneven"]),
        ("*/7 */7 * * *", ["uneven", "uneven"]),
        ("*/15 */6 * * *", []),
        ("0", ["always"]),
    ],
)
def test_what_is_wrong_is_marked(expression, codes):
    found = schedules.explain(None, expression, 1, "2028-01-01", "UTC")
    assert [mark["code"] for mark in found["marks"]] == codes
    assert all(mark["en"] and mark["ko"] for mark in found["marks"])


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("crontab(0, 1, 2, 3, 4)", {"minute": 0, "hour": 1, "day_of_week": 2, "day_of_month": 3, "month_of_year": 4}),
        ("0 1 3 4 2", {"minute": "0", "hour": "1", "day_of_week": "2", "day_of_month": "3", "month_of_year": "4"}),
        ("celery.schedules.crontab(minute=range(0, 60, 20), hour={8, 7})", {"minute": [0, 20, 40], "hour": [7, 8]}),
        (" crontab( hour = '3' ) ", {"hour": "3"}),
    ],
)
def test_an_expression_is_read_and_never_run(text, fields):
    assert schedules.parse(text) == {"kind": "crontab", "fields": fields}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crontab",
        "crontab(*[1])",
        "crontab(**{})",
        "crontab(1, minute=1)",
        "crontab(hour=True)",
        "open('x')",
        "a b c d",
        "crontab(hour=1.5)",
        "schedule()",
        "schedule('x')",
        "timedelta('x')",
        "crontab(range(9**9))",
        "solar(1, 2, 3)",
    ],
)
def test_what_is_no_expression(text):
    with pytest.raises(Failure) as failure:
        schedules.parse(text)
    assert failure.value.code == USAGE
    assert "\n" not in str(failure.value)


def test_runs_of_a_row_in_the_admin():
    """From its start, until it expires, once only."""

    class Row:
        start = expires = None
        once = ran = False

    made, at = celery_of("0 12 * * *", "UTC"), datetime(2028, 1, 1, tzinfo=timezone.utc)

    def days_of(row, count=3):
        found = schedule_script.runs(made, at, None, timezone.utc, row)
        return [run.day for run, _ in zip(found, range(count), strict=False)]

    row = Row()
    assert days_of(row) == [1, 2, 3]
    row.start = at + timedelta(days=4)
    assert days_of(row) == [5, 6, 7]
    row.expires = at + timedelta(days=5)
    assert days_of(row) == [5]
    row.expires, row.once = None, True
    assert days_of(row) == [5]
    row.ran = True
    assert days_of(row) == []


def test_missed_runs_are_those_while_beat_was_away():
    made, zone = celery_of("0 * * * *", "UTC"), timezone.utc
    hour = datetime(2028, 1, 1, 10, tzinfo=zone).timestamp()

    def missed(begin, until, last, row=None):
        away = [hour + begin * 60, hour + until * 60]
        return schedule_script.missed(made, away, datetime.fromtimestamp(hour + last * 60, zone), zone, row)

    assert missed(5, 50, 0) is None
    assert missed(5, 70, 0) is None  # run late, when beat came back
    found = missed(5, 200, 0)
    assert (found["count"], found["first"][0], found["last"][0]) == (3, hour + 3600, hour + 3 * 3600)
    assert missed(5, 200, 201) == found  # what ran since then does not hide it

    row = SimpleNamespace(start=None, expires=None, once=False, ran=True, held=True)
    assert missed(5, 70, 0, row) is None
    row.held = False  # django-celery-beat does not make up for it yet
    found = missed(5, 70, 0, row)
    assert (found["count"], found["late"]) == (1, False)


def test_the_page_is_what_the_code_says():
    text = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()
    assert text == schedule_docs.page(), "run: python -m celeryhost.schedule.docs > docs/schedules.md"
