"""Where Hoplink runs: locks, the local stack, nginx, images."""
