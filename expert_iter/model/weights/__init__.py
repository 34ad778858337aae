"""Published weights: families, reading, writing."""
