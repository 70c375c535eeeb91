"""Years of clicks, as totals: what statistics read, without the clicks themselves."""

from __future__ import annotations

from contextlib import closing

import psycopg2

DAYS = 1_000
LINKS = 2_000
"""Beside link 1, which the statistics are asked for."""
CLICKS_OF_ONE = 10_000_000
CLICKS = 100_000_000
NAMES = 51

_FILL = f"""
INSERT INTO users (username, email, created_at) VALUES ('one', 'one@example.com', now());
INSERT INTO urls (user_id, short_code, original_url, created_at, updated_at)
SELECT CASE WHEN number <= 100 THEN 1 END, 'history' || number, 'https://example.com/', now(), now()
FROM generate_series(1, {LINKS} + 1) AS number;

INSERT INTO click_days (link_id, day, clicks, bots, referrers, devices, countries, is_wide)
SELECT 1, current_date - back, {CLICKS_OF_ONE // DAYS}, 100,
    (SELECT json_object_agg('www.site-' || (back * 7 + name) % 200 || '.example', 200 - name)
        FROM generate_series(1, {NAMES}) AS name),
    '{{"desktop": 5000, "mobile": 4000, "tablet": 900, "tv": 100}}',
    (SELECT json_object_agg(chr(65 + name / 26) || chr(65 + name % 26), 200 - name)
        FROM generate_series(1, {NAMES}) AS name),
    false
FROM generate_series(0, {DAYS} - 1) AS back;

INSERT INTO click_days (link_id, day, clicks, bots, referrers, devices, countries, is_wide)
SELECT link, current_date - back, {(CLICKS - CLICKS_OF_ONE) // (LINKS * DAYS)}, 1,
    json_build_object('www.site-' || link % 50 || '.example', 30, 'direct', 15),
    '{{"desktop": 25, "mobile": 20}}', '{{"DE": 25, "FR": 20}}', false
FROM generate_series(2, {LINKS} + 1) AS link, generate_series(0, {DAYS} - 1) AS back;

INSERT INTO click_counts (link_id, clicks, bots)
SELECT link_id, sum(clicks), sum(bots) FROM click_days GROUP BY link_id;
CREATE TABLE click_hours_all PARTITION OF click_hours DEFAULT;
INSERT INTO click_hours
SELECT 1, date_trunc('hour', now()) - back * interval '1 hour', 400, 4
FROM generate_series(0, 24 * 400) AS back;
"""  # noqa: S608  # what is put in are the numbers above


def fill(database_url: str) -> None:
    """Makes CLICKS clicks of LINKS + 1 links over DAYS days; a tenth of them are link 1's."""
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_FILL)
            cursor.execute("VACUUM ANALYZE")
