"""Measuring ourselves: packs against the plain loop and the machine's limits, and how the service scales."""
