"""A PostgreSQL of one's own: `server` shares it, `cluster` sets it up, `binaries` finds the programs in the wheel."""
