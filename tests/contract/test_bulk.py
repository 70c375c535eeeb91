"""POST /users/bulk, /urls/bulk and /events/bulk"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from shared import link_cache
from tests.support.api import create, error_of
from tests.support.waiting import wait_for

Sql = Callable[..., list[tuple[Any, ...]]]
SEED = Path(__file__).resolve().parents[2] / "seed"

USERS = "id,username,email,created_at\n"
LINKS = "id,user_id,short_code,original_url,title,is_active,created_at,updated_at\n"
EVENTS = "id,url_id,user_id,event_type,timestamp,details\n"
URL = "https://example.com/"


def load(api: httpx.Client, path: str, text: str | bytes) -> dict[str, Any]:
    """The summary of an import of CSV."""
    content = text.encode() if isinstance(text, str) else text
    response = api.post(path, content=content, headers={"content-type": "text/csv"})
    assert response.status_code == 201, response.text
    summary: dict[str, Any] = response.json()
    assert list(summary) == ["imported", "count", "skipped", "errors", "error_count"]
    assert summary["count"] == summary["imported"]
    return summary


def refuse(api: httpx.Client, path: str, text: str | bytes) -> str:
    """What is said of CSV that can't be read."""
    content = text.encode() if isinstance(text, str) else text
    response = api.post(path, content=content, headers={"content-type": "text/csv"})
    assert response.status_code == 400, response.text
    return error_of(response)


def errors(summary: dict[str, Any]) -> list[tuple[int, str]]:
    """The rows that are wrong, with the field that is."""
    return [(error["row"], error["error"].partition(":")[0]) for error in summary["errors"]]


def test_the_sample_data_is_imported_and_importing_it_again_changes_nothing(
    api: httpx.Client, sql: Sql
) -> None:
    sizes = {
        table: (SEED / f"{table}.csv").read_text(encoding="utf-8").count("\n") - 1
        for table in ("users", "urls", "events")
    }
    contents = []
    for imported in (True, False):
        for table, size in sizes.items():
            summary = api.post(f"/{table}/bulk", json={"file": f"{table}.csv"}).json()
            assert summary == {
                "imported": size if imported else 0,
                "count": size if imported else 0,
                "skipped": 0 if imported else size,
                "errors": [],
                "error_count": 0,
            }
        contents.append([sql(f"SELECT t::text FROM {table} t ORDER BY id") for table in sizes])
    assert contents[0] == contents[1]


def test_the_three_forms_of_an_import_do_the_same(api: httpx.Client, sql: Sql) -> None:
    path = SEED / "users.csv"

    def form() -> httpx.Response:
        with path.open("rb") as file:
            return api.post("/users/bulk", files={"file": ("any.csv", file)}, data={"x": "y"})

    tables = []
    for post in (
        partial(api.post, "/users/bulk", json={"file": "users.csv"}),
        partial(
            api.post,
            "/users/bulk",
            content=path.read_bytes(),
            headers={"content-type": "text/csv; charset=utf-8; header=present"},
        ),
        form,
    ):
        response = post()
        assert response.status_code == 201
        assert response.json()["imported"] == 400
        tables.append(sql("SELECT id, username, email, created_at FROM users ORDER BY id"))
        sql("TRUNCATE users CASCADE")
    assert tables[0] == tables[1] == tables[2]


def test_an_imported_row_is_what_it_would_be_if_it_was_created(api: httpx.Client) -> None:
    load(api, "/users/bulk", USERS + "7,ada,ada@example.com,2024-01-02 03:04:05\n")
    load(
        api,
        "/urls/bulk",
        LINKS + f'9,7,code,{URL},"A ""title"", with\nmore",False,'
        "2024-01-02T04:04:05+01:00,2024-01-03 00:00:00\n",
    )
    load(api, "/events/bulk", EVENTS + '5,9,7,created,2024-01-02T03:04:05Z,"{""a"": [1, null]}"\n')
    assert api.get("/users/7").json() == {
        "id": 7,
        "username": "ada",
        "email": "ada@example.com",
        "created_at": "2024-01-02T03:04:05Z",
    }
    link = api.get("/urls/9").json()
    assert link["user_id"] == 7
    assert link["short_code"] == "code"
    assert link["title"] == 'A "title", with\nmore'
    assert link["is_active"] is False
    assert link["created_at"] == "2024-01-02T03:04:05Z"
    assert link["updated_at"] == "2024-01-03T00:00:00Z"
    assert api.get("/events/5").json() == {
        "id": 5,
        "url_id": 9,
        "user_id": 7,
        "event_type": "created",
        "timestamp": "2024-01-02T03:04:05Z",
        "details": {"a": [1, None]},
    }


