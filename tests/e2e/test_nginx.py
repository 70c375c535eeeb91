"""nginx by the template of `make run` and Docker Compose: routes, limits, its own errors."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.accounts import unprivileged
from infra.local.front import TEMPLATES, Front
from infra.local.ports import is_listening
from shared.short_codes import RESERVED
from tests.support.ports import PortBlock
from tests.support.processes import Log, ServerProcess
from tests.support.services import http_client
from tests.support.upstream import Upstream
from tests.support.waiting import wait_for

TEMPLATE = (TEMPLATES / "hoplink.conf.template").read_text()


class NginxProcess(ServerProcess):
    """nginx with a template of ours."""

    def __init__(self, front: Front, port: int, log: Path) -> None:
        front.prepare()
        super().__init__("nginx", front.argv, log=log)
        self._port = port

    def is_ready(self) -> bool:
        return is_listening(self._port)


@dataclass
class Site:
    """nginx in front of an API and two redirectors."""

    port: int
    folder: Path
    api: Upstream
    redirectors: tuple[Upstream, Upstream]
    http: httpx.Client

    def tell(self, method: str, path: str, **arguments: Any) -> Mapping[str, Any]:
        """What the upstream says that it got."""
        answer = self.http.request(method, path, **arguments)
        assert answer.status_code == 200, answer.text
        told: Mapping[str, Any] = answer.json()
        return told

    def exchange(self, request: bytes) -> tuple[HTTPResponse, bytes]:
        """Sends bytes as they are, and returns the answer with its body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(request)
            response = HTTPResponse(client)
            response.begin()
            return response, response.read()

    @property
    def redirects(self) -> list[str]:
        """The requests that redirectors got."""
        return [*self.redirectors[0].requests, *self.redirectors[1].requests]


@contextmanager
def _running(folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]) -> Iterator[Site]:
    port = ports.free_port()
    upstreams = [Upstream(name, ports.free_port()) for name in ("api", "redirector", "redirector")]
    api, first, second = upstreams
    front = Front(
        folder,
        port,
        unprivileged(),
        redirectors=[first.port, second.port],
        apis=[api.port],
        real_ip_from=["127.0.0.1"],
        country_header="CF-IPCountry",
        access_log=f'"{folder}/access.log" hoplink',
    )
    nginx = NginxProcess(front, port, folder.with_suffix(".log"))
    watch_log(nginx.log)
    for upstream in upstreams:
        upstream.start()
    try:
        nginx.start()
        with http_client(f"http://127.0.0.1:{port}") as client:
            yield Site(port, folder, api, (first, second), client)
    finally:
        nginx.kill()
        for upstream in upstreams:
            upstream.stop()


