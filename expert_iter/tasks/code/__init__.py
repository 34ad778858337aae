"""Programs as answers: unit tests in a sandbox."""
