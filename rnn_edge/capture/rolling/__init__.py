"""Loops over time, rolled back: traced unrolled at a few lengths, run as a scan at any length."""
