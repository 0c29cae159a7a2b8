"""Code of the user's own, tried before anything is computed with it."""
