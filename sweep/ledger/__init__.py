"""The ledger: what has been computed, committed so that a crash loses a little work and never a truth."""
