"""/dashboard in a real browser, on real services and stores."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.api import create
from tests.support.services import ServiceProcess, Services
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for

# One browser and one set of services for all of them.
pytestmark = pytest.mark.xdist_group("browser")

PHONE = {"width": 360, "height": 740}
HOSTILE = '<script>document.title = "owned"</script><img src=x onerror="document.title=1">'


@dataclass
class Site:
    """What the page is about."""

    api: ServiceProcess
    redirector: ServiceProcess
    postgres: PostgresProcess
    valkey: ValkeyProcess

    def start_anew(self) -> None:
        """Brings all back, without what the API and Redis know of the last minutes."""
        self.postgres.heal()
        self.valkey.heal()
        self.api.kill()
        self.valkey.empty()
        self.api.start()
        self.wait_until_all_is_well()

    def wait_until_all_is_well(self) -> None:
        def all_is_well() -> bool:
            services = self.api.http.get("/metrics").json()["services"]
            ready = self.api.http.get("/ready").json()
            return (
                len(services) == 3
                and all(service["ready"] for service in services)
                and ready.items() >= {"database": "up", "redis": "up"}.items()
            )

        wait_for(all_is_well, "all to be well", seconds=20)


@dataclass
class Visit:
    """A page that somebody looks at, and what a browser would complain about."""

    page: Page
    complaints: list[str]
    hosts: set[str]

    def look(self) -> None:
        """Has it ask the API now, not when two seconds are over."""
        self.page.evaluate("poll()")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def wait_for_text(self, selector: str, text: str, *, seconds: float = 15) -> None:
        def has_it() -> bool:
            self.look()
            self.page.wait_for_timeout(50)
            return text in self.text(selector)

        wait_for(has_it, f"{text!r} in {selector}", seconds=seconds)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of this module only: while it runs, this process can run no event loop of its own."""
    program = shutil.which("chromium")
    assert program, "this test needs Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def site(services: Services, postgres: PostgresProcess, valkey: ValkeyProcess) -> Iterator[Site]:
    """All is well."""
    postgres.heal()
    postgres.empty()
    valkey.heal()
    valkey.empty()
    urls = {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
    redirector = services.prepare("redirector", CLICK_FLUSH_MS="50", **urls)
    api = services.prepare("api", API_WORKERS="1", BASE_URL=redirector.url, **urls)
    worker = services.prepare("worker", **urls)
    running = (redirector, api, worker)
    try:
        for service in running:
            service.launch()
        for service in running:
            service.heal()
        started = Site(api, redirector, postgres, valkey)
        started.wait_until_all_is_well()
        yield started
    finally:
        for service in running:
            service.kill()


@pytest.fixture
def _mended(site: Site) -> Iterator[None]:
    """For a test that breaks the site: afterwards all is well again, and nobody remembers."""
    yield
    site.start_anew()


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Callable[..., Visit]]:
    opened: list[Any] = []

    def open_page(**options: Any) -> Visit:
        context = browser.new_context(**options)
        opened.append(context)
        visit = Visit(context.new_page(), [], set())
        page = visit.page
        page.on("console", lambda message: _note(visit, message.text))
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("dialog", lambda dialog: visit.complaints.append(dialog.message))
        page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).netloc))
        page.goto(f"{site.api.url}/dashboard")
        return visit

    yield open_page
    for context in opened:
        context.close()


def _note(visit: Visit, message: str) -> None:
    # Chromium's word for an interface of this machine that came or went, of containers, say.
    if "ERR_NETWORK_CHANGED" not in message:
        visit.complaints.append(message)


def _number(text: str) -> float:
    found = re.search(r"[\d,.]+", text)
    return float(found[0].replace(",", "")) if found else 0.0


def test_figures_move_under_load(site: Site, visit: Callable[..., Visit]) -> None:
    seen = visit()
    code = create(site.api.http, "/urls", original_url="https://example.com/busy")["short_code"]

    def has_moved() -> bool:
        for _ in range(30):
            site.redirector.http.get(f"/{code}")
        seen.look()
        return (
            _number(seen.text("#tile-redirects b")) > 0
            and _number(seen.text("#tile-latency b")) > 0
            and _number(seen.text("#tile-requests b")) > 0
            and seen.page.locator("#tiers path.of-local").count() > 0
        )

    wait_for(has_moved, "the figures to move", seconds=20)
    assert "local memory" in seen.text("#tile-redirects .note")
    assert _number(seen.text("#tiers-legend .of-local b")) > 0
    seen.wait_for_text("#services-count", "3 of 3 ready")
    services = seen.text("#services")
    assert all(name in services for name in ("api", "redirector", "worker"))
    seen.wait_for_text("#verdict", "Everything works")
    seen.page.evaluate("seen.linksAt = seen.clicksAt = 0")
    seen.wait_for_text("#links", f"/{code}")
    assert seen.complaints == []
    assert seen.hosts == {urlsplit(site.api.url).netloc}


