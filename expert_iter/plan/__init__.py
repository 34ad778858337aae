"""What a config needs before it runs: memory, and the share of each device."""
