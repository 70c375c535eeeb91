"""Moves what others left to be moved: changes that Redis missed. One is active, others wait."""
