"""Measure detection on labelled logs through the product's own backtest: `python -m tests.evaluate`."""
