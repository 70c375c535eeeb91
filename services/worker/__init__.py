"""Moves what others left to be moved: changes that Redis missed, and clicks. One is active, others wait."""
