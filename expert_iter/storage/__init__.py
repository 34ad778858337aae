"""What a run keeps on disk or in an object store."""
