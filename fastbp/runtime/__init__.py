"""Threads, Ctrl-C, locks and memory."""
