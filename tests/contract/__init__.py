"""The contract of the API, over HTTP, with real stores."""
