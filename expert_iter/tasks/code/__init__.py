"""Tasks whose solutions are programs, and their verifier: unit tests in a sandbox."""
