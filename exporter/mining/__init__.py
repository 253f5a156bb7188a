"""Shapes become templates with ids that stay."""
