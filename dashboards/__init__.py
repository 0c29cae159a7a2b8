"""What people look at: a theme, and one file per figure."""
