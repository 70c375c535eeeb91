"""Real processes that are killed, frozen and restarted while they work."""
