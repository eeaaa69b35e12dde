"""Functions the model may call: how they are declared, described, checked and run."""
