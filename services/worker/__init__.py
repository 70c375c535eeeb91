"""Moves what others left to be moved: changes that Redis missed, and clicks.

Of several workers one is active, the others wait.
"""
