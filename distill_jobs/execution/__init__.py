"""Who runs jobs: the supervisor, the processes that it starts, and where they run."""
