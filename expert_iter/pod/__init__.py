"""What a run leaves on disk and shows while it runs. Nothing here knows about search."""
