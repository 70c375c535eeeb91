#!/bin/sh
# Redis with its password in a file of its own: on a command line everybody could read it.
# Why nothing that lacks a time to live may be evicted: docs/decisions/0045-redis-evicts-only-what-expires.md
set -eu
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