def test_ids_times_and_codes_are_made_where_a_file_has_none(api: httpx.Client) -> None:
    load(api, "/users/bulk", "email,username\na@example.com,ada\n")
    load(api, "/urls/bulk", f"original_url\n{URL}a\n{URL}b\n")
    load(api, "/events/bulk", "url_id,event_type\n1,noted\n")
    assert api.get("/users/1").json()["created_at"] > "2025"
    links = api.get("/urls").json()
    assert [link["id"] for link in links] == [1, 2]
    assert all(len(link["short_code"]) == 7 for link in links)
    assert all(link["is_active"] for link in links)
    assert api.get("/events/1").json()["details"] is None


def test_the_next_ordinary_creation_works_after_an_import_with_ids(api: httpx.Client) -> None:
    load(api, "/users/bulk", USERS + "1,a,a@example.com,\n50,b,b@example.com,\n")
    load(api, "/urls/bulk", LINKS + f"1,1,c1,{URL},,,,\n")  # a code that is too short
    load(api, "/urls/bulk", LINKS + f"70,1,code70,{URL},,,,\n")
    load(api, "/events/bulk", EVENTS + "90,70,,noted,,\n")
    user = create(api, "/users", username="c", email="c@example.com")
    link = create(api, "/urls", original_url=URL)
    event = create(api, "/events", url_id=link["id"], event_type="noted")
    assert user["id"] == 51
    assert link["id"] == 71
    assert event["id"] > 91  # 91 is what creating the link wrote
    load(api, "/users/bulk", USERS + "2,d,d@example.com,\n")
    assert create(api, "/users", username="e", email="e@example.com")["id"] == 52


def test_an_import_during_ordinary_creations_leaves_no_id_to_be_given_twice(
    api: httpx.Client, at_once: Callable[..., list[httpx.Response]]
) -> None:
    rows = "".join(f"{n},,code{n},{URL},,,,\n" for n in range(30, 60))
    requests: list[Callable[[], httpx.Response]] = [
        partial(api.post, "/urls", json={"original_url": URL}) for _ in range(40)
    ]
    requests.insert(
        20,
        partial(
            api.post,
            "/urls/bulk",
            content=(LINKS + rows).encode(),
            headers={"content-type": "text/csv"},
        ),
    )
    responses = at_once(requests)
    assert {response.status_code for response in responses} == {201}
    summary = responses.pop(20).json()
    assert summary["imported"] + summary["error_count"] == 30
    assert len({response.json()["id"] for response in responses}) == 40
    for _ in range(5):
        create(api, "/urls", original_url=URL)


def test_wrong_rows_are_named_and_the_others_imported(api: httpx.Client) -> None:
    create(api, "/users", username="ada", email="ada@example.com")
    create(api, "/urls", original_url=URL, short_code="taken")
    summary = load(
        api,
        "/urls/bulk",
        LINKS
        + "".join(
            f"{row}\n"
            for row in (
                f"10,1,good1,{URL},,true,,",
                "11,1,bad-url,nonsense,,,,",
                f"12,1,a b,{URL},,,,",
                f"x,1,bad-id,{URL},,,,",
                f"-5,1,bad-id,{URL},,,,",
                f"0,1,bad-id,{URL},,,,",
                f"9223372036854775807,1,too-large,{URL},,,,",
                f"13,nobody,bad-user,{URL},,,,",
                f"14,999,no-user,{URL},,,,",
                f"15,1,bad-flag,{URL},,maybe,,",
                f"16,1,bad-time,{URL},,,yesterday,",
                f"17,1,bad-day,{URL},,,2024-02-30 00:00:00,",
                f"18,1,bad-zone,{URL},,,,2024-01-01T00:00:00+99:00",
                f"19,1,too-few,{URL}",
                f"20,1,too-many,{URL},,,,,",
                f"21,1,long,{URL},{'t' * 256},,,",
                f"22,1,taken,{URL},,,,",
                f"1,1,another,{URL},,,,",
                f"23,1,users,{URL},,,,",
                "24,1,no-url,,,,,",
                f"25,1,good2,{URL},,,,",
                "26,1,loop,http://localhost:5001/x,,,,",
            )
        ),
    )
    assert summary["imported"] == 2
    assert summary["error_count"] == len(summary["errors"]) == 20
    assert sorted(errors(summary)) == [
        (2, "original_url"),
        (3, "short_code"),
        (4, "id"),
        (5, "id"),
        (6, "id"),
        (7, "id"),
        (8, "user_id"),
        (9, "user_id"),
        (10, "is_active"),
        (11, "created_at"),
        (12, "created_at"),
        (13, "updated_at"),
        (14, "has more or fewer fields than the header"),
        (15, "has more or fewer fields than the header"),
        (16, "title"),
        (17, "short_code"),
        (18, "id"),
        (19, "short_code"),
        (20, "original_url"),
        (22, "original_url"),
    ]
    assert [link["id"] for link in api.get("/urls?user_id=1").json()] == [10, 25]


