"""The experts: ways to spend test-time compute that find better solutions than the network alone."""
