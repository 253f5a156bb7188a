"""A range of a source becomes numbers, distinct shapes and a few exemplars: stateless, in any division and order."""
