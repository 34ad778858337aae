"""Number games: Countdown and the Game of 24, with exact verdicts on every step."""
