"""The machines of a run: its processes, its devices and what the host gives them.

Nothing here knows about search.
"""
