"""services/redirector."""
