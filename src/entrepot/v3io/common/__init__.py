"""What the client's parts share; the names are v3io's."""
