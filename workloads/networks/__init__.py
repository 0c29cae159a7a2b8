"""What learns: one file per network, `config` for what each may be told, `implementations` for the classes."""
