"""How a network keeps learning: one file per idea; `config` for what each may be told, `implementations` for all."""
