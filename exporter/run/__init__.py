"""The parts put together and run: daemon, backtest, requests."""
