"""How anything is said, wherever it is shown."""
