"""Networks that the tasks share, as plain modules: features, recurrent core, head."""
