"""The demo and the shop that it runs on."""
