"""Measuring: methods at their bill, intervals, calibration, tables and pictures."""
