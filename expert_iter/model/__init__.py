"""The apprentice: one transformer with a policy and a value head, its KV pages and its tokenizer."""
