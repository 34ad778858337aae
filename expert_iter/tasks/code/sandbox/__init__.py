"""A sandbox for untrusted Python programs. docs/sandbox.md lists what it prevents."""
