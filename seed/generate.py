"""Makes the sample data: `python -m seed.generate` writes users.csv, urls.csv and events.csv.

Everything follows from one fixed seed, so it makes the same files each time. The links have a
history, from which both what they are now and their audit log are taken: so the two agree.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from seed import words
from shared import short_codes

FOLDER = Path(__file__).parent

SEED = 5001
USERS, LINKS = 400, 2_000
OPENED = datetime(2024, 3, 4, 8, 0, tzinfo=UTC)
"""When the first user signed up."""
CLOSED = datetime(2025, 9, 30, 20, 0, tzinfo=UTC)
"""Nothing happened after this."""
UPDATES = (0, 0, 0, 0, 1, 1, 1, 2)
"""How often a link was changed; one of these, by chance."""
DELETED = 0.08
"""Share of links that were deleted."""
MIN_PAUSE = timedelta(minutes=5)

FIRST_ID = 1_000_001
"""Of users, links and events each: out of the way of what was created before them."""

USER_COLUMNS = ("id", "username", "email", "created_at")
LINK_COLUMNS = (
    "id",
    "user_id",
    "short_code",
    "original_url",
    "title",
    "is_active",
    "created_at",
    "updated_at",
)
EVENT_COLUMNS = ("id", "url_id", "user_id", "event_type", "timestamp", "details")


@dataclass(frozen=True)
class User:
    id: int
    username: str
    email: str
    created_at: datetime


@dataclass(frozen=True)
class Link:
    id: int
    user_id: int
    short_code: str
    original_url: str
    title: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Event:
    url_id: int
    user_id: int
    event_type: str
    timestamp: datetime
    details: Mapping[str, object]


def main() -> None:
    for name, columns, rows in tables():
        with (FOLDER / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)


def tables() -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[object]]]]:
    """For each file its name, its columns and its rows."""
    random = Random(SEED)  # noqa: S311  # sample data is no secret
    users = list(make_users(random))
    links: list[Link] = []
    events: list[Event] = []
    for link in make_links(random, users):
        now, history = live(random, link)
        links.append(now)
        events += history
    events.sort(key=lambda event: (event.timestamp, event.url_id))
    yield "users.csv", USER_COLUMNS, map(_user_row, users)
    yield "urls.csv", LINK_COLUMNS, map(_link_row, links)
    yield "events.csv", EVENT_COLUMNS, map(_event_row, count(FIRST_ID), events)


def make_users(random: Random) -> Iterator[User]:
    """In the order in which they signed up."""
    signed_up = sorted(_time(random, OPENED, CLOSED - timedelta(days=90)) for _ in range(USERS))
    taken: set[str] = set()
    for number, created_at in enumerate(signed_up, start=FIRST_ID):
        first, last = random.choice(words.FIRST_NAMES), random.choice(words.LAST_NAMES)
        username = _username(random, first, last, taken)
        taken.add(username)
        host = random.choice(words.MAIL_HOSTS)
        yield User(number, username, f"{username}@{host}", created_at)


def make_links(random: Random, users: Sequence[User]) -> Iterator[Link]:
    """As they were created, in that order. A few users have most of them."""
    weights = [1 / (1 + rank) ** 0.6 for rank in range(len(users))]
    owners = random.choices(random.sample(users, len(users)), weights, k=LINKS)
    created = sorted(
        ((_time(random, owner.created_at, CLOSED - timedelta(days=30)), owner) for owner in owners),
        key=lambda creation: creation[0],
    )
    codes: set[str] = set()
    for number, (created_at, owner) in enumerate(created, start=FIRST_ID):
        code = "".join(random.choices(short_codes.BASE62, k=short_codes.GENERATED_LENGTH))
        assert code not in codes
        codes.add(code)
        url, title = _destination(random)
        yield Link(number, owner.id, code, url, title, True, created_at, created_at)


def live(random: Random, link: Link) -> tuple[Link, list[Event]]:
    """What became of a link until CLOSED, and its audit log."""
    created = {
        "short_code": link.short_code,
        "original_url": link.original_url,
        "title": link.title,
    }
    events = [Event(link.id, link.user_id, "created", link.created_at, created)]
    for _ in range(random.choice(UPDATES)):
        link, event = _change(random, link, "updated", **_edit(random, link))
        events.append(event)
    if random.random() < DELETED:
        link, event = _change(random, link, "deleted", is_active=False)
        events.append(event)
    return link, events


def _change(random: Random, link: Link, event_type: str, **values: Any) -> tuple[Link, Event]:
    now = _time(random, link.updated_at + MIN_PAUSE, CLOSED)
    changes = {name: {"from": getattr(link, name), "to": value} for name, value in values.items()}
    event = Event(link.id, link.user_id, event_type, now, {"changes": changes})
    return replace(link, updated_at=now, **values), event


def _edit(random: Random, link: Link) -> dict[str, Any]:
    """Another title, or another destination with its title."""
    url, title = _destination(random)
    while title in (None, link.title):
        url, title = _destination(random)
    return {"title": title} if random.random() < 0.6 else {"original_url": url, "title": title}


def _destination(random: Random) -> tuple[str, str | None]:
    """A URL and a title for it; one in eight has none."""
    site = random.choice(list(words.SITES))
    section = random.choice(words.SITES[site])
    topic = random.choice(words.TOPICS)
    url = f"https://{site}/{section}/{topic.replace(' ', '-')}"
    if random.random() < 0.5:
        url += f"-{random.randrange(2, 1_000)}"
    if random.random() < 0.3:
        url += f"?utm_source=hoplink&utm_campaign={random.choice(words.CAMPAIGNS)}"
    elif random.random() < 0.1:
        url += f"#section-{random.randrange(1, 10)}"
    title = None if random.random() < 0.125 else f"{topic.capitalize()} ({section})"
    return url, title


def _username(random: Random, first: str, last: str, taken: set[str]) -> str:
    names = [_ascii(first), _ascii(last)]
    forms = ("{0}.{1}", "{0}_{1}", "{0}{1}", "{1}.{0}")
    username = random.choice(forms).format(*names)
    while username in taken:
        username = f"{'.'.join(names)}{random.randrange(10, 100)}"
    return username


def _ascii(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.lower())
    return decomposed.encode("ascii", "ignore").decode("ascii")


def _time(random: Random, start: datetime, end: datetime) -> datetime:
    return start + timedelta(seconds=random.randrange(int((end - start).total_seconds())))


def _user_row(user: User) -> Sequence[object]:
    return user.id, user.username, user.email, _text(user.created_at)


def _link_row(link: Link) -> Sequence[object]:
    return (
        link.id,
        link.user_id,
        link.short_code,
        link.original_url,
        link.title,
        link.is_active,
        _text(link.created_at),
        _text(link.updated_at),
    )


def _event_row(number: int, event: Event) -> Sequence[object]:
    details = json.dumps(event.details, ensure_ascii=False)
    return number, event.url_id, event.user_id, event.event_type, _text(event.timestamp), details


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


if __name__ == "__main__":
    main()
