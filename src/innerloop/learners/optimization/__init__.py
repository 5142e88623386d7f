"""Learning by gradient steps on the support set."""