def test_wrong_users_and_events_are_named(api: httpx.Client) -> None:
    create(api, "/users", username="ada", email="ada@example.com")
    create(api, "/urls", original_url=URL)
    users = load(
        api,
        "/users/bulk",
        USERS
        + "2,ADA,b@example.com,\n3,bob,ADA@example.com,\n1,eve,e@example.com,\n4,,x@example.com,\n"
        "5,carl,nonsense,\n6,dora,dora@example.com,\n,ada,other@example.com,\n",
    )
    assert users["imported"] == 1
    assert sorted(errors(users)) == [
        (1, "username"),
        (2, "email"),
        (3, "id"),
        (4, "username"),
        (5, "email"),
        (7, "username"),
    ]
    events = load(
        api,
        "/events/bulk",
        EVENTS + "1,1,,other,,\n2,99,,x,,\n3,1,99,x,,\n4,,,x,,\n5,1,,,,\n6,1,,x,,{broken\n"
        '7,1,,x,,"{""a"":""\\ud800""}"\n8,1,,fine,,\n',
    )
    assert events["imported"] == 1
    assert sorted(errors(events)) == [
        (1, "id"),
        (2, "url_id"),
        (3, "user_id"),
        (4, "url_id"),
        (5, "event_type"),
        (6, "details"),
        (7, "details"),
    ]


def test_what_is_there_already_is_skipped_also_without_ids(api: httpx.Client) -> None:
    user = create(api, "/users", username="ada", email="ada@example.com")
    link = create(api, "/urls", original_url=URL, short_code="code")
    again = load(api, "/users/bulk", "username,email\nADA,Ada@Example.com\nbob,b@example.com\n")
    assert (again["imported"], again["skipped"], again["error_count"]) == (1, 1, 0)
    again = load(api, "/users/bulk", USERS + f"{user['id']},Ada,new@example.com,\n")
    assert (again["imported"], again["skipped"], again["error_count"]) == (0, 1, 0)
    again = load(api, "/urls/bulk", f"short_code,original_url\ncode,{URL}\nnext,{URL}\n")
    assert (again["imported"], again["skipped"], again["error_count"]) == (1, 1, 0)
    again = load(api, "/urls/bulk", f"id,original_url\n{link['id']},{URL}\n")
    assert (again["imported"], again["skipped"], again["error_count"]) == (0, 1, 0)
    other = load(api, "/urls/bulk", f"short_code,original_url\ncode,{URL}other\n")
    assert errors(other) == [(1, "short_code")]
    assert api.get(f"/users/{user['id']}").json() == user
    assert api.get(f"/urls/{link['id']}").json() == link


def test_of_two_rows_for_one_thing_the_first_counts(api: httpx.Client) -> None:
    summary = load(
        api,
        "/urls/bulk",
        LINKS + f"1,,code,{URL}a,,,,\n1,,code,{URL}b,,,,\n2,,code,{URL},,,,\n1,,other,{URL},,,,\n",
    )
    assert (summary["imported"], summary["skipped"], summary["error_count"]) == (1, 1, 2)
    assert errors(summary) == [(3, "short_code"), (4, "id")]
    assert [link["original_url"] for link in api.get("/urls").json()] == [f"{URL}a"]


def test_only_the_first_100_errors_are_listed(api: httpx.Client) -> None:
    summary = load(api, "/urls/bulk", "original_url\n" + "x\n" * 250)
    assert summary["imported"] == 0
    assert summary["error_count"] == 250
    assert [error["row"] for error in summary["errors"]] == list(range(1, 101))


