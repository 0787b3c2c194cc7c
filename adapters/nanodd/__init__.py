"""nanoDD: D3PM with an absorbing state and a time-conditioned transformer (flukeskywalker/nanoDD, arXiv 2107.03006)."""
