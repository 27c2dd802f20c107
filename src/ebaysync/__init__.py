"""Keeps everything eBay knows about many seller accounts in PostgreSQL."""