def test_the_first_100_errors_are_the_first_by_row_whatever_is_wrong(api: httpx.Client) -> None:
    create(api, "/users", username="ada", email="ada@example.com")
    create(api, "/urls", original_url=URL, short_code="taken")
    of_each_kind = f"5,,taken,{URL}other,,,,\n6,999,no-user,{URL},,,,\n7,,bad-url,x,,,,\n"
    summary = load(api, "/urls/bulk", LINKS + of_each_kind * 80)
    assert (summary["imported"], summary["error_count"]) == (0, 240)
    first_of_each = [
        (n, ("short_code", "user_id", "original_url")[(n - 1) % 3]) for n in range(1, 101)
    ]
    assert errors(summary) == first_of_each
    events = load(api, "/events/bulk", EVENTS + "1,99,,x,,\n2,1,99,x,,\n3,1,,,,\n" * 80)
    assert (events["imported"], events["error_count"]) == (0, 240)
    assert [error["row"] for error in events["errors"]] == list(range(1, 101))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + USERS + "1,ada,ada@example.com,\n",
        (USERS + "1,ada,ada@example.com,\n").replace("\n", "\r\n"),
        (USERS + "1,ada,ada@example.com,\n").replace("\n", "\r"),
        USERS + "1,ada,ada@example.com,",
        USERS + "\n\n1,ada,ada@example.com,\n\n\n",
        USERS.replace(",", " , ") + "1,ada,ada@example.com,\n",
        USERS.upper() + "1,ada,ada@example.com,\n",
        '"id","username","email","created_at"\n"1","ada","ada@example.com",""\n',
        "email,nonsense,username\nada@example.com,x,ada\n",
        ",".join(["username", "email", *(f"c{n}" for n in range(10_000))])
        + "\nada,ada@example.com"
        + "," * 10_000
        + "\n",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_file_may_look_like_what_spreadsheets_write(api: httpx.Client, text: str) -> None:
    assert load(api, "/users/bulk", text)["imported"] == 1
    assert api.get("/users/1").json()["username"] == "ada"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no header"),
        (b"\xef\xbb\xbf", "no header"),
        (b"\n", "no column"),
        (b"nonsense\n1\n", "no column username"),
        (b"id,username\n1,ada\n", "no column email"),
        (b"username,email,email\n", "two columns"),
        (b"id;username;email\n", "no column"),
        (b'username,email\n"ada,ada@example.com\n' + b"x" * 200_000, "row 1"),
        (b"username,email\nada," + b"x" * 200_000 + b"\n", "row 1"),
        (b"username,email\n" + b"x" * 2_000_000, "row 1"),
        (b'username,email\na,b\n"' + b"\n" * 1_100_000, "row 2"),
        (b"username,email\n" + b"x," * 600_000 + b"\n", "row 1"),
        (b"PK\x03\x04" + bytes(range(256)) * 10, "no column"),
        ("username,email\n".encode("utf-16"), "no column"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_file_that_can_not_be_read_is_400(
    any_api: httpx.Client, text: bytes, reason: str
) -> None:
    message = refuse(any_api, "/users/bulk", text)
    assert message.startswith("file: ")
    assert reason in message


def test_a_header_alone_is_an_empty_import(any_api: httpx.Client) -> None:
    for path, header in (("/users", USERS), ("/urls", LINKS), ("/events", EVENTS)):
        assert load(any_api, f"{path}/bulk", header)["imported"] == 0


def test_bytes_that_are_no_utf_8_spoil_their_row_alone(api: httpx.Client) -> None:
    rows = "bj\u00f6rn,b@example.com\n".encode("latin-1") + b"ada,a@example.com\n"
    summary = load(api, "/users/bulk", b"username,email\n" + rows)
    assert summary["imported"] == 1
    assert summary["errors"][0]["row"] == 1
    assert load(api, "/users/bulk", b"username,email\na\x00b,c@example.com\n")["error_count"] == 1


def test_a_row_counts_once_however_many_lines_it_has(api: httpx.Client) -> None:
    rows = f'{URL},"two\nlines"\n\n{URL},"three\n\nlines"\nnonsense,\n'
    summary = load(api, "/urls/bulk", "original_url,title\n" + rows)
    assert summary["imported"] == 2
    assert errors(summary) == [(4, "original_url")]


@pytest.mark.parametrize(
    "name",
    [
        "../seed/users.csv",
        "../README.md",
        "../../etc/passwd",
        "/etc/passwd",
        "./users.csv",
        "seed/users.csv",
        "..",
        ".",
        "nonsense.csv",
        "generate.py",
        "users.csv\x7f",
        "users.csv/",
        "USERS.CSV",
        "..\\users.csv",
        "~/users.csv",
        "file:///etc/passwd",
        "http://example.com/users.csv",
        "%2e%2e/users.csv",
        "users",
        "*",
        "a" * 255,
    ],
)
def test_no_path_leaves_the_folder_of_sample_data(any_api: httpx.Client, name: str) -> None:
    response = any_api.post("/users/bulk", json={"file": name})
    assert response.status_code == 400
    assert error_of(response).startswith("file: ")


@pytest.mark.parametrize("body", [{}, {"file": None}, {"file": 7}, {"file": ""}, {"file": ["x"]}])
def test_an_import_without_the_name_of_a_file_is_400(
    any_api: httpx.Client, body: dict[str, Any]
) -> None:
    response = any_api.post("/users/bulk", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith("file: ")


PART = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + USERS.encode()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data; boundary=" + "b" * 71, b""),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", PART),
        ("multipart/form-data; boundary=b", PART.replace(b'"file"', b'"other"') + b"\r\n--b--"),
        ("multipart/form-data; boundary=b", PART.replace(b"file", b"\xff\xfe") + b"\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"x" * 20_000),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n" * 70 + b"--b--"),
        ("text/csv; charset=latin-1", USERS.encode()),
        ("text/csv; charset=nonsense", USERS.encode()),
    ],
)
def test_a_form_that_makes_no_sense_is_400(
    any_api: httpx.Client, content_type: str, body: bytes
) -> None:
    response = any_api.post("/users/bulk", content=body, headers={"content-type": content_type})
    assert response.status_code == 400, response.text
    error_of(response)


