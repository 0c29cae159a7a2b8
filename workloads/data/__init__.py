"""Real data: what there is, where it is had, how it is read and cached."""
