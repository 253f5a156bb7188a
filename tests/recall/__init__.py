"""How well past incidents are recalled: a labelled set, and what a checkout makes of it."""
