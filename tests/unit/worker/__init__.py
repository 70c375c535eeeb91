"""services/worker."""
