#!/bin/sh
# PostgreSQL with the settings of .env. They are looked at before its volume is filled: when that
# fails halfway, PostgreSQL doesn't begin again, and the roles of postgres-init.sh are never made.
set -eu

refuse() {
    echo "hoplink: setting $1: $2" >&2
    exit 2
}

size() {
    echo "$2" | grep -Eq '^[1-9][0-9]*(kB|MB|GB)$' || refuse "$1" "$2 is no size, like 256MB"
}

echo "$POSTGRES_PASSWORD" | grep -Eq '^[A-Za-z0-9._~-]+$' ||
    refuse POSTGRES_PASSWORD "must be of letters and digits"
echo "$POSTGRES_MAX_CONNECTIONS" | grep -Eq '^[1-9][0-9]{1,4}$' ||
    refuse POSTGRES_MAX_CONNECTIONS "$POSTGRES_MAX_CONNECTIONS is no number from 10 to 99999"
size POSTGRES_SHARED_BUFFERS "$POSTGRES_SHARED_BUFFERS"
size POSTGRES_CACHE_SIZE "$POSTGRES_CACHE_SIZE"

exec docker-entrypoint.sh postgres \
    -c max_connections="$POSTGRES_MAX_CONNECTIONS" \
    -c shared_buffers="$POSTGRES_SHARED_BUFFERS" \
    -c effective_cache_size="$POSTGRES_CACHE_SIZE" \
    -c work_mem=8MB \
    -c maintenance_work_mem=64MB \
    -c random_page_cost=1.1 \
    -c max_wal_size=2GB \
    -c checkpoint_timeout=15min \
    -c wal_compression=on \
    -c timezone=UTC \
    -c log_timezone=UTC \
    -c log_min_duration_statement=1000 \
    -c log_lock_waits=on
