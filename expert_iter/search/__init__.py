"""The experts: ways to spend test-time compute that beat the network alone."""
