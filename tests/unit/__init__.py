"""Each module alone, with real stores where it uses one. Folders mirror the sources."""
