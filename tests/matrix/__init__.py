"""How delivery is judged: a real daemon, real and strict places, a fault before each of them, and kills in between."""
