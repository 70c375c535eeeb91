"""What two or more services must agree on, and nothing else."""
