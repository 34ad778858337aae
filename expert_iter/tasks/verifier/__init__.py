"""Asks a task for verdicts, in worker processes with limits of time and memory."""
