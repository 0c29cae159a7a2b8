"""From curves to answers: tidy tables, bands, leaderboards, and what things are called and coloured."""
