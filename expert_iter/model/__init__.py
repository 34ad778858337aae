"""The apprentice: one transformer with policy and value heads, its KV pages, its tokenizer."""