def test_a_form_may_come_in_chunks(api: httpx.Client) -> None:
    whole = PART + b"1,ada,ada@example.com,\r\n--b--\r\n"
    response = api.post(
        "/users/bulk",
        content=iter([whole[:70], whole[70:]]),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert response.status_code == 201
    assert response.json()["imported"] == 1


def test_an_upload_that_breaks_off_imports_nothing(api: httpx.Client, port: int) -> None:
    head = b"POST /users/bulk HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 9999"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        rows = USERS + "".join(f"{n},u{n},u{n}@example.com,\n" for n in range(1, 50))
        connection.sendall(head + b"\r\n\r\n" + rows.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert api.get("/users").json() == []


def test_imported_links_are_published_as_one_change(
    api: httpx.Client, api_redis_url: str, sql: Sql
) -> None:
    with redis.Redis.from_url(api_redis_url) as client, client.pubsub() as subscriber:
        before = client.get(link_cache.GENERATION)
        subscriber.subscribe(link_cache.CHANNEL)
        load(api, "/urls/bulk", f"original_url\n{URL}\n{URL}\n")
        messages = []
        while message := subscriber.get_message(timeout=1):
            messages.append(message["data"])
            if messages[-1] == b"absent":
                break
        assert messages == [1, b"absent"]
        assert client.get(link_cache.GENERATION) != before
    assert sql("SELECT short_code FROM change_log") == [(None,)]


def test_imports_write_no_events(api: httpx.Client) -> None:
    load(api, "/urls/bulk", f"original_url\n{URL}\n")
    assert api.get("/events").json() == []


def test_lists_show_what_was_imported_at_once(api: httpx.Client) -> None:
    for path in ("/users", "/urls", "/events"):
        assert api.get(path).json() == []
    load(api, "/users/bulk", "username,email\nada,ada@example.com\n")
    load(api, "/urls/bulk", f"original_url\n{URL}\n")
    load(api, "/events/bulk", "url_id,event_type\n1,noted\n")
    for path in ("/users", "/urls", "/events"):
        assert len(api.get(path).json()) == 1


def test_a_third_import_at_a_time_has_to_come_again(api: httpx.Client, sql: Sql) -> None:
    release = threading.Event()

    def slow() -> Iterator[bytes]:
        yield USERS.encode() + b"\n" * 100_000  # more than is read at a time
        release.wait(20)

    def run() -> int:
        return api.post(
            "/users/bulk", content=slow(), headers={"content-type": "text/csv"}
        ).status_code

    def both_are_running() -> bool:
        return sql(
            "SELECT count(*) FROM pg_stat_activity WHERE starts_with(query, 'COPY staged')"
        ) == [(2,)]

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(run) for _ in range(2)]
        try:
            wait_for(both_are_running, "two imports to be under way")
            refused = api.post("/users/bulk", json={"file": "users.csv"})
        finally:
            release.set()
        assert refused.status_code == 503
        assert error_of(refused) == "other imports are running"
        assert refused.headers["retry-after"] == "1"
        assert [future.result() for future in running] == [201, 201]
