"""The redirector as it is put together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.fire import add_links
from tests.support.services import StartService


def test_it_has_a_redis_connection_for_all_that_may_be_under_way(
    start_service: StartService, database_url: str
) -> None:
    links = add_links(database_url, "link", 400)
    redirector = start_service(
        "redirector",
        REDIRECTOR_REDIS_CONNECTIONS="1",
        REDIRECTOR_DATABASE_CONNECTIONS="8",
        REDIS_TIMEOUT_MS="5000",
        STORE_BUDGET_MS="8000",
    )
    with ThreadPoolExecutor(16) as pool:
        statuses = set(
            pool.map(lambda link: redirector.http.get(f"/{link.code}").status_code, links)
        )
    assert statuses == {302}
    metrics = redirector.http.get("/prometheus").text
    assert 'hoplink_store_failures_total{store="redis"} 0.0' in metrics
