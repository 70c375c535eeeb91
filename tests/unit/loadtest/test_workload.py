"""What the benchmarks ask for is what they say."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from loadtest import workload
from loadtest.memory_bench import is_flat
from loadtest.stack import Stack
from shared.destination import validate
from shared.short_codes import GENERATED_LENGTH, is_possible


def test_every_link_has_a_code_of_its_own() -> None:
    codes = {workload.code(number) for number in range(100_000)}
    assert len(codes) == 100_000
    assert all(is_possible(code) and len(code) == GENERATED_LENGTH for code in codes)


def test_destinations_are_valid_and_of_one_length() -> None:
    destinations = [workload.destination(number) for number in (0, 999, 999_999)]
    assert len({len(validate(destination)) for destination in destinations}) == 1


def test_zipf_asks_for_each_link_by_its_rank() -> None:
    asked = Counter(workload.zipf(1_000, 200_000, seed=1))
    harmonic = sum(1 / rank for rank in range(1, 1_001))
    for number in (0, 1, 9, 99):
        assert asked[number] == pytest.approx(200_000 / harmonic / (number + 1), rel=0.2)


def test_browser_requests_are_whole_and_vary(tmp_path: Path) -> None:
    before, *after = workload.write_browser(tmp_path / "browser").read_text().splitlines()
    assert before == "GET /"
    requests = [(before + "abc" + rest.replace("|", "\r\n")) % 7 for rest in islice(after, 100)]
    headers = [request.split("\r\n")[1:-2] for request in requests]
    assert all(request.startswith("GET /abc HTTP/1.1\r\n") for request in requests)
    assert all(request.endswith("\r\n\r\n") for request in requests)
    assert {len(lines) for lines in headers} == {12}
    for name in ("User-Agent", "Referer", "X-Request-ID"):
        values = {line for lines in headers for line in lines if line.startswith(f"{name}: ")}
        assert len(values) > 50, name


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([100, 120, 128, 128, 128.5, 128], True), ([100, 110, 120, 130, 140, 150], False)],
)
def test_memory_is_flat_when_it_no_longer_grows(samples: list[float], expected: bool) -> None:
    assert is_flat(samples) is expected


def test_a_stack_answers_and_leaves_nothing_behind() -> None:
    with Stack() as stack:
        stack.add_links(10)
        with stack.redirector() as redirector, stack.front_nginx(redirector) as front:
            codes = workload.write_codes(stack.folder / "codes", workload.in_turn(0, 10))
            assert codes.stat().st_size == 10 * GENERATED_LENGTH
            assert redirector.cpu_seconds() > 0
            assert front.resident_mib() > 0
            assert redirector.links() == 0
    assert not stack.folder.exists()
