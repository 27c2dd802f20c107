"""The bundled eBay: a seeded, moving, strict and, on request, unkind stand-in for eBay's servers.

It is a witness. Everything here is written from eBay's documents and captured answers, never from our client,
and nothing here imports the rest of ebaysync. If documents and captures are silent, it decides to the
client's disadvantage, and a comment beside it says so.
"""
