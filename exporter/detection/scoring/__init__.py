"""How unlike its past a row of numbers is, on one scale for all."""
