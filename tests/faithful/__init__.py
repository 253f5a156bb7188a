"""Whether a model's words can be mistaken for what was checked, in any place where they are shown."""
