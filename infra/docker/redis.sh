#!/bin/sh
# Redis with its password in a file of its own: on a command line everybody could read it.
# Why nothing that lacks a time to live may be evicted: docs/decisions/0045-redis-evicts-only-what-expires.md
set -eu

refuse() {
    echo "hoplink: setting $1: $2" >&2
    exit 2
}

echo "$REDIS_PASSWORD" | grep -Eq '^[A-Za-z0-9._~-]+$' ||
    refuse REDIS_PASSWORD "must be of letters and digits"
echo "$REDIS_MAXMEMORY" | grep -Eiq '^[0-9]+(b|kb?|mb?|gb?)?$' ||
    refuse REDIS_MAXMEMORY "$REDIS_MAXMEMORY is no size, like 640mb"

umask 077
cat > /tmp/redis.conf <<END
dir /data
bind * -::*
requirepass "${REDIS_PASSWORD}"
appendonly yes
appendfsync everysec
save ""
maxmemory ${REDIS_MAXMEMORY}
maxmemory-policy volatile-lru
END
exec redis-server /tmp/redis.conf
