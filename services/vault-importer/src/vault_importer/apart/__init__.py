"""Reads a stranger's file in a process of its own, which has nothing to steal and little to spend.

The parent starts it, asks for rows in batches over two pipes and takes JSON back, whose shape is checked. Whatever a
file does to the process (crash, eat memory, never end), the importer goes on and says so in a sentence.

The process imports this package too, and neither pydantic nor anything else that only the parent needs.
"""
