"""The story that the demo tells, on the real services; its parts also serve the journey tests."""
