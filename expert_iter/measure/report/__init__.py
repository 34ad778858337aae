"""One HTML page about a run, and a search tree as text."""