@pytest.mark.usefixtures("_mended")
def test_an_alert_that_fires_shows_and_goes(site: Site, visit: Callable[..., Visit]) -> None:
    seen = visit()
    seen.wait_for_text("#verdict", "Everything works")
    for _ in range(200):
        # The page's own questions fail meanwhile; they are to stay below a tenth.
        site.api.http.get("/users")

    site.postgres.stop()

    seen.wait_for_text("#verdict", "Firing: Service down", seconds=20)
    assert "firing" in seen.text("#alerts")
    assert "since" in seen.text("#alerts")
    seen.wait_for_text("#stores", "down")
    assert seen.page.title().startswith("Firing: Service down")

    site.postgres.heal()

    seen.wait_for_text("#verdict", "Everything works", seconds=20)
    assert "firing" not in seen.text("#alerts")
    assert seen.page.title() == "Hoplink"


@pytest.mark.usefixtures("_mended")
def test_losing_the_api_shows_and_so_does_its_return(
    site: Site, visit: Callable[..., Visit]
) -> None:
    seen = visit()
    seen.wait_for_text("#live", "live")
    assert not seen.page.is_visible("#lost")

    site.api.kill()

    seen.wait_for_text("#live", "no connection")
    assert re.search(r"Connection lost at \d\d:\d\d:\d\d", seen.text("#lost"))
    assert "Unknown" in seen.text("#verdict")
    age = seen.text("#lost .age")
    wait_for(lambda: seen.text("#lost .age") != age, "the page to go on counting")

    site.api.start()

    seen.wait_for_text("#live", "live")
    assert not seen.page.is_visible("#lost")


def test_what_people_wrote_stays_text(site: Site, visit: Callable[..., Visit]) -> None:
    link = create(site.api.http, "/urls", original_url="https://example.com/", title=HOSTILE)
    for _ in range(3):
        site.redirector.http.get(f"/{link['short_code']}", headers={"User-Agent": "Mozilla/5.0"})
    site.api.http.get(f"/{HOSTILE}")
    seen = visit()
    seen.page.evaluate("seen.linksAt = 0")

    seen.wait_for_text("#links", "<script>document.title")
    seen.wait_for_text("#logs", "<script>document.title")
    assert seen.page.locator("main img, main script").count() == 0
    assert seen.page.title() == "Hoplink"
    assert seen.complaints == []


def test_the_log_is_filtered_by_level_service_and_text(
    site: Site, visit: Callable[..., Visit]
) -> None:
    site.api.http.get("/users/4711")
    site.redirector.http.request(
        "GET", "/health", headers={"Upgrade": "a", "Connection": "upgrade"}
    )
    seen = visit()
    seen.wait_for_text("#logs", "/users/4711")
    seen.wait_for_text("#logs", "Unsupported upgrade request.")
    rows = seen.page.locator("#logs details")

    seen.page.fill("[name=text]", "4711")
    assert rows.count() == 1
    rows.first.locator("summary").click()
    seen.look()
    assert rows.first.get_attribute("open") is not None, "it stays open while the page is live"
    assert "request_id" in seen.text("#logs")

    seen.page.select_option("[name=level]", "ERROR")
    assert rows.count() == 0
    assert "No entry fits" in seen.text("#logs")

    seen.page.select_option("[name=level]", "")
    seen.page.fill("[name=text]", "")
    seen.page.select_option("[name=service]", "redirector")
    assert rows.count() > 0
    assert set(rows.locator(".service").all_inner_texts()) == {"redirector"}


def test_nobody_is_asked_while_nobody_looks(site: Site, visit: Callable[..., Visit]) -> None:
    seen = visit()
    seen.wait_for_text("#live", "live")
    seen.page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    wait_for(lambda: not seen.page.evaluate("seen.polling"), "the poll to end")
    seen.hosts.clear()

    seen.look()

    assert seen.hosts == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(
    site: Site, visit: Callable[..., Visit], scheme: str
) -> None:
    create(site.api.http, "/urls", original_url=f"https://example.com/{'x' * 300}", title="y" * 255)
    site.api.http.get(f"/{'z' * 300}")
    seen = visit(viewport=PHONE, color_scheme=scheme)
    seen.wait_for_text("#services", "redirector")
    seen.wait_for_text("#logs", "zzz")
    seen.page.locator("#logs details summary").first.click()

    assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 128) == (scheme == "dark")


def test_the_theme_that_was_chosen_is_kept(site: Site, visit: Callable[..., Visit]) -> None:
    seen = visit(color_scheme="light")
    for name in ("light", "dark"):
        seen.page.click("#theme")
        assert seen.text("#theme") == f"Theme: {name}"

    seen.page.reload()

    assert seen.text("#theme") == "Theme: dark"
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground)[:3])) < 128
