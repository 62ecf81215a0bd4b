"""Low rank again: QR cores, truncation, randomised decompositions."""
