"""Whether a redirector's memory stays where it should: `python -m loadtest.memory_bench`.

200,000 links are local, 1,000,000 are asked for, all alike often, so that most requests evict a
link; meanwhile links change. Fails when the resident memory passes 250 MiB or goes on growing.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from infra.local.errors import StackError
from loadtest import workload
from loadtest.stack import Redirector, Stack, StackFailed
from loadtest.wrk import CONNECTIONS, LoadFailed, Wrk, WrkMissing
from shared import link_cache

LINKS = 1_000_000
LOCAL_LINKS = 200_000
LIMIT_MIB = 250
GROWTH = 1.02
"""How much more the last third of the time may need than the one before it."""
SAMPLE_SECONDS = 5
PAUSE_MS = 40
"""Between two requests of a connection: the redirector is busy, the machine isn't full."""
CHANGES_AT_ONCE = 20
CHANGE_SECONDS = 0.5


def run(stack: Stack, wrk: Wrk, seconds: int) -> list[float]:
    """Resident memory in MiB, every few seconds, once the local cache is full."""
    stack.add_links(LINKS)
    codes = workload.write_codes(stack.folder / "codes", workload.uniform(LINKS, 4 * LINKS, seed=1))
    around = workload.write_browser(stack.folder / "browser")
    samples: list[float] = []
    with stack.redirector(local_cache_links=LOCAL_LINKS) as redirector:
        asked = 0
        while redirector.links() < LOCAL_LINKS:
            load = wrk.run(redirector.port, 5, codes=codes, start=asked, around=around)
            asked += load.requests + CONNECTIONS
            print(f"{redirector.links():,} links local, {redirector.resident_mib():.0f} MiB")
        with _changes(stack), _samples(redirector, samples):
            load = wrk.run(
                redirector.port,
                seconds,
                codes=codes,
                start=asked,
                around=around,
                pause_ms=PAUSE_MS,
            )
        print(f"{load.per_second:,.0f} requests a second, p99 {load.p99:.1f} ms")
        print(", ".join(f"{tier} {count:,.0f}" for tier, count in redirector.answers().items()))
    return samples


def is_flat(samples: Sequence[float]) -> bool:
    """Whether the last third of the time needed no more memory than the one before it."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return statistics.median(last) <= GROWTH * statistics.median(middle)


@contextmanager
def _changes(stack: Stack) -> Iterator[None]:
    """Publishes changes of random links while it lasts."""
    randomness = random.Random(2)  # noqa: S311  # a load, not a secret
    stop = threading.Event()

    def publish() -> None:
        with redis.Redis.from_url(stack.redis.url) as client:
            invalidate = client.register_script(link_cache.INVALIDATE)
            while not stop.wait(CHANGE_SECONDS):
                numbers = (randomness.randrange(LINKS) for _ in range(CHANGES_AT_ONCE))
                codes = [workload.code(number) for number in numbers]
                invalidate(args=link_cache.invalidate_arguments(codes))

    with _thread(publish, stop):
        yield


@contextmanager
def _samples(redirector: Redirector, samples: list[float]) -> Iterator[None]:
    stop = threading.Event()
    started = time.monotonic()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            samples.append(redirector.resident_mib())
            if len(samples) % 12 == 0:
                passed = time.monotonic() - started
                print(f"{passed:4.0f} s: {samples[-1]:.1f} MiB", flush=True)

    with _thread(sample, stop):
        yield


@contextmanager
def _thread(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="memory_bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of load once the cache is full")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="also write all samples there")
    arguments = parser.parse_args(argv)
    try:
        wrk = Wrk()
        with Stack() as stack:
            samples = run(stack, wrk, arguments.seconds)
    except (WrkMissing, LoadFailed, StackFailed, StackError) as error:
        print(f"memory_bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.samples is not None:
        arguments.samples.write_text("".join(f"{sample:.2f}\n" for sample in samples))
    highest = max(samples)
    print(f"from {samples[0]:.1f} to {samples[-1]:.1f} MiB, at most {highest:.1f}")
    if highest >= LIMIT_MIB:
        print(f"memory_bench: over the limit of {LIMIT_MIB} MiB", file=sys.stderr)
        return 1
    if not is_flat(samples):
        print("memory_bench: it goes on growing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
