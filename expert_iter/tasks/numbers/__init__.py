"""Number games: exact arithmetic on every step."""
