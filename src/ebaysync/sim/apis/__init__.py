"""eBay's APIs, one module each: a call comes in, an answer goes out. They do not know sockets or faults."""
