"""Latent dynamics models behind one interface: `initial`, `observe`, `imagine`."""
