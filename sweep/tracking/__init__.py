"""MLflow as a view of the ledger: runs, pages, and the addresses that lead to them."""
