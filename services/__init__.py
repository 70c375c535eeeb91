"""The services: redirector, api and worker. None imports another."""
