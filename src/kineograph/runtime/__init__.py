"""How a model is run on a machine: where its weights lie, what it costs. Wraps, never edits."""
