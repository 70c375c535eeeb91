"""`make run`: one running stack, and what it does when parts of it are killed."""

from __future__ import annotations

import os
import signal
import sys

import httpx
import psutil
import pytest

from infra.local.leftovers import is_alive
from tests.support.services import get
from tests.support.stack import StackProcess
from tests.support.waiting import wait_for

pytestmark = pytest.mark.xdist_group("stack")

PROGRAMS = ("database", "redis", "api", "worker", "redirector-1", "redirector-2", "nginx")


def test_is_ready_within_fifteen_seconds(stack: StackProcess) -> None:
    assert stack.ready_seconds < 15


def test_says_where_everything_is(stack: StackProcess) -> None:
    assert f"Front       {stack.url}" in stack.log.text
    assert "curl -s" in stack.log.text
    assert f"Dashboard   {stack.url}/dashboard" in stack.log.text
    assert str(stack.data_dir / "logs") in stack.log.text


def test_run_json_names_each_process_and_its_own_address(stack: StackProcess) -> None:
    run = stack.run_json

    assert set(run) == {"front", "redirectors", "api", "worker", "nginx", "database", "redis"}
    assert run["front"] == stack.url
    assert len(run["redirectors"]) == 2
    assert len(set(stack.processes.values())) == len(PROGRAMS)
    for pid in stack.processes.values():
        assert os.getsid(pid) == pid, "each runs in a session of its own"
    for url in stack.addresses.values():
        assert get(f"{url}/ready").status_code == 200
        assert get(f"{url}/health").status_code == 200


def test_run_json_is_for_its_owner_only(stack: StackProcess) -> None:
    assert (stack.data_dir / "run.json").stat().st_mode & 0o777 == 0o600


def test_a_new_link_redirects_through_nginx(stack: StackProcess) -> None:
    code = stack.shorten("https://example.com/a?b=c#d")

    answer = stack.http.get(f"/{code}")

    assert answer.status_code == 302
    assert answer.headers["Location"] == "https://example.com/a?b=c#d"


def test_a_host_may_have_a_name_that_nginx_uses_itself(stack: StackProcess) -> None:
    code = stack.shorten("http://redirector/a")

    assert stack.http.get(f"/{code}").headers["Location"] == "http://redirector/a"


def test_the_dashboard_keeps_its_own_policy_through_nginx(stack: StackProcess) -> None:
    answer = stack.http.get("/dashboard")

    assert answer.status_code == 200
    (policy,) = answer.headers.get_list("Content-Security-Policy")
    assert "script-src 'sha256-" in policy


def test_an_id_leads_from_an_answer_to_its_entries(stack: StackProcess) -> None:
    logs = (("/users", "api"), ("/users", "nginx"), ("/no-such-code", "nginx"))
    answered = [(log, stack.http.get(path).headers["X-Request-ID"]) for path, log in logs]

    for log, request_id in answered:
        text = stack.data_dir / "logs" / f"{log}.log"
        wait_for(lambda: request_id in text.read_text(), f"the entry in {text.name}")  # noqa: B023


def test_redirectors_do_not_stop_nginx_for_each_request(stack: StackProcess) -> None:
    if sys.platform == "linux":
        for place in stack.run_json["redirectors"]:
            assert os.sched_getscheduler(place["pid"]) == os.SCHED_BATCH


def test_nothing_but_loopback_is_listened_on(stack: StackProcess) -> None:
    listening = {
        connection.laddr.ip
        for process in psutil.Process(stack.pid).children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_killed_process_is_started_again(stack: StackProcess, name: str) -> None:
    before = psutil.Process(stack.processes[name])
    family = [before, *before.children(recursive=True)]

    before.kill()

    after = wait_for(
        lambda: stack.processes[name] if stack.processes[name] != before.pid else None,
        f"{name} in run.json again",
        seconds=20,
    )
    assert psutil.Process(after).is_running()
    assert not any(is_alive(process) for process in family), "it replaces what is gone"
    wait_for(stack.works, f"the stack to work after {name} was killed", seconds=20)
    for url in stack.addresses.values():
        wait_for(lambda: _is_ready(url), f"{url} to be ready", seconds=20)  # noqa: B023


def test_a_killed_child_of_a_program_is_replaced(stack: StackProcess) -> None:
    for name in ("nginx", "api"):
        program = psutil.Process(stack.processes[name])
        child = program.children()[0]
        child.kill()
        wait_for(lambda: not is_alive(child), "the child to be gone")  # noqa: B023
        wait_for(
            lambda: program.children() and stack.works(),  # noqa: B023
            f"{name} to have another child",
            seconds=20,
        )
        assert program.is_running()


def test_workers_of_a_killed_nginx_are_ended(stack: StackProcess) -> None:
    orphans = psutil.Process(stack.processes["nginx"]).children()
    assert orphans

    os.kill(stack.processes["nginx"], signal.SIGKILL)

    wait_for(lambda: not any(is_alive(orphan) for orphan in orphans), "nginx's old workers to end")
    wait_for(stack.works, "nginx to answer again", seconds=20)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_supervisor_that_ended_comes_back_with_everything(
    stack: StackProcess, number: signal.Signals
) -> None:
    before = [stack.supervisor(), *stack.supervisor().children(recursive=True)]
    code = stack.shorten("https://example.com/kept")

    stack.supervisor().send_signal(number)

    wait_for(
        lambda: not any(is_alive(process) for process in before),
        "the old processes to end",
        seconds=30,
    )
    wait_for(stack.works, "the stack to work again", seconds=30)
    assert stack.http.get(f"/{code}").status_code == 302


def _is_ready(url: str) -> bool:
    try:
        return get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False
