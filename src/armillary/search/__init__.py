"""Tree search: it takes roots and anything that predicts what an action leads to."""
