"""What several kinds of tests share: real servers and services as processes."""
