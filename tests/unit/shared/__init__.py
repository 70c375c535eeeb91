"""The modules of shared/."""
