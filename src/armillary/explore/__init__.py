"""A page in the browser that looks into runs: curves, dreams, plans, latent spaces and games."""
