"""Facts: what an incident's lines say, counted and ranked by code; the report, messages and pages are made of them."""