@pytest.fixture(scope="module")
def running_site(
    server_folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[Site]:
    with _running(server_folder / "nginx of tests", ports, watch_log) as site:
        yield site


@pytest.fixture(scope="module")
def half_down(
    server_folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[Site]:
    """A site whose API and first redirector refuse connections."""
    with _running(server_folder / "nginx half down", ports, watch_log) as site:
        site.api.stop()
        site.redirectors[0].stop()
        yield site


@pytest.fixture
def site(running_site: Site) -> Site:
    for upstream in (running_site.api, *running_site.redirectors):
        upstream.requests.clear()
        upstream.first_bytes.clear()
    return running_site


def _assert_json_error(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


class TestRoutes:
    @pytest.mark.parametrize("word", sorted(RESERVED))
    def test_a_reserved_word_belongs_to_the_api(self, site: Site, word: str) -> None:
        for path in (f"/{word}", f"/{word}/", f"/{word}/1", f"/{word}?page=2"):
            assert site.tell("GET", path)["upstream"] == "api"

    @pytest.mark.parametrize(
        "path",
        [
            "/abc",
            "/abc/",
            "/Abc_-9?utm=1",
            "/" + "x" * 32,
            "/usersx",
            "/Users",
            "/-users",
            "/%61bc",
        ],
    )
    def test_what_may_be_a_code_goes_to_a_redirector(self, site: Site, path: str) -> None:
        assert site.tell("GET", path)["upstream"] == "redirector"

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/ab",
            "/" + "x" * 33,
            "/abc/def",
            "//abc",
            "/abc//",
            "/a.c",
            "/favicon.ico",
            "/ab%2Fc",
        ],
    )
    def test_anything_else_is_the_apis_404(self, site: Site, path: str) -> None:
        assert site.tell("GET", path)["upstream"] == "api"

    @pytest.mark.parametrize("path", ["/abc", "/users/1?a=%20b", "/%61bc", "/users/%C3%A4/.."])
    def test_the_path_arrives_as_it_was_sent(self, site: Site, path: str) -> None:
        _, body = site.exchange(f"GET {path} HTTP/1.0\r\n\r\n".encode())

        assert json.loads(body)["path"] == path

    def test_every_reserved_word_is_in_the_template(self) -> None:
        (words,) = re.findall(r'location ~ "\^/\(\?:([^)]*)\)\(\?:/\|\$\)"', TEMPLATE)

        assert set(words.split("|")) == RESERVED


class TestForwarding:
    def test_the_request_id_is_made_here_and_returned_once(self, site: Site) -> None:
        answer = site.http.get("/users", headers={"X-Request-ID": "the-client's"})

        sent = answer.json()["headers"]["X-Request-ID"]
        assert answer.headers.get_list("X-Request-ID") == [sent]
        assert re.fullmatch("[0-9a-f]{32}", sent)

    def test_the_client_address_is_passed_on(self, site: Site) -> None:
        headers = site.tell("GET", "/users")["headers"]

        assert headers["X-Forwarded-For"] == "127.0.0.1"
        assert headers["X-Forwarded-Proto"] == "http"
        assert headers["Host"] == f"127.0.0.1:{site.port}"

    def test_a_trusted_proxys_word_on_address_and_scheme_counts(self, site: Site) -> None:
        headers = site.tell(
            "GET",
            "/users",
            headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9", "X-Forwarded-Proto": "https"},
        )["headers"]

        assert headers["X-Forwarded-For"] == "203.0.113.9"
        assert headers["X-Forwarded-Proto"] == "https"

    def test_a_redirector_gets_the_headers_that_it_looks_at_and_no_others(self, site: Site) -> None:
        seen = {"User-Agent": "a", "Referer": "https://b.example/", "CF-IPCountry": "DE"}
        headers = site.tell("GET", "/abc", headers={**seen, "Cookie": "c", "X-Request-ID": "d"})[
            "headers"
        ]

        assert re.fullmatch("[0-9a-f]{32}", headers.pop("X-Request-ID"))
        assert headers == {"Host": f"127.0.0.1:{site.port}", **seen}

    def test_connections_to_the_services_are_kept(self, site: Site) -> None:
        before = site.api.connections
        for _ in range(100):
            site.tell("GET", "/users")

        assert site.api.connections - before <= 32

    def test_a_request_that_may_have_had_an_effect_is_sent_once(self, site: Site) -> None:
        answer = site.http.post("/abcdef?drop")

        _assert_json_error(answer, 502)
        assert len(site.redirects) == 1

    def test_a_redirect_that_failed_is_asked_of_another_redirector(self, site: Site) -> None:
        answer = site.http.get("/abcdef?drop")

        _assert_json_error(answer, 502)
        assert [len(upstream.requests) for upstream in site.redirectors] == [1, 1]

    def test_a_services_own_error_goes_through_as_it_is(self, site: Site) -> None:
        answer = site.http.get("/users?status=503")

        assert answer.status_code == 503
        assert answer.json()["upstream"] == "api"
        assert answer.headers.get_list("Retry-After") == ["7"]


class TestOwnErrors:
    @pytest.mark.parametrize(
        ("status", "request_bytes"),
        [
            (400, b"GET /abc HTTP/1.1\r\n\r\n"),
            (400, b"GET /abc HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            (400, b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, b"nonsense\r\n\r\n"),
            (405, b"TRACE /abc HTTP/1.1\r\nHost: a\r\n\r\n"),
            (405, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
            (413, b"POST /urls HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"),
            (413, b"POST /abc HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"),
            (413, b"POST /urls/bulk HTTP/1.1\r\nHost: a\r\nContent-Length: 536870913\r\n\r\n"),
            (414, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
            (431, b"GET /abc HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 20_000 + b"\r\n\r\n"),
            (505, b"GET /abc HTTP/3.0\r\nHost: a\r\n\r\n"),
        ],
    )
    def test_is_json(self, site: Site, status: int, request_bytes: bytes) -> None:
        response, body = site.exchange(request_bytes)

        answer = httpx.Response(response.status, headers=response.getheaders(), content=body)
        _assert_json_error(answer, status)
        if status == 405:
            assert "GET" in answer.headers["Allow"]

    def test_an_internal_location_is_no_path(self, site: Site) -> None:
        _assert_json_error(site.http.get("/.error"), 404)

    def test_a_service_that_hangs_up_is_502_with_retry_after(self, site: Site) -> None:
        answer = site.http.post("/users?drop")

        _assert_json_error(answer, 502)
        assert int(answer.headers["Retry-After"]) > 0

    def test_a_redirector_that_hangs_is_504_with_retry_after(self, site: Site) -> None:
        answer = site.http.post("/abcdef?hang")

        _assert_json_error(answer, 504)
        assert int(answer.headers["Retry-After"]) > 0

    def test_a_head_request_gets_no_body(self, site: Site) -> None:
        answer = site.http.head("/.error")

        assert answer.status_code == 404
        assert answer.content == b""


class TestLimits:
    def test_an_ordinary_body_may_have_one_mebibyte(self, site: Site) -> None:
        assert site.tell("POST", "/urls", content=b"x" * 2**20)["length"] == 2**20

    @pytest.mark.parametrize("path", ["/users/bulk", "/urls/bulk/", "/events/bulk"])
    def test_an_import_may_be_far_larger(self, site: Site, path: str) -> None:
        assert site.tell("POST", path, content=b"x" * 3 * 2**20)["length"] == 3 * 2**20

    def test_an_import_reaches_the_api_while_it_is_sent(self, site: Site) -> None:
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as client:
            client.sendall(
                b"POST /urls/bulk HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345"
            )
            wait_for(site.api.first_bytes.is_set, "the first half of the body")
            client.sendall(b"67890")
            response = HTTPResponse(client)
            response.begin()
            assert json.loads(response.read())["length"] == 10

    def test_an_ordinary_body_is_complete_before_the_api_sees_it(self, site: Site) -> None:
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as client:
            client.sendall(b"POST /urls HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            assert not site.api.first_bytes.wait(0.2)
            client.sendall(b"67890")
            response = HTTPResponse(client)
            response.begin()
            assert json.loads(response.read())["length"] == 10


class TestHeaders:
    @pytest.mark.parametrize("path", ["/abc", "/users", "/users?status=404", "/nothing/here"])
    def test_security_headers_are_on_every_answer(self, site: Site, path: str) -> None:
        headers = site.http.get(path).headers

        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]

    def test_the_version_of_nginx_stays_unsaid(self, site: Site) -> None:
        assert site.http.get("/abc").headers["Server"] == "nginx"
        assert site.http.get("/.error").headers["Server"] == "nginx"


class TestServersThatRefuse:
    def test_a_request_that_nobody_took_begins_anew_once(self, half_down: Site) -> None:
        """Not at once 502: while replicas come and go, the list may be another one by now."""
        answer = half_down.http.post("/urls", json={"original_url": "https://example.com/"})

        _assert_json_error(answer, 502)
        assert int(answer.headers["Retry-After"]) > 0
        assert _entry(half_down, answer)["upstream_status"] == "502 : 502"

    def test_an_import_that_nobody_took_fails(self, half_down: Site) -> None:
        answer = half_down.http.post("/urls/bulk", content=b"short_code,original_url\n")

        _assert_json_error(answer, 502)
        assert _entry(half_down, answer)["upstream_status"] == "502"

    def test_another_redirector_answers_and_the_log_tells_who_refused(
        self, half_down: Site
    ) -> None:
        answers = [half_down.http.get("/abcdef") for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        entries = [_entry(half_down, answer) for answer in answers]
        (level,) = {entry["level"] for entry in entries if entry["upstream_status"] == "502, 200"}
        assert level == "WARNING"


def _entry(site: Site, answer: httpx.Response) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = json.loads(_log_line(site, answer.headers["X-Request-ID"]))
    return entry


def _log_line(site: Site, request_id: str) -> str:
    log = site.folder / "access.log"
    wait_for(lambda: request_id in log.read_text(), "the line in the access log")
    (line,) = [line for line in log.read_text().splitlines() if request_id in line]
    return line


class TestAccessLog:
    def test_is_json_without_addresses(self, site: Site) -> None:
        answer = site.http.get("/abc?secret=1", headers={"User-Agent": 'a"b'})

        line = _log_line(site, answer.headers["X-Request-ID"])

        entry = json.loads(line)
        assert (entry["service"], entry["level"], entry["message"]) == ("nginx", "INFO", "request")
        assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/abc", 200)
        assert "127.0.0.1:" + str(site.port) not in line
        assert "secret" not in line
        assert "client" not in entry

    def test_a_failure_keeps_its_method(self, site: Site) -> None:
        answer = site.http.post("/users?drop")

        entry = _entry(site, answer)

        assert (entry["method"], entry["status"], entry["level"]) == ("POST", 502, "WARNING")

    def test_its_id_is_the_one_that_the_service_got(self, site: Site) -> None:
        for path in ("/users", "/abc"):
            told = site.tell("GET", path)

            assert _log_line(site, told["headers"]["X-Request-ID"])

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b'GET /a"b\\c{} HTTP/1.1\r\nHost: a\r\n\r\n',
            b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /%ff%0a%22 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"A" * 40 + b" /abc HTTP/1.1\r\nHost: a\r\n\r\n",
            b"nonsense\r\n\r\n",
        ],
    )
    def test_no_request_breaks_out_of_its_line(self, site: Site, request_bytes: bytes) -> None:
        response, _ = site.exchange(request_bytes)

        line = _log_line(site, response.headers["X-Request-ID"])

        assert json.loads(line)["status"] == response.status
        assert len(line) < 1_000

    @pytest.mark.parametrize(
        ("seconds", "milliseconds"),
        [("0.000", 0), ("0.005", 5), ("0.120", 120), ("1.000", 1_000), ("12.345", 12_345)],
    )
    def test_seconds_become_milliseconds(self, seconds: str, milliseconds: int) -> None:
        """The same regular expressions, without waiting for a request to take so long."""
        (table,) = re.findall(r"map \$request_time \$duration_ms \{(.*?)\n\}", TEMPLATE, re.DOTALL)
        rules = re.findall(r'"~(\S+)"\s+(\S+);', table)
        assert len(rules) == 2
        made = "0"
        for pattern, result in rules:
            found = re.search(pattern.replace("(?<", "(?P<"), seconds)
            if found:
                made = "".join(found[name] for name in result.strip("$").split("$"))
        assert json.loads(made) == milliseconds


@pytest.mark.parametrize("name", ["hoplink.conf.template", "nginx.conf.template"])
def test_a_variable_of_nginx_is_never_one_of_the_templates(name: str) -> None:
    """What envsubst fills in is in capitals and braces; nginx's own variables are neither."""
    text = (TEMPLATES / name).read_text()

    assert re.findall(r"\$[A-Z]", text) == []
    assert re.findall(r"\$\{[^A-Z]", text) == []
    assert re.findall(r"\$\{(?![A-Z_]+\})", text) == []
