//! Layer 0: ids, time values, seeded randomness, bytes, limits. Knows nothing of clients, wires or the operating system.
