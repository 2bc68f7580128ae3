"""Networks that know nothing of time or agents: convolutions, dense stacks, distributions."""
