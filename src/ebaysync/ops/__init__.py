"""Many accounts at once: the pool of account processes, what is due, status."""
