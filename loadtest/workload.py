"""What the benchmarks ask for: links, the order of their codes, the headers around them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from shared.short_codes import BASE62

CODE_LENGTH = 7
_CODES = 62**CODE_LENGTH
# Any number without a common factor with 62 spreads the codes over all there are.
_STRIDE = 1_234_567_891_011

Headers = list[tuple[str, str]]


def code(number: int) -> str:
    """A short code of its own for each number below 3.5 * 10^12; neighbours look unalike."""
    rest = number * _STRIDE % _CODES
    letters = []
    for _ in range(CODE_LENGTH):
        rest, letter = divmod(rest, 62)
        letters.append(BASE62[letter])
    return "".join(letters)


def destination(number: int) -> str:
    """What link `number` points to; all have one length below a billion."""
    return f"https://www.example.com/stories/2026/{number:09d}/a-title-of-usual-length?utm_source=x"


def rows(links: int) -> Iterator[str]:
    """The links 0 to `links` as PostgreSQL's COPY takes them: id, code, destination."""
    return (f"{number + 1}\t{code(number)}\t{destination(number)}\n" for number in range(links))


def in_turn(first: int, count: int) -> Iterator[int]:
    """Every number once, from `first` on."""
    return iter(range(first, first + count))


def uniform(numbers: int, draws: int, seed: int) -> Iterator[int]:
    """Every number below `numbers` is equally likely."""
    randomness = random.Random(seed)  # noqa: S311  # a load, not a secret
    return (randomness.randrange(numbers) for _ in range(draws))


def zipf(numbers: int, draws: int, seed: int) -> Iterator[int]:
    """Zipf's law with exponent 1: number n is n + 1 times as rare as number 0."""
    weights = list(itertools.accumulate(1 / rank for rank in range(1, numbers + 1)))
    randomness = random.Random(seed)  # noqa: S311  # a load, not a secret
    return iter(randomness.choices(range(numbers), cum_weights=weights, k=draws))


def write_codes(path: Path, numbers: Iterable[int]) -> Path:
    """A file for redirects.lua. Returns `path`."""
    with path.open("w") as file:
        file.writelines(code(number) for number in numbers)
    return path


def write_plain(path: Path) -> Path:
    """Requests with nothing but Host."""
    path.write_text(f"GET /\n{_lines([('Host', 'sho.rt')])}\n")
    return path


def write_browser(path: Path, seed: int = 1) -> Path:
    """Requests with 12 headers, as browsers behind a proxy send them.

    User agent, referrer and language vary, and every request has an id of its own.
    """
    randomness = random.Random(seed)  # noqa: S311  # a load, not a secret
    lines = (_lines(_browser_headers(randomness)) for _ in range(5_000))
    path.write_text("GET /\n" + "".join(f"{line}\n" for line in lines))
    return path


def _browser_headers(randomness: random.Random) -> Headers:
    version = randomness.randint(100, 140)
    system = randomness.choice(
        ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64")
    )
    language = randomness.choice(("en-US,en;q=0.5", "de-DE,de;q=0.9,en;q=0.8", "fr,en;q=0.7"))
    agent = (
        f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{version}.0.0.0 Safari/537.36"
    )
    story = randomness.randrange(10**8)
    client = ".".join(str(randomness.randint(1, 254)) for _ in range(4))
    return [
        ("Host", "sho.rt"),
        ("User-Agent", agent),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        ),
        ("Accept-Language", language),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Referer", f"https://news.example.com/item?id={story}"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Upgrade-Insecure-Requests", "1"),
        ("X-Forwarded-For", client),
        ("X-Request-ID", f"{randomness.randrange(16**16):016x}%016x"),
    ]


def _lines(headers: Headers) -> str:
    """What follows a code, in one line: `|` stands for the end of a header's."""
    return " HTTP/1.1|" + "".join(f"{name}: {value}|" for name, value in headers) + "|"
