"""The local stack: everything of Hoplink on one machine, without anything installed on it."""
