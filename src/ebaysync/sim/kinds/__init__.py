"""The kinds of things that a seller has beside orders, one module for each of eBay's APIs, found by looking."""
