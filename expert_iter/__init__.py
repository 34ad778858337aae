"""AlphaZero-style expert iteration for language-model reasoning, in JAX."""
