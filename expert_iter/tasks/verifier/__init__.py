"""Asks a task for verdicts, and its world for observations, in worker processes with limits of time
and memory."""
