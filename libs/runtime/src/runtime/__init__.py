"""Running a service: HTTP at once, parts in the background, probes and metrics, a drain on SIGTERM."""
