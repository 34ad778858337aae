"""Deduction: statements that follow, or do not, from facts and rules in words."""
