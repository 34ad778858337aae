"""Verdicts: worker processes, each with limits of time and memory."""
