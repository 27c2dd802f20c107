"""Many accounts at once: the pool of account processes, the plan, status, and everything else that a command does."""
