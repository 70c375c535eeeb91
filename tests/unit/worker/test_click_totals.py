"""What clicks add up to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.click_totals import (
    DAY,
    HOUR,
    MOST_AHEAD,
    MOST_BEHIND,
    OPEN_NAMES,
    DayTotal,
    HourTotal,
    Names,
    Resolved,
    Tally,
)
from shared.click_stats import KEPT_NAMES, OTHER, most_frequent
from tests.support.clicks import Click, batch_of

NOW = 20_000 * DAY + 12 * HOUR
TODAY, NOON = NOW // DAY, NOW // HOUR
BROWSER = b"Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
BOT = b"curl/8.4.0"


def click(
    link: int = 1,
    *,
    time: int = NOW,
    agent: bytes = BROWSER,
    referrer: bytes = b"",
    country: bytes = b"",
    is_head: bool = False,
) -> Click:
    return Click(link, time, agent, referrer, country, is_head)


def resolved(clicks: Sequence[Click], now: int = NOW) -> Resolved:
    return Resolved(batch_of(bytes(16), 0, clicks), now)


def test_clicks_of_an_hour_add_up_people_and_bots_apart() -> None:
    first = [click(1), click(1), click(2), click(1, agent=BOT), click(2, is_head=True)]
    second = [click(1, time=NOW - HOUR), click(1)]
    assert list(Tally([resolved(first), resolved(second)]).hours()) == [
        HourTotal(1, NOON - 1, 1, 0),
        HourTotal(1, NOON, 3, 1),
        HourTotal(2, NOON, 1, 1),
    ]


def test_names_are_those_of_people_and_are_added_to_what_is_known() -> None:
    clicks = [
        click(1, referrer=b"a.example", country=b"DE"),
        click(1, referrer=b"a.example", country=b"FR"),
        click(1),
        click(1, agent=BOT, referrer=b"bots.example", country=b"US"),
        click(2, time=NOW - DAY, agent=BOT),
    ]
    known = {(1, TODAY): Names({"a.example": 5, "b.example": 1}, {"mobile": 6}, {"DE": 6})}
    assert list(Tally([resolved(clicks)]).days(known)) == [
        DayTotal(
            1,
            TODAY,
            3,
            1,
            Names(
                {"a.example": 7, "b.example": 1, "direct": 1},
                {"mobile": 6, "desktop": 3},
                {"DE": 7, "FR": 1, "unknown": 1},
            ),
        ),
        DayTotal(2, TODAY - 1, 0, 1, Names({}, {}, {})),
    ]


def test_links_and_days_may_come_in_any_order() -> None:
    clicks = [click(link, time=NOW - days * DAY) for days in (1, 0, 2) for link in (3, 1, 2)]
    tally = Tally([resolved(clicks), resolved(clicks[::-1])])
    expected = [(link, TODAY - days) for link in (1, 2, 3) for days in (2, 1, 0)]
    assert tally.places() == expected
    assert [total[:4] for total in tally.days({})] == [(*place, 2, 0) for place in expected]


@pytest.mark.parametrize(
    ("off", "is_believed"),
    [
        (0, True),
        (MOST_AHEAD, True),
        (MOST_AHEAD + 1, False),
        (-MOST_BEHIND, True),
        (-MOST_BEHIND - 1, False),
    ],
)
def test_a_clock_that_is_far_off_is_not_believed(off: int, *, is_believed: bool) -> None:
    batch = resolved([click(time=NOW + off), click(time=NOW)])
    assert batch.times[0] == (NOW + off if is_believed else NOW)


def test_lines_are_as_copy_takes_them() -> None:
    clicks = [
        click(1, time=NOW + 7, referrer=b"a.example", country=b"DE"),
        click(2, time=NOW + 61_234, is_head=True),
        click(3, agent=b"a\tb\\c\0\xff"),
        click(4, agent=b""),
    ]
    agent = BROWSER.decode()
    assert list(resolved(clicks).lines()) == [
        f"1\t2024-10-04 12:00:00.007+00\tDE\ta.example\tf\tdesktop\t{agent}\n",
        f"2\t2024-10-04 12:01:01.234+00\t\\N\t\\N\tt\tdesktop\t{agent}\n",
        "3\t2024-10-04 12:00:00.000+00\t\\N\t\\N\tt\tother\ta\\tb\\\\c\ufffd\n",
        "4\t2024-10-04 12:00:00.000+00\t\\N\t\\N\tt\tother\t\\N\n",
    ]
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=NOW) == datetime(
        2024, 10, 4, 12, tzinfo=UTC
    )


def test_names_stay_bounded_and_their_sum_is_right() -> None:
    known: Names = Names({}, {}, {})
    for number in range(4):
        clicks = [
            click(referrer=f"site-{number}-{site}.example".encode()) for site in range(OPEN_NAMES)
        ] + [click(referrer=b"top.example")] * 10
        [total] = Tally([resolved(clicks[:500]), resolved(clicks[500:])]).days({(1, TODAY): known})
        known = total.names
        assert len(known.referrers) <= OPEN_NAMES
        assert sum(known.referrers.values()) == (number + 1) * len(clicks)
        assert known.referrers["top.example"] == (number + 1) * 10
    assert known.is_wide
    assert not known.narrowed().is_wide
    assert len(known.narrowed().referrers) == KEPT_NAMES + 1


def test_a_day_is_narrowed_to_its_most_frequent_names() -> None:
    clicks = {f"{number}.example": number for number in range(1, 100)} | {OTHER: 1_000}
    kept = most_frequent(clicks, KEPT_NAMES)
    assert list(kept)[:2] == ["99.example", "98.example"]
    assert list(kept)[-1] == OTHER
    assert kept[OTHER] == 1_000 + sum(range(1, 50))
    assert sum(kept.values()) == sum(clicks.values())


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 5)), st.integers(1, 5))
def test_nothing_is_lost_between_the_names(clicks: dict[str, int], most: int) -> None:
    kept = most_frequent(clicks, most)
    assert sum(kept.values()) == sum(clicks.values())
    assert len([name for name in kept if name != OTHER]) <= most
