"""The task whose problems and verdicts are those of the package reasoning-gym."""
