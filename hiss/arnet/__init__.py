"""AR-Net beside its torch module: exact and sparse fits, their choice, the reading of a fitted model."""
